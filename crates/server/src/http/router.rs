//! Every route, each written once: the document is made of the same list.

use std::sync::Arc;

use agentkernel_api::{ClientMessage, ErrorBody, ErrorKind, Event, RunRequest, ServerMessage};
use axum::Router;
use axum::middleware::from_fn_with_state;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{
    archive, calls, events, exec, files, host, logs, pools, processes, refusals, reply, runs, sandboxes,
    shapes, snapshots,
};
use crate::daemon::Daemon;
use crate::failure::Failure;

/// What the document says besides its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "agentkernel",
        description = "Sandboxes, and commands in them. Over TCP each request needs `Authorization: Bearer TOKEN`.",
        version = "1",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(ErrorBody, Event, RunRequest, ClientMessage, ServerMessage)),
    tags(
        (name = "runs", description = "One command in a sandbox of its own"),
        (name = "sandboxes", description = "Sandboxes that live until somebody, or their time, ends them"),
        (name = "snapshots", description = "Sandboxes in use, kept as they are, and others that go on from there"),
        (name = "commands", description = "Commands in a sandbox"),
        (name = "files", description = "Files in a sandbox"),
        (name = "host", description = "The daemon and its host"),
    )
)]
struct Document;

/// The document of the API, OpenAPI 3.1, made from the routes.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    shapes::with_optional_bodies(all().into_openapi())
}

/// Every route behind its checks.
pub fn router(daemon: Arc<Daemon>) -> Router {
    let (routes, _) = all().split_for_parts();
    routes.fallback(no_route).layer(from_fn_with_state(daemon.clone(), reply::answer)).with_state(daemon)
}

async fn no_route() -> Failure {
    Failure::new(ErrorKind::NotFound, "answer the request", "there is no such route")
        .hint("GET /openapi.json lists them all")
}

fn all() -> OpenApiRouter<Arc<Daemon>> {
    let mut document = Document::openapi();
    document.components.get_or_insert_default().responses.extend(refusals::named());
    OpenApiRouter::with_openapi(document)
        .merge(of_sandboxes())
        .routes(routes!(exec::create))
        .routes(routes!(exec::stream))
        .routes(routes!(processes::list))
        .routes(routes!(processes::get))
        .routes(routes!(processes::stream))
        .routes(routes!(processes::signal))
        .routes(routes!(logs::read))
        .routes(routes!(files::read, files::write, files::remove))
        .routes(routes!(files::stat))
        .routes(routes!(files::list))
        .routes(routes!(files::make_dir))
        .routes(routes!(files::rename))
        .routes(routes!(archive::read, archive::write))
        .routes(routes!(pools::list, pools::set))
        .routes(routes!(pools::drain))
        .routes(routes!(host::health))
        .routes(routes!(host::info))
        .routes(routes!(host::shutdown))
        .routes(routes!(host::metrics))
        .routes(routes!(host::document))
        .routes(routes!(events::listen))
}

/// Runs, and sandboxes as a whole.
fn of_sandboxes() -> OpenApiRouter<Arc<Daemon>> {
    OpenApiRouter::new()
        .routes(routes!(runs::create))
        .routes(routes!(runs::stream))
        .routes(routes!(calls::create))
        .routes(routes!(calls::within))
        .routes(routes!(sandboxes::create, sandboxes::list))
        .routes(routes!(sandboxes::get, sandboxes::remove))
        .routes(routes!(sandboxes::start))
        .routes(routes!(sandboxes::stop))
        .routes(routes!(sandboxes::pause))
        .routes(routes!(sandboxes::resume))
        .routes(routes!(sandboxes::timeout))
        .routes(routes!(sandboxes::stats))
        .routes(routes!(sandboxes::posture))
        .routes(routes!(snapshots::take))
        .routes(routes!(snapshots::fork))
        .routes(routes!(snapshots::list))
        .routes(routes!(snapshots::restore))
        .routes(routes!(snapshots::remove))
}
