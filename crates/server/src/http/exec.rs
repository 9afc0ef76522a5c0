//! `/v1/sandboxes/{id}/exec`: commands in a sandbox that lives on.

use std::sync::Arc;

use agentkernel_api::{CommandRequest, CommandResult, ProcessInfo};
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use tracing::{Instrument as _, Span};

use super::body::Json;
use super::caller::{Caller, Place};
use super::refusals;
use super::reply::{RequestId, Timed};
use super::runs::{bounded, first};
use crate::command::exec;
use crate::command::socket::{Incoming, Outgoing, split};
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::guest::Visit;
use crate::traces;

/// Run a command in a sandbox, and reply when it has ended, or when it has started in the background
///
/// The status is 200 whatever the command's exit code is, and 201 with a `ProcessInfo` in the background.
#[utoipa::path(post, operation_id = "exec_create", path = "/v1/sandboxes/{id}/exec", tag = "commands", request_body = CommandRequest,
    params(("id" = String, Path, description = "The sandbox's id or name")),
    responses((status = 200, body = CommandResult), (status = 201, body = ProcessInfo),
        refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn create(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    Json(request): Json<CommandRequest>,
) -> Outcome<Response> {
    let visit = daemon.enter(&caller.owner, &word).await?;
    if request.background {
        let info = exec::background(&visit, &request).await?;
        return Ok((StatusCode::CREATED, axum::Json(info)).into_response());
    }
    let result = exec::buffered(&daemon, &visit, &request).await?;
    let phases = result.phases.clone();
    Ok(Timed(axum::Json(result), phases).into_response())
}

/// Run a command in a sandbox, and stream: a WebSocket whose first message is a `CommandRequest`
#[utoipa::path(get, operation_id = "exec_stream", path = "/v1/sandboxes/{id}/exec/stream", tag = "commands",
    params(("id" = String, Path, description = "The sandbox's id or name")),
    responses((status = 101, description = "WebSocket"), refusals::Always, refusals::Found, refusals::Used, refusals::Upgraded))]
pub async fn stream(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    place: Place,
    RequestId(id): RequestId,
    Path(word): Path<String>,
    upgrade: WebSocketUpgrade,
) -> Outcome<Response> {
    // Before the upgrade, so that whoever has no such sandbox gets a status.
    let visit = daemon.enter(&caller.owner, &word).await?;
    let span = Span::current();
    Ok(bounded(upgrade, &daemon).on_upgrade(move |socket| {
        async move {
            let (mut outgoing, mut incoming) = split(socket);
            let outcome = streamed(&daemon, &visit, &mut outgoing, &mut incoming).await;
            drop(visit);
            outgoing.finish(outcome, &id).await;
            drop(place);
        }
        .instrument(span)
    }))
}

async fn streamed(
    daemon: &Daemon,
    visit: &Visit,
    outgoing: &mut Outgoing,
    incoming: &mut Incoming,
) -> Outcome<CommandResult> {
    let request: CommandRequest = tokio::select! {
        request = first(daemon, incoming) => request?,
        _ = visit.guest().fate.decided() => return Err(visit.gone()),
    };
    let limit = request.output_limit.unwrap_or(daemon.limits().stream_bytes);
    let result = exec::with(daemon, visit, &request, limit, outgoing, incoming).await?;
    traces::note(&result.phases);
    Ok(result)
}
