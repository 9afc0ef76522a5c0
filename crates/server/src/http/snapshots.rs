//! `/v1/snapshots`, and sandboxes that go on from them.

use std::sync::Arc;

use agentkernel_api::{
    ForkRequest, RestoreRequest, Sandbox, SandboxList, SandboxRequest, Snapshot, SnapshotList,
    SnapshotRequest,
};
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::body::Json;
use super::caller::Caller;
use super::refusals;
use super::reply::Timed;
use super::sandboxes::guest;
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::fate::EndOnDrop;
use crate::guest::Guest;
use crate::snapshots;

/// Keep a sandbox as it is, running commands included; it goes on
#[utoipa::path(post, operation_id = "sandboxes_snapshot", path = "/v1/sandboxes/{id}/snapshots", tag = "snapshots", request_body = SnapshotRequest,
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 201, body = Snapshot), refusals::Always, refusals::Body, refusals::Found, refusals::Made, refusals::Used))]
pub async fn take(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    Json(request): Json<SnapshotRequest>,
) -> Outcome<(StatusCode, axum::Json<Snapshot>)> {
    let guest = guest(&daemon, &caller, &word).await?;
    let snapshot = snapshots::take(&daemon, &guest, request.name.as_deref()).await?;
    Ok((StatusCode::CREATED, axum::Json(snapshot)))
}

/// Make sandboxes that go on from where one is now: all of them, or none
#[utoipa::path(post, operation_id = "sandboxes_fork", path = "/v1/sandboxes/{id}/fork", tag = "snapshots", request_body = ForkRequest,
    params(("id" = String, Path, description = "Its id or name")),
    responses((status = 201, body = SandboxList), refusals::Always, refusals::Body, refusals::Found, refusals::Made, refusals::Used))]
pub async fn fork(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    Json(request): Json<ForkRequest>,
) -> Outcome<(StatusCode, axum::Json<SandboxList>)> {
    let guest = guest(&daemon, &caller, &word).await?;
    let made = snapshots::fork(&daemon, guest, request).await?;
    let sandboxes = made.into_iter().map(handed_out).collect();
    Ok((StatusCode::CREATED, axum::Json(SandboxList { sandboxes })))
}

/// It outlives the request.
fn handed_out((guest, guard): (Guest, EndOnDrop)) -> Sandbox {
    guard.put_off();
    guest.view.borrow().clone()
}

/// List your snapshots, the newest last
#[utoipa::path(get, operation_id = "snapshots_list", path = "/v1/snapshots", tag = "snapshots",
    responses((status = 200, body = SnapshotList), refusals::Always))]
pub async fn list(State(daemon): State<Arc<Daemon>>, caller: Caller) -> Outcome<axum::Json<SnapshotList>> {
    let snapshots = snapshots::list(&daemon, &caller.owner).await?;
    Ok(axum::Json(SnapshotList { snapshots }))
}

/// Make a sandbox that goes on from a snapshot
#[utoipa::path(post, operation_id = "snapshots_restore", path = "/v1/snapshots/{name}/sandboxes", tag = "snapshots", request_body = RestoreRequest,
    params(("name" = String, Path, description = "Its name")),
    responses((status = 201, body = Sandbox), refusals::Always, refusals::Body, refusals::Made))]
pub async fn restore(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(name): Path<String>,
    Json(request): Json<RestoreRequest>,
) -> Outcome<(StatusCode, Timed<axum::Json<Sandbox>>)> {
    let may_have = |asked: &SandboxRequest| caller.check_host_paths(asked);
    let sandbox = handed_out(snapshots::restore(&daemon, &caller.owner, &name, request, may_have).await?);
    let phases = sandbox.phases.clone();
    Ok((StatusCode::CREATED, Timed(axum::Json(sandbox), phases)))
}

/// Remove a snapshot; what goes on from it is not concerned
#[utoipa::path(delete, operation_id = "snapshots_remove", path = "/v1/snapshots/{name}", tag = "snapshots",
    params(("name" = String, Path, description = "Its name")),
    responses((status = 204), refusals::Always))]
pub async fn remove(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Outcome<StatusCode> {
    snapshots::remove(&daemon, &caller.owner, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
