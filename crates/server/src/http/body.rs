//! Bodies of requests, within their limits.

use std::sync::Arc;

use agentkernel_api::ErrorKind;
use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};

/// A body in JSON. An empty one, where it may be empty, is `{}`.
pub struct Json<T>(pub T);

/// No body, or an object without a key.
pub struct Nothing;

/// A body that is passed on as it comes.
pub struct Upload {
    body: Limited<Body>,
    most: u64,
    daemon: Arc<Daemon>,
}

impl<T: DeserializeOwned> FromRequest<Arc<Daemon>> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, daemon: &Arc<Daemon>) -> Outcome<Self> {
        let limits = daemon.limits();
        check_type(request.headers(), "application/json")?;
        check_length(request.headers(), limits.body_bytes as u64)?;
        let body = Limited::new(request.into_body(), limits.body_bytes);
        let collected =
            timeout(limits.body_deadline, collect(body, daemon)).await.map_err(|_| late(daemon))?;
        let (bytes, _room) = collected?;
        // The parser goes 128 levels deep and no further.
        let parsed = serde_json::from_slice(if bytes.is_empty() { b"{}" } else { &bytes });
        parsed.map(Self).map_err(|why| Failure::usage("the body", why))
    }
}

impl FromRequest<Arc<Daemon>> for Nothing {
    type Rejection = Failure;

    async fn from_request(request: Request, daemon: &Arc<Daemon>) -> Outcome<Self> {
        let Json(object) = Json::<serde_json::Map<_, _>>::from_request(request, daemon).await?;
        match object.keys().next() {
            Some(key) => Err(Failure::usage("the body", format!("it has the key {key:?}, of none"))),
            None => Ok(Self),
        }
    }
}

impl Upload {
    /// The body of this request, which must be of this type.
    pub fn of(request: Request, daemon: &Arc<Daemon>, content_type: &str) -> Outcome<Self> {
        let most = daemon.limits().upload_bytes;
        check_type(request.headers(), content_type)?;
        check_length(request.headers(), most)?;
        let body = Limited::new(request.into_body(), usize::try_from(most).unwrap_or(usize::MAX));
        Ok(Self { body, most, daemon: daemon.clone() })
    }

    /// The next bytes; `None` at the end. Whoever sends nothing for too long is not waited for: he would keep the
    /// sandbox from being idle.
    pub async fn next(&mut self) -> Outcome<Option<Bytes>> {
        let deadline = self.daemon.limits().body_deadline;
        while let Some(frame) = timeout(deadline, self.body.frame()).await.map_err(|_| late(&self.daemon))? {
            let frame = frame.map_err(|why| broken(&*why, self.most))?;
            match frame.into_data() {
                Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                _ => {}
            }
        }
        Ok(None)
    }
}

/// All bytes of a body, and the room that they take among all bodies. What is announced and does not come takes none.
async fn collect(
    mut body: Limited<Body>,
    daemon: &Daemon,
) -> Outcome<(Vec<u8>, Option<OwnedSemaphorePermit>)> {
    let (mut bytes, mut room) = (Vec::new(), None::<OwnedSemaphorePermit>);
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame.map_err(|why| broken(&*why, daemon.limits().body_bytes as u64))?.into_data()
        else {
            continue;
        };
        let have = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = (bytes.len() + piece.len()).div_ceil(1024).saturating_sub(have);
        let more = reserve(daemon, u32::try_from(more).unwrap_or(u32::MAX))?;
        match &mut room {
            Some(room) => room.merge(more),
            None => room = Some(more),
        }
        bytes.extend_from_slice(&piece);
    }
    Ok((bytes, room))
}

fn reserve(daemon: &Daemon, kib: u32) -> Outcome<OwnedSemaphorePermit> {
    let full = |_| Failure::busy("read the request", "the bodies of other requests take all the room");
    daemon.bodies.clone().try_acquire_many_owned(kib).map_err(full)
}

fn late(daemon: &Daemon) -> Failure {
    let why = format!("it did not come within {} s", daemon.limits().body_deadline.as_secs());
    Failure::usage("the body", why)
}

/// A form of a foreign page can send text and forms, and nothing else without asking first.
pub fn check_type(headers: &HeaderMap, expected: &str) -> Outcome<()> {
    let value = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("not text"));
    let essence = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    match essence {
        Some(essence) if essence.eq_ignore_ascii_case(expected) => Ok(()),
        None if is_empty(headers) => Ok(()),
        other => {
            let why = format!("its Content-Type is {}, not {expected}", other.unwrap_or("missing"));
            Err(Failure::new(ErrorKind::WrongType, "read the request", why).on("the body"))
        }
    }
}

fn is_empty(headers: &HeaderMap) -> bool {
    let length = headers.get(CONTENT_LENGTH).map(axum::http::HeaderValue::as_bytes);
    let chunked = headers.contains_key(axum::http::header::TRANSFER_ENCODING);
    !chunked && length.is_none_or(|length| length == b"0")
}

/// What says that it is too long is not read at all.
fn check_length(headers: &HeaderMap, most: u64) -> Outcome<()> {
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > most) { Err(too_large(most)) } else { Ok(()) }
}

fn broken(why: &(dyn std::error::Error + 'static), most: u64) -> Failure {
    if why.is::<LengthLimitError>() { too_large(most) } else { Failure::usage("the body", why) }
}

fn too_large(most: u64) -> Failure {
    let why = format!("it is longer than {most} bytes");
    Failure::new(ErrorKind::TooLarge, "read the request", why).on("the body")
}
