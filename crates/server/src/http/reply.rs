//! The outermost layer: who asks, what the request is called, and how a failure is told.

use std::sync::Arc;
use std::time::Instant;

use agentkernel_api::{ErrorBody, Phases};
use axum::Json;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::Instrument as _;

use super::caller::{Caller, Way};
use super::check;
use crate::clock;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::tokens::random_hex;
use crate::traces;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// What a request is called in replies and in the log.
#[derive(Debug, Clone)]
pub struct RequestId(pub String);

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Outcome<Self> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| Failure::internal("the request has no id"))
    }
}

/// A reply with the time of its phases in a header.
pub struct Timed<T>(pub T, pub Phases);

impl<T: IntoResponse> IntoResponse for Timed<T> {
    fn into_response(self) -> Response {
        traces::note(&self.1);
        let mut response = self.0.into_response();
        let named = self.1.named();
        let known = named.iter().filter_map(|(name, ns)| Some((name, (*ns)?)));
        let parts: Vec<String> = known
            .map(|(name, ns)| format!("{name};dur={}.{:03}", ns / 1_000_000, ns / 1000 % 1000))
            .collect();
        if let Ok(value) = HeaderValue::from_str(&parts.join(", ")) {
            response.headers_mut().insert(SERVER_TIMING, value);
        }
        response
    }
}

/// Lets the request in, if it may, and writes what came of it.
pub async fn answer(State(daemon): State<Arc<Daemon>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let id = request_id(&request);
    let method = request.method().to_string();
    let route =
        request.extensions().get::<MatchedPath>().map_or("none".to_owned(), |path| path.as_str().to_owned());
    // Never the query, and never a header: a token might be in either.
    let span = span(&id, &method, &route);
    let response = match admit(&mut request, &id) {
        Ok(()) => next.run(request).instrument(span.clone()).await,
        Err(failure) => failure.into_response(),
    };
    let response = finished(response, &id);
    let status = response.status().as_u16();
    daemon.metrics.answered(&method, &route, status);
    let time_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    span.record("status", i64::from(status));
    tracing::debug!(parent: &span, time_us, "answered");
    response
}

/// What is not known yet is recorded when it is.
fn span(id: &str, method: &str, route: &str) -> tracing::Span {
    use tracing::field::Empty;
    tracing::info_span!(
        "request",
        otel.kind = "server",
        id,
        method,
        route,
        status = Empty,
        queue_ns = Empty,
        acquire_ns = Empty,
        boot_ns = Empty,
        ready_ns = Empty,
        exec_ns = Empty,
        stop_ns = Empty,
        residual_ns = Empty,
        total_ns = Empty
    )
}

fn admit(request: &mut Request, id: &str) -> Outcome<()> {
    let way = request.extensions().get::<Way>().ok_or_else(|| Failure::internal("the way is not known"))?;
    check::origin(way, request.headers())?;
    let caller = Caller::of(way, request.headers())?;
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(RequestId(id.to_owned()));
    Ok(())
}

/// The client's own name for it, if that is harmless.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let is_harmless = |id: &&str| {
        (1..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    given.filter(is_harmless).map_or_else(|| random_hex::<8>().unwrap_or_default(), str::to_owned)
}

/// Writes the body of a failure.
fn finished(mut response: Response, id: &str) -> Response {
    let failure = response.extensions_mut().remove::<Failure>().or_else(|| of_router(&response));
    if let Some(failure) = failure {
        let error = failure.told(id);
        if response.status().is_server_error() {
            tracing::warn!(%id, %error, "failed");
        }
        let (status, allowed) = (response.status(), response.headers_mut().remove(ALLOW));
        response = (status, Json(ErrorBody { error })).into_response();
        if let Some(allowed) = allowed {
            response.headers_mut().insert(ALLOW, allowed);
        }
        if let Some(after) = failure.retry_after {
            let seconds = clock::milliseconds(after).div_ceil(1000).max(1);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// What the router and its extractors refuse by themselves, in our words.
fn of_router(response: &Response) -> Option<Failure> {
    use agentkernel_api::ErrorKind;
    let what = "answer the request";
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            Some(Failure::new(ErrorKind::MethodNotAllowed, what, "the route does not know this method"))
        }
        StatusCode::UPGRADE_REQUIRED => Some(Failure::usage("the request", "the route is a WebSocket")),
        status if status.is_client_error() || status.is_server_error() => {
            Some(Failure::usage("the request", status.canonical_reason().unwrap_or("it makes no sense")))
        }
        _ => None,
    }
}
