//! `/v1/calls` and `/v1/sandboxes/{id}/calls`: functions of Wasm modules.

use std::sync::Arc;

use agentkernel_api::{CallRequest, CallResult, FunctionCall};
use axum::extract::{Path, State};

use super::body::Json;
use super::caller::Caller;
use super::refusals;
use super::reply::Timed;
use crate::command::call;
use crate::daemon::Daemon;
use crate::failure::Outcome;

type Reply = Outcome<Timed<axum::Json<CallResult>>>;

fn reply(result: CallResult) -> Timed<axum::Json<CallResult>> {
    let phases = result.phases.clone();
    Timed(axum::Json(result), phases)
}

/// Call a function of a module in a sandbox of its own, and reply when it has returned
#[utoipa::path(post, operation_id = "calls_create", path = "/v1/calls", tag = "runs", request_body = CallRequest,
    responses((status = 200, body = CallResult), refusals::Always, refusals::Body, refusals::Made, refusals::Used))]
pub async fn create(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Json(request): Json<CallRequest>,
) -> Reply {
    caller.check_host_paths(&request.sandbox)?;
    Ok(reply(call::alone(&daemon, &caller.owner, request).await?))
}

/// Call a function of a sandbox's module, in an instance of its own, and reply when it has returned
#[utoipa::path(post, operation_id = "sandbox_calls_create", path = "/v1/sandboxes/{id}/calls", tag = "commands",
    request_body = FunctionCall, params(("id" = String, Path, description = "The sandbox's id or name")),
    responses((status = 200, body = CallResult), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn within(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    Json(request): Json<FunctionCall>,
) -> Reply {
    let visit = daemon.enter(&caller.owner, &word).await?;
    Ok(reply(call::within(&daemon, &visit, request).await?))
}
