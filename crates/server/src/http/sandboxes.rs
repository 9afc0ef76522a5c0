//! `/v1/sandboxes`: sandboxes that live until somebody, or their time, ends them.

use std::sync::Arc;

use agentkernel_api::{
    CauseOfDeath, Posture, Sandbox, SandboxList, SandboxRequest, SandboxStats, SandboxUsage,
    State as SandboxState, TimeoutRequest,
};
use agentkernel_core::SandboxUsage as Usage;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::oneshot;
use utoipa::IntoParams;

use super::body::{Json, Nothing};
use super::caller::Caller;
use super::refusals;
use super::reply::Timed;
use crate::clock;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::Guest;
use crate::keeper::Ask;
use crate::make::{Order, make};

/// What to list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Listing {
    /// Also those that have ended.
    all: bool,
}

/// Make a sandbox, and reply when commands can be run in it
#[utoipa::path(post, operation_id = "sandboxes_create", path = "/v1/sandboxes", tag = "sandboxes", request_body = SandboxRequest,
    responses((status = 201, body = Sandbox), refusals::Always, refusals::Body, refusals::Made))]
pub async fn create(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Json(request): Json<SandboxRequest>,
) -> Outcome<(StatusCode, Timed<axum::Json<Sandbox>>)> {
    caller.check_host_paths(&request)?;
    let order = Order { owner: caller.owner, request, run: false, id: None, from: None };
    Ok((StatusCode::CREATED, made(&daemon, order).await?))
}

async fn made(daemon: &Arc<Daemon>, order: Order) -> Outcome<Timed<axum::Json<Sandbox>>> {
    let (guest, guard) = make(daemon, order).await?;
    guard.put_off();
    let sandbox = guest.view.borrow().clone();
    let phases = sandbox.phases.clone();
    Ok(Timed(axum::Json(sandbox), phases))
}

/// List your sandboxes, the newest last
#[utoipa::path(get, operation_id = "sandboxes_list", path = "/v1/sandboxes", tag = "sandboxes", params(Listing),
    responses((status = 200, body = SandboxList), refusals::Always, refusals::Found))]
pub async fn list(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Query(listing): Query<Listing>,
) -> Outcome<axum::Json<SandboxList>> {
    let living = daemon.state.list(&caller.owner).await?;
    let mut sandboxes = if listing.all { daemon.store.ended(&caller.owner).await? } else { Vec::new() };
    sandboxes.retain(|ended| living.iter().all(|one| one.id != ended.id));
    sandboxes.extend(living);
    Ok(axum::Json(SandboxList { sandboxes }))
}

/// Tell what is known of a sandbox; of one that has ended, as an error with status 410
#[utoipa::path(get, operation_id = "sandboxes_get", path = "/v1/sandboxes/{id}", tag = "sandboxes",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = Sandbox), refusals::Always, refusals::Found))]
pub async fn get(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
) -> Outcome<axum::Json<Sandbox>> {
    Ok(axum::Json(daemon.find_living(&caller.owner, &word).await?.now()))
}

/// Remove a sandbox: end it if it lives, forget it if it has ended
#[utoipa::path(delete, operation_id = "sandboxes_remove", path = "/v1/sandboxes/{id}", tag = "sandboxes",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 204), refusals::Always, refusals::Found))]
pub async fn remove(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
) -> Outcome<StatusCode> {
    match end(&daemon, &caller, &word, "it was removed").await {
        Ok(_) => {}
        Err(Failure { sandbox: Some(ended), .. }) if ended.state == SandboxState::Ended => {
            daemon.store.remove(ended.id.clone()).await?;
            daemon.state.forget(&ended.id);
        }
        Err(failure) => return Err(failure),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// End a sandbox, and reply when nothing of it is left but what is known of it
#[utoipa::path(post, operation_id = "sandboxes_stop", path = "/v1/sandboxes/{id}/stop", tag = "sandboxes",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = Sandbox), refusals::Always, refusals::Body, refusals::Found))]
pub async fn stop(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    _: Nothing,
) -> Outcome<axum::Json<Sandbox>> {
    Ok(axum::Json(end(&daemon, &caller, &word, "it was stopped").await?))
}

async fn end(daemon: &Daemon, caller: &Caller, word: &str, why: &str) -> Outcome<Sandbox> {
    let found = daemon.find_living(&caller.owner, word).await?;
    found.fate.decide(CauseOfDeath::Killed, why);
    Ok(found.ended().await)
}

/// Make a sandbox that has ended once more, from what was asked for: its files are gone
#[utoipa::path(post, operation_id = "sandboxes_start", path = "/v1/sandboxes/{id}/start", tag = "sandboxes",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = Sandbox), refusals::Always, refusals::Body, refusals::Found, refusals::Made))]
pub async fn start(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    _: Nothing,
) -> Outcome<Timed<axum::Json<Sandbox>>> {
    match daemon.find_living(&caller.owner, &word).await {
        Ok(found) => {
            let sandbox = found.now();
            let phases = sandbox.phases.clone();
            Ok(Timed(axum::Json(sandbox), phases))
        }
        Err(Failure { sandbox: Some(ended), .. }) if !ended.run => {
            let row = daemon.store.find(&caller.owner, &ended.id).await?;
            let request = row.ok_or_else(|| Failure::no_such_sandbox(&word))?.request;
            caller.check_host_paths(&request)?;
            let order =
                Order { owner: caller.owner, request, run: false, id: Some(ended.id.clone()), from: None };
            made(&daemon, order).await
        }
        Err(failure) => Err(failure),
    }
}

/// Stop time in a sandbox
#[utoipa::path(post, operation_id = "sandboxes_pause", path = "/v1/sandboxes/{id}/pause", tag = "sandboxes",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = Sandbox), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn pause(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    _: Nothing,
) -> Outcome<axum::Json<Sandbox>> {
    changed(&daemon, &caller, &word, Ask::Pause).await
}

/// Let time go on in a sandbox
#[utoipa::path(post, operation_id = "sandboxes_resume", path = "/v1/sandboxes/{id}/resume", tag = "sandboxes",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = Sandbox), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn resume(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    _: Nothing,
) -> Outcome<axum::Json<Sandbox>> {
    changed(&daemon, &caller, &word, Ask::Resume).await
}

