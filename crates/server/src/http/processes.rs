//! `/v1/sandboxes/{id}/processes`: commands that run, and the last ones that ended.

use std::sync::Arc;

use agentkernel_api::{ErrorKind, ProcessInfo, SignalRequest};
use agentkernel_core::SignalTarget;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;

use tracing::{Instrument as _, Span};

use super::body::Json;
use super::caller::{Caller, Place};
use super::refusals;
use super::reply::RequestId;
use super::runs::bounded;
use super::sandboxes::guest;
use crate::command::attach::attach;
use crate::command::socket::{signal_number, split};
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::Guest;
use crate::keeper::{Ask, Known};

/// List the commands of a sandbox
#[utoipa::path(get, operation_id = "processes_list", path = "/v1/sandboxes/{id}/processes", tag = "commands",
    params(("id" = String, Path, description = "The sandbox's id or name")),
    responses((status = 200, body = Vec<ProcessInfo>), refusals::Always, refusals::Found))]
pub async fn list(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
) -> Outcome<axum::Json<Vec<ProcessInfo>>> {
    let guest = guest(&daemon, &caller, &word).await?;
    Ok(axum::Json(guest.ask(Ask::Processes).await?))
}

/// Tell what is known of a command
#[utoipa::path(get, operation_id = "processes_get", path = "/v1/sandboxes/{id}/processes/{pid}", tag = "commands",
    params(("id" = String, Path, description = "The sandbox's id or name"), ("pid" = u32, Path, description = "Its PID inside")),
    responses((status = 200, body = ProcessInfo), refusals::Always, refusals::Found))]
pub async fn get(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path((word, pid)): Path<(String, u32)>,
) -> Outcome<axum::Json<ProcessInfo>> {
    let guest = guest(&daemon, &caller, &word).await?;
    Ok(axum::Json(known(&guest, pid).await?.info))
}

/// Send a command a signal; one that has ended ignores it
#[utoipa::path(post, operation_id = "processes_signal", path = "/v1/sandboxes/{id}/processes/{pid}/signal", tag = "commands", request_body = SignalRequest,
    params(("id" = String, Path, description = "The sandbox's id or name"), ("pid" = u32, Path, description = "Its PID inside")),
    responses((status = 204), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn signal(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path((word, pid)): Path<(String, u32)>,
    Json(signal): Json<SignalRequest>,
) -> Outcome<StatusCode> {
    let number = signal_number(signal.number)?;
    let visit = daemon.enter(&caller.owner, &word).await?;
    let known = known(visit.guest(), pid).await?;
    let target = if signal.group { SignalTarget::Group } else { SignalTarget::Process };
    visit.attempt(known.control.signal(number, target)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Come back to a command in the background: a WebSocket that begins with what is remembered of its output
#[utoipa::path(get, operation_id = "processes_stream", path = "/v1/sandboxes/{id}/processes/{pid}/stream", tag = "commands",
    params(("id" = String, Path, description = "The sandbox's id or name"), ("pid" = u32, Path, description = "Its PID inside")),
    responses((status = 101, description = "WebSocket"), refusals::Always, refusals::Found, refusals::Upgraded))]
pub async fn stream(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    place: Place,
    RequestId(id): RequestId,
    Path((word, pid)): Path<(String, u32)>,
    upgrade: WebSocketUpgrade,
) -> Outcome<Response> {
    let guest = guest(&daemon, &caller, &word).await?;
    let known = known(&guest, pid).await?;
    let in_use = guest.uses.begin();
    let span = Span::current();
    Ok(bounded(upgrade, &daemon).on_upgrade(move |socket| {
        async move {
            let (mut outgoing, mut incoming) = split(socket);
            let outcome = attach(&daemon, &guest, known, &mut outgoing, &mut incoming).await;
            drop(in_use);
            outgoing.finish(outcome, &id).await;
            drop(place);
        }
        .instrument(span)
    }))
}

async fn known(guest: &Guest, pid: u32) -> Outcome<Known> {
    let missing =
        || Failure::new(ErrorKind::NotFound, "find the command", "the sandbox has none of that PID").on(pid);
    guest.ask(|reply| Ask::Process(pid, reply)).await?.ok_or_else(missing)
}
