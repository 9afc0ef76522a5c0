//! `/v1/sandboxes/{id}/archive`: files and folders as tar streams.

use std::sync::Arc;

use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::response::Response;

use super::body::Upload;
use super::caller::{Caller, Place};
use super::files::{PathQuery, download, upload};
use super::{refusals, shapes};
use crate::daemon::Daemon;
use crate::failure::Outcome;

const TAR: &str = "application/x-tar";

/// Read a file or folder as a tar stream
#[utoipa::path(get, operation_id = "archive_read", path = "/v1/sandboxes/{id}/archive", tag = "files",
    params(("id" = String, Path, description = "The sandbox's id or name"),
        ("path" = String, Query, description = "Its absolute path, each byte percent-encoded if need be")),
    responses((status = 200, content_type = "application/x-tar", body = shapes::Bytes),
        refusals::Always, refusals::Found, refusals::Used))]
pub async fn read(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    place: Place,
    Path(word): Path<String>,
    RawQuery(query): RawQuery,
) -> Outcome<Response> {
    let path = PathQuery::parse(query.as_deref(), &["path"])?.path()?;
    let visit = daemon.enter(&caller.owner, &word).await?;
    let source = visit.attempt(visit.sandbox().files().tar_out(&path)).await?;
    Ok(download(visit, place, source, TAR))
}

/// Unpack a tar stream into a folder
#[utoipa::path(put, operation_id = "archive_write", path = "/v1/sandboxes/{id}/archive", tag = "files",
    params(("id" = String, Path, description = "The sandbox's id or name"),
        ("path" = String, Query, description = "The folder's absolute path, each byte percent-encoded if need be")),
    request_body(content = shapes::Bytes, content_type = "application/x-tar"),
    responses((status = 204), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn write(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Outcome<StatusCode> {
    let path = PathQuery::parse(query.as_deref(), &["path"])?.path()?;
    let body = Upload::of(request, &daemon, TAR)?;
    let visit = daemon.enter(&caller.owner, &word).await?;
    let sink = visit.attempt(visit.sandbox().files().tar_in(&path)).await?;
    upload(&visit, body, sink).await
}
