//! `/v1/events`: what happens to your sandboxes, as server-sent events.

use std::sync::Arc;

use agentkernel_api::Event;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::caller::{Caller, Place};
use super::{refusals, shapes};
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::state::OwnedEvent;

/// Listen to what happens to your sandboxes: server-sent events whose data is an `Event`
///
/// Whoever listens too slowly is told by an event of type `skipped` how many he missed.
#[utoipa::path(get, operation_id = "events_listen", path = "/v1/events", tag = "host",
    responses((status = 200, content_type = "text/event-stream", body = shapes::Frame), refusals::Always))]
pub async fn listen(State(daemon): State<Arc<Daemon>>, caller: Caller, place: Place) -> Outcome<Response> {
    let listener = Listener { events: daemon.state.listen(), owner: caller.owner, daemon, _place: place };
    let frames = stream::unfold(Some(listener), |listener| async move {
        let mut listener = listener?;
        let frame = listener.next().await?;
        Some((Ok::<_, std::convert::Infallible>(frame), Some(listener)))
    });
    let headers = [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store")];
    // Something at once, so that whoever listens knows from when on.
    let first = stream::once(async { Ok(Bytes::from_static(b": listening\n\n")) });
    Ok((headers, Body::from_stream(futures_util::StreamExt::chain(first, frames))).into_response())
}

struct Listener {
    events: broadcast::Receiver<Arc<OwnedEvent>>,
    owner: String,
    daemon: Arc<Daemon>,
    _place: Place,
}

impl Listener {
    /// The next frame; `None` when the daemon stops.
    async fn next(&mut self) -> Option<Bytes> {
        let mut stop = self.daemon.stop.subscribe();
        loop {
            let event = tokio::select! {
                event = timeout(self.daemon.limits().ping_interval, self.events.recv()) => event,
                _ = stop.wait_for(Option::is_some) => return None,
            };
            match event {
                Ok(Ok(event)) if event.owner == self.owner => return Some(frame(&event.event)),
                Ok(Ok(_)) => {}
                Ok(Err(RecvError::Lagged(count))) => {
                    return Some(format!("event: skipped\ndata: {count}\n\n").into());
                }
                Ok(Err(RecvError::Closed)) => return None,
                // A listener who is gone is noticed by writing to him.
                Err(_) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
    }
}

fn frame(event: &Event) -> Bytes {
    let data = serde_json::to_string(event).unwrap_or_default();
    format!("id: {}\ndata: {data}\n\n", event.sequence).into()
}
