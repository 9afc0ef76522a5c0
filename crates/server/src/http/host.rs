//! The daemon itself: health, info, metrics, shutdown, and the document of all this.

use std::sync::Arc;

use agentkernel_api::{Backend, Health, HealthStatus, Info, ShutdownRequest};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use super::body::Json;
use super::caller::Caller;
use super::refusals;
use super::router::openapi;
use crate::clock;
use crate::daemon::Daemon;
use crate::failure::Outcome;

/// Tell whether the daemon takes requests
#[utoipa::path(get, operation_id = "host_health", path = "/v1/health", tag = "host",
    responses((status = 200, body = Health), refusals::Always))]
pub async fn health(State(daemon): State<Arc<Daemon>>) -> Outcome<axum::Json<Health>> {
    let counts = daemon.state.count().await?;
    let status = if daemon.stop.borrow().is_some() {
        HealthStatus::Stopping
    } else if daemon.store.is_healthy() {
        HealthStatus::Ok
    } else {
        HealthStatus::StoreFailing
    };
    let uptime_ms = clock::milliseconds(daemon.began.elapsed());
    Ok(axum::Json(Health { status, sandboxes: counts.living(), queued: counts.queued(), uptime_ms }))
}

/// Tell what the daemon is
#[utoipa::path(get, operation_id = "host_info", path = "/v1/info", tag = "host",
    responses((status = 200, body = Info), refusals::Always))]
pub async fn info(State(daemon): State<Arc<Daemon>>) -> axum::Json<Info> {
    let backends = daemon.registry.all().iter().map(|backend| {
        let (kind, can) = (backend.kind(), backend.capabilities());
        Backend {
            kind: kind.to_string(),
            description: kind.description().to_owned(),
            pause: can.pause,
            adopt: can.adopt,
            resize: can.resize,
            host_socket: can.host_socket,
            snapshots: can.snapshots,
            warm_up: can.warm_up,
        }
    });
    axum::Json(Info {
        version: daemon.settings.version.clone(),
        api: "v1".into(),
        instance: daemon.instance.clone(),
        pid: std::process::id(),
        backends: backends.collect(),
    })
}

/// Stop the daemon; nothing of any sandbox is left when its socket is gone
#[utoipa::path(post, operation_id = "host_shutdown", path = "/v1/shutdown", tag = "host", request_body = ShutdownRequest,
    responses((status = 202), refusals::Always, refusals::Body))]
pub async fn shutdown(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Json(request): Json<ShutdownRequest>,
) -> Outcome<StatusCode> {
    caller.check_operator()?;
    daemon.order_stop(request.mode);
    Ok(StatusCode::ACCEPTED)
}

/// Tell all that is counted, for Prometheus
#[utoipa::path(get, operation_id = "host_metrics", path = "/metrics", tag = "host",
    responses((status = 200, content_type = "application/openmetrics-text", body = String),
        refusals::Always))]
pub async fn metrics(State(daemon): State<Arc<Daemon>>) -> Outcome<impl IntoResponse> {
    let text = daemon.metrics.text(&daemon).await?;
    Ok(([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text))
}

/// This document
#[utoipa::path(get, operation_id = "host_document", path = "/openapi.json", tag = "host",
    responses((status = 200, content_type = "application/json", body = Object), refusals::Always))]
pub async fn document() -> impl IntoResponse {
    axum::Json(openapi())
}