/// Give a sandbox other times, from now on
#[utoipa::path(post, operation_id = "sandboxes_timeout", path = "/v1/sandboxes/{id}/timeout", tag = "sandboxes", request_body = TimeoutRequest,
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = Sandbox), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn timeout(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    Json(times): Json<TimeoutRequest>,
) -> Outcome<axum::Json<Sandbox>> {
    changed(&daemon, &caller, &word, |reply| Ask::Times(times, reply)).await
}

/// Has the keeper change something.
async fn changed(
    daemon: &Daemon,
    caller: &Caller,
    word: &str,
    ask: impl FnOnce(oneshot::Sender<Outcome<()>>) -> Ask,
) -> Outcome<axum::Json<Sandbox>> {
    let guest = guest(daemon, caller, word).await?;
    guest.ask(ask).await??;
    let sandbox = guest.view.borrow().clone();
    Ok(axum::Json(sandbox))
}

/// The way into a sandbox that has been made.
pub async fn guest(daemon: &Daemon, caller: &Caller, word: &str) -> Outcome<Guest> {
    let found = daemon.find_living(&caller.owner, word).await?;
    let making = || {
        let kind = agentkernel_api::ErrorKind::Conflict;
        Failure::new(kind, "use the sandbox", "it is being made").on(word)
    };
    found.guest.ok_or_else(making)
}

/// Tell what a sandbox uses now
#[utoipa::path(get, operation_id = "sandboxes_stats", path = "/v1/sandboxes/{id}/stats", tag = "sandboxes",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = SandboxStats), refusals::Always, refusals::Found, refusals::Used))]
pub async fn stats(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
) -> Outcome<axum::Json<SandboxStats>> {
    let visit = daemon.enter(&caller.owner, &word).await?;
    let usage = visit.attempt(visit.sandbox().usage()).await?;
    let infos = visit.guest().ask(Ask::Processes).await?;
    let running = infos.iter().filter(|info| info.state == agentkernel_api::ProcessState::Running).count();
    let (id, limits) = {
        let view = visit.guest().view.borrow();
        (view.id.clone(), view.limits.clone())
    };
    Ok(axum::Json(SandboxStats { id, usage: told(usage), limits, processes: running as u64 }))
}

fn told(usage: Usage) -> SandboxUsage {
    SandboxUsage {
        memory_bytes: usage.memory_bytes,
        memory_peak_bytes: usage.memory_peak_bytes,
        cpu_ns: usage.cpu.map(clock::nanoseconds),
        pids: usage.pids,
    }
}

/// Read every control of a sandbox from the host, now
#[utoipa::path(get, operation_id = "sandboxes_posture", path = "/v1/sandboxes/{id}/posture", tag = "sandboxes",
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 200, body = Posture), refusals::Always, refusals::Found, refusals::Used))]
pub async fn posture(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
) -> Outcome<axum::Json<Posture>> {
    let visit = daemon.enter(&caller.owner, &word).await?;
    let posture = visit.attempt(visit.sandbox().posture()).await?;
    let holds = posture.holds();
    let told = |control: agentkernel_core::Control| agentkernel_api::Control {
        name: control.name,
        expected: control.expected,
        actual: control.actual,
        held: control.held,
    };
    let controls = posture.controls.into_iter().map(told).collect();
    Ok(axum::Json(Posture { holds, controls }))
}
