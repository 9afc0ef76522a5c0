//! `/v1/runs`: one command in a sandbox of its own.

use std::sync::Arc;

use agentkernel_api::{CommandResult, RunRequest};
use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::response::Response;

use tracing::{Instrument as _, Span};

use super::body::Json;
use super::caller::{Caller, Place};
use super::refusals;
use super::reply::{RequestId, Timed};
use crate::command::socket::{Incoming, Outgoing, split};
use crate::command::{exec, run};
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::traces;

/// Run a command in a sandbox of its own, and reply when it has ended
///
/// The status is 200 whatever the command's exit code is. A client that goes away ends it.
#[utoipa::path(post, operation_id = "runs_create", path = "/v1/runs", tag = "runs", request_body = RunRequest,
    responses((status = 200, body = CommandResult), refusals::Always, refusals::Body, refusals::Made, refusals::Used))]
pub async fn create(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Json(request): Json<RunRequest>,
) -> Outcome<Timed<axum::Json<CommandResult>>> {
    caller.check_host_paths(&request.sandbox)?;
    let result = run::buffered(&daemon, &caller.owner, request).await?;
    let phases = result.phases.clone();
    Ok(Timed(axum::Json(result), phases))
}

/// Run a command in a sandbox of its own, and stream: a WebSocket
///
/// The first message of the client is a `RunRequest`; what follows is told in the documentation of the API's types.
#[utoipa::path(get, operation_id = "runs_stream", path = "/v1/runs/stream", tag = "runs",
    responses((status = 101, description = "WebSocket"), refusals::Always, refusals::Upgraded))]
pub async fn stream(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    place: Place,
    RequestId(id): RequestId,
    upgrade: WebSocketUpgrade,
) -> Response {
    let span = Span::current();
    bounded(upgrade, &daemon).on_upgrade(move |socket| {
        async move {
            let (mut outgoing, mut incoming) = split(socket);
            let outcome = streamed(&daemon, &caller, &mut outgoing, &mut incoming).await;
            outgoing.finish(outcome, &id).await;
            drop(place);
        }
        .instrument(span)
    })
}

async fn streamed(
    daemon: &Arc<Daemon>,
    caller: &Caller,
    outgoing: &mut Outgoing,
    incoming: &mut Incoming,
) -> Outcome<CommandResult> {
    let request: RunRequest = first(daemon, incoming).await?;
    caller.check_host_paths(&request.sandbox)?;
    let limit = request.command.output_limit.unwrap_or(daemon.limits().stream_bytes);
    let result = run::with(daemon, &caller.owner, request, limit, outgoing, incoming).await?;
    traces::note(&result.phases);
    Ok(result)
}

/// The first message, which must come as soon as a body must.
pub async fn first<T: serde::de::DeserializeOwned>(daemon: &Daemon, incoming: &mut Incoming) -> Outcome<T> {
    let deadline = daemon.limits().body_deadline;
    let request = tokio::time::timeout(deadline, incoming.request()).await;
    let late = |_| crate::failure::Failure::usage("the first message", "it did not come in time");
    request.map_err(late)?.map_err(exec::of)
}

/// Messages have the limits of bodies.
pub fn bounded(upgrade: WebSocketUpgrade, daemon: &Daemon) -> WebSocketUpgrade {
    let most = daemon.limits().body_bytes;
    // What is sent goes out at once, or waits: nothing is kept beside the one message that is being sent.
    upgrade.max_message_size(most).max_frame_size(most).write_buffer_size(0).max_write_buffer_size(usize::MAX)
}
