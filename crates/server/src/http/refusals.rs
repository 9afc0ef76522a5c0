//! What each kind of route may refuse, for the document: a reply with any other status is a fault.
//!
//! Every refusal has the same body; its status follows from its kind as in every reply.

use std::collections::BTreeMap;

use agentkernel_api::{ErrorBody, ErrorKind};
use axum::http::StatusCode;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::status;

/// Of every route.
pub struct Always;
/// Of those with a body.
pub struct Body;
/// Of those that are about what a caller has.
pub struct Found;
/// Of those that make a sandbox.
pub struct Made;
/// Of those that use a sandbox.
pub struct Used;
/// Of those that are WebSockets.
pub struct Upgraded;

const ALWAYS: &[ErrorKind] = &[
    ErrorKind::Usage,
    ErrorKind::Unauthorized,
    ErrorKind::Forbidden,
    ErrorKind::NotFound,
    ErrorKind::Internal,
];
const BODY: &[ErrorKind] = &[ErrorKind::TooLarge, ErrorKind::WrongType, ErrorKind::Busy];
const FOUND: &[ErrorKind] =
    &[ErrorKind::NoSuchSandbox, ErrorKind::Conflict, ErrorKind::Gone, ErrorKind::StoreFailed];
const MADE: &[ErrorKind] = &[
    ErrorKind::WarmUp,
    ErrorKind::CommandNotExecutable,
    ErrorKind::NameTaken,
    ErrorKind::Gone,
    ErrorKind::Busy,
    ErrorKind::NotSupported,
    ErrorKind::ProtocolBroken,
    ErrorKind::Unavailable,
    ErrorKind::Timeout,
    ErrorKind::StoreFailed,
];
const USED: &[ErrorKind] = &[
    ErrorKind::Conflict,
    ErrorKind::Gone,
    ErrorKind::File,
    ErrorKind::Busy,
    ErrorKind::NotSupported,
    ErrorKind::ProtocolBroken,
    ErrorKind::Timeout,
];

/// All of them, as the document names them once.
pub fn named() -> BTreeMap<String, RefOr<Response>> {
    let kinds = [ALWAYS, BODY, FOUND, MADE, USED].concat();
    let statuses = kinds.into_iter().map(status::of).chain([StatusCode::UPGRADE_REQUIRED]);
    statuses.map(|status| (name(status), refusal(status).into())).collect()
}

fn refusal(status: StatusCode) -> Response {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(ErrorBody::name()))).build();
    ResponseBuilder::new().description(reason(status)).content("application/json", body).build()
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Refused")
}

fn name(status: StatusCode) -> String {
    reason(status).replace(' ', "")
}

fn references(statuses: impl IntoIterator<Item = StatusCode>) -> BTreeMap<String, RefOr<Response>> {
    let reference = |status| (status_text(status), Ref::from_response_name(name(status)).into());
    statuses.into_iter().map(reference).collect()
}

fn status_text(status: StatusCode) -> String {
    status.as_str().to_owned()
}

fn of(kinds: &[ErrorKind]) -> BTreeMap<String, RefOr<Response>> {
    references(kinds.iter().copied().map(status::of))
}

impl IntoResponses for Always {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        of(ALWAYS)
    }
}

impl IntoResponses for Body {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        of(BODY)
    }
}

impl IntoResponses for Found {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        of(FOUND)
    }
}

impl IntoResponses for Made {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        of(MADE)
    }
}

impl IntoResponses for Used {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        of(USED)
    }
}

impl IntoResponses for Upgraded {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        references([StatusCode::UPGRADE_REQUIRED])
    }
}
