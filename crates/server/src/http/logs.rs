//! `/v1/sandboxes/{id}/logs`: what the background commands of a sandbox said.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::caller::{Caller, Place};
use super::sandboxes::guest;
use super::{refusals, shapes};
use crate::daemon::Daemon;
use crate::failure::Outcome;
use crate::guest::Guest;

/// Which part of the log.
#[derive(Debug, Default, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields, default)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// Go on with what is said from now on, until the sandbox ends.
    follow: bool,
    /// Of this command only.
    pid: Option<u32>,
}

/// Read what is remembered of the output of a sandbox's background commands, stdout and stderr as they came
#[utoipa::path(get, operation_id = "logs_read", path = "/v1/sandboxes/{id}/logs", tag = "commands",
    params(("id" = String, Path, description = "The sandbox's id or name"), Part),
    responses((status = 200, content_type = "application/octet-stream", body = shapes::Bytes),
        refusals::Always, refusals::Found))]
pub async fn read(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    place: Place,
    Path(word): Path<String>,
    Query(part): Query<Part>,
) -> Outcome<Response> {
    let guest = guest(&daemon, &caller, &word).await?;
    let reader = Reader { guest, part, from: 0, _place: place };
    let pages = stream::unfold(reader, |mut reader| async move {
        let page = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(page), reader))
    });
    Ok(([(CONTENT_TYPE, "application/octet-stream")], Body::from_stream(pages)).into_response())
}

struct Reader {
    guest: Guest,
    part: Part,
    from: u64,
    _place: Place,
}

impl Reader {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let page = self.guest.log.read(self.from);
            self.from = page.next;
            let is_end = page.pieces.is_empty();
            let wanted = |pid: u32| self.part.pid.is_none_or(|only| only == pid);
            let pieces = page.pieces.into_iter().filter(|piece| wanted(piece.pid));
            let bytes: Vec<u8> = pieces.flat_map(|piece| piece.bytes).collect();
            if !bytes.is_empty() {
                return Some(bytes.into());
            }
            if !is_end {
                continue;
            }
            if !self.part.follow || self.guest.fate.verdict().is_some() {
                return None;
            }
            tokio::select! {
                () = self.guest.log.grown(self.from) => {}
                _ = self.guest.fate.decided() => {}
            }
        }
    }
}
