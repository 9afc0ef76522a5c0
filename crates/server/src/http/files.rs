//! `/v1/sandboxes/{id}/files`: files inside a sandbox.

use std::sync::Arc;

use agentkernel_api::{FileInfo, FileKind, MakeDirRequest, RenameRequest, Word};
use agentkernel_core::{ByteSink, ByteSource};
use axum::body::Body;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;

use super::body::{Json, Upload};
use super::caller::{Caller, Place};
use super::{refusals, shapes};
use crate::convert::absolute;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::guest::Visit;

const BYTES: &str = "application/octet-stream";

/// Permission bits of a file, and of a folder, unless the request says otherwise.
const FILE_MODE: u32 = 0o644;
const FOLDER_MODE: u32 = 0o755;

/// The query of a request about a path, in which each byte of the path can be said.
pub struct PathQuery {
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl PathQuery {
    /// Reads the query; keys other than these are refused.
    pub fn parse(query: Option<&str>, keys: &[&str]) -> Outcome<Self> {
        let parts = query.unwrap_or_default().split('&').filter(|part| !part.is_empty());
        let pairs: Vec<_> = parts
            .map(|part| {
                let (key, value) = part.split_once('=').unwrap_or((part, ""));
                (decoded(key), decoded(value))
            })
            .collect();
        let is_known = |key: &[u8]| keys.iter().any(|known| known.as_bytes() == key);
        match pairs.iter().find(|(key, _)| !is_known(key)) {
            Some((key, _)) => {
                Err(Failure::usage(format!("?{}", key.escape_ascii()), "there is no such parameter"))
            }
            None => Ok(Self { pairs }),
        }
    }

    /// The absolute path in the sandbox.
    pub fn path(&self) -> Outcome<Vec<u8>> {
        let path = self.get("path").ok_or_else(|| Failure::usage("?path", "it is missing"))?;
        absolute("?path", &Word(path.to_vec()))
    }

    /// Whether something is wanted.
    fn flag(&self, key: &str) -> Outcome<bool> {
        match self.get(key) {
            None | Some(b"false") => Ok(false),
            Some(b"true") => Ok(true),
            Some(_) => Err(Failure::usage(format!("?{key}"), "it is neither true nor false")),
        }
    }

    fn mode(&self) -> Outcome<Option<u32>> {
        let Some(text) = self.get("mode") else { return Ok(None) };
        let mode = std::str::from_utf8(text).ok().and_then(|text| u32::from_str_radix(text, 8).ok());
        let wrong = || Failure::usage("?mode", "it is not an octal number such as 644");
        mode.filter(|mode| *mode <= 0o7777).map(Some).ok_or_else(wrong)
    }

    fn get(&self, key: &str) -> Option<&[u8]> {
        let found = self.pairs.iter().find(|(known, _)| known == key.as_bytes());
        found.map(|(_, value)| value.as_slice())
    }
}

/// Percent-encoded bytes; `+` is a space, as in forms.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let hex = (byte == b'%').then(|| Some((ahead.next()?, ahead.next()?))).flatten();
        let digits = hex.and_then(|(high, low)| {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            u8::try_from(digit(high)? * 16 + digit(low)?).ok()
        });
        match digits {
            Some(value) => {
                decoded.push(value);
                bytes = ahead;
            }
            None => decoded.push(if byte == b'+' { b' ' } else { byte }),
        }
    }
    decoded
}

/// Read a file
#[utoipa::path(get, operation_id = "files_read", path = "/v1/sandboxes/{id}/files", tag = "files",
    params(("id" = String, Path, description = "The sandbox's id or name"),
        ("path" = String, Query, description = "Its absolute path, each byte percent-encoded if need be")),
    responses((status = 200, content_type = "application/octet-stream", body = shapes::Bytes),
        refusals::Always, refusals::Found, refusals::Used))]
pub async fn read(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    place: Place,
    Path(word): Path<String>,
    RawQuery(query): RawQuery,
) -> Outcome<Response> {
    let path = PathQuery::parse(query.as_deref(), &["path"])?.path()?;
    let visit = daemon.enter(&caller.owner, &word).await?;
    let source = visit.attempt(visit.sandbox().files().read(&path, 0, None)).await?;
    Ok(download(visit, place, source, BYTES))
}

/// Bytes on their way out. An error in their midst breaks the connection, so that nobody takes a part for the whole.
pub fn download(
    visit: Visit,
    place: Place,
    source: Box<dyn ByteSource>,
    content_type: &'static str,
) -> Response {
    let pieces = stream::unfold(Some((source, visit, place)), |state| async move {
        let (mut source, visit, place) = state?;
        match visit.attempt(source.next()).await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some((source, visit, place)))),
            Ok(None) => None,
            Err(failure) => Some((Err(failure.error), None)),
        }
    });
    ([(CONTENT_TYPE, content_type)], Body::from_stream(pieces)).into_response()
}

/// Create or replace a file as a whole
#[utoipa::path(put, operation_id = "files_write", path = "/v1/sandboxes/{id}/files", tag = "files",
    params(("id" = String, Path, description = "The sandbox's id or name"),
        ("path" = String, Query, description = "Its absolute path, each byte percent-encoded if need be"),
        ("mode" = Option<String>, Query, description = "Its permission bits, octal; 644 by default")),
    request_body(content = shapes::Bytes, content_type = "application/octet-stream"),
    responses((status = 204), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn write(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    RawQuery(query): RawQuery,
    request: Request,
) -> Outcome<StatusCode> {
    let query = PathQuery::parse(query.as_deref(), &["path", "mode"])?;
    let (path, mode) = (query.path()?, query.mode()?.unwrap_or(FILE_MODE));
    let body = Upload::of(request, &daemon, BYTES)?;
    let visit = daemon.enter(&caller.owner, &word).await?;
    let sink = visit.attempt(visit.sandbox().files().write(&path, mode)).await?;
    upload(&visit, body, sink).await
}

/// Bytes on their way in. What does not arrive as a whole leaves the target as it was.
pub async fn upload(visit: &Visit, mut body: Upload, mut sink: Box<dyn ByteSink>) -> Outcome<StatusCode> {
    loop {
        let bytes = tokio::select! {
            bytes = body.next() => bytes?,
            _ = visit.guest().fate.decided() => return Err(visit.gone()),
        };
        match bytes {
            Some(bytes) => visit.attempt(sink.write(bytes)).await?,
            None => break,
        }
    }
    visit.attempt(sink.finish()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a file, a link or a folder
#[utoipa::path(delete, operation_id = "files_remove", path = "/v1/sandboxes/{id}/files", tag = "files",
    params(("id" = String, Path, description = "The sandbox's id or name"),
        ("path" = String, Query, description = "Its absolute path, each byte percent-encoded if need be"),
        ("recursive" = Option<bool>, Query, description = "With all that is in it")),
    responses((status = 204), refusals::Always, refusals::Found, refusals::Used))]
pub async fn remove(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    RawQuery(query): RawQuery,
) -> Outcome<StatusCode> {
    let query = PathQuery::parse(query.as_deref(), &["path", "recursive"])?;
    let (path, recursive) = (query.path()?, query.flag("recursive")?);
    let visit = daemon.enter(&caller.owner, &word).await?;
    visit.attempt(visit.sandbox().files().remove(&path, recursive)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tell the facts of a file
#[utoipa::path(get, operation_id = "files_stat", path = "/v1/sandboxes/{id}/files/stat", tag = "files",
    params(("id" = String, Path, description = "The sandbox's id or name"),
        ("path" = String, Query, description = "Its absolute path, each byte percent-encoded if need be"),
        ("follow" = Option<bool>, Query, description = "Of what a link points to, and not of the link")),
    responses((status = 200, body = FileInfo), refusals::Always, refusals::Found, refusals::Used))]
pub async fn stat(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    RawQuery(query): RawQuery,
) -> Outcome<axum::Json<FileInfo>> {
    let query = PathQuery::parse(query.as_deref(), &["path", "follow"])?;
    let (path, follow) = (query.path()?, query.flag("follow")?);
    let visit = daemon.enter(&caller.owner, &word).await?;
    Ok(axum::Json(told(visit.attempt(visit.sandbox().files().stat(&path, follow)).await?)))
}

/// List a folder, sorted by name
#[utoipa::path(get, operation_id = "files_list", path = "/v1/sandboxes/{id}/files/list", tag = "files",
    params(("id" = String, Path, description = "The sandbox's id or name"),
        ("path" = String, Query, description = "Its absolute path, each byte percent-encoded if need be")),
    responses((status = 200, body = Vec<FileInfo>), refusals::Always, refusals::Found, refusals::Used))]
pub async fn list(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    RawQuery(query): RawQuery,
) -> Outcome<axum::Json<Vec<FileInfo>>> {
    let path = PathQuery::parse(query.as_deref(), &["path"])?.path()?;
    let visit = daemon.enter(&caller.owner, &word).await?;
    let entries = visit.attempt(visit.sandbox().files().list(&path)).await?;
    Ok(axum::Json(entries.into_iter().map(told).collect()))
}

/// Make a folder
#[utoipa::path(post, operation_id = "files_make_dir", path = "/v1/sandboxes/{id}/files/mkdir", tag = "files", request_body = MakeDirRequest,
    params(("id" = String, Path, description = "The sandbox's id or name")),
    responses((status = 204), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn make_dir(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    Json(request): Json<MakeDirRequest>,
) -> Outcome<StatusCode> {
    let path = absolute("path", &request.path)?;
    let mode = request.mode.unwrap_or(FOLDER_MODE);
    if mode > 0o7777 {
        return Err(Failure::usage("mode", "it has bits that are no permission bits"));
    }
    let visit = daemon.enter(&caller.owner, &word).await?;
    visit.attempt(visit.sandbox().files().make_dir(&path, mode, request.parents)).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Rename a file or folder
#[utoipa::path(post, operation_id = "files_rename", path = "/v1/sandboxes/{id}/files/rename", tag = "files", request_body = RenameRequest,
    params(("id" = String, Path, description = "The sandbox's id or name")),
    responses((status = 204), refusals::Always, refusals::Body, refusals::Found, refusals::Used))]
pub async fn rename(
    State(daemon): State<Arc<Daemon>>,
    caller: Caller,
    Path(word): Path<String>,
    Json(request): Json<RenameRequest>,
) -> Outcome<StatusCode> {
    let (from, to) = (absolute("from", &request.from)?, absolute("to", &request.to)?);
    let visit = daemon.enter(&caller.owner, &word).await?;
    visit.attempt(visit.sandbox().files().rename(&from, &to)).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn told(info: agentkernel_core::FileInfo) -> FileInfo {
    FileInfo {
        name: Word(info.name),
        kind: match info.kind {
            agentkernel_core::FileKind::File => FileKind::File,
            agentkernel_core::FileKind::Dir => FileKind::Dir,
            agentkernel_core::FileKind::Symlink => FileKind::Symlink,
            agentkernel_core::FileKind::Other => FileKind::Other,
        },
        size: info.size,
        mode: info.mode,
        uid: info.uid,
        gid: info.gid,
        modified_ns: info.modified_ns,
        target: info.target.map(Word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_path_can_be_said() {
        let path = |query: &str| PathQuery::parse(Some(query), &["path"]).and_then(|query| query.path());
        assert_eq!(path("path=/a%ff%00b").ok(), None, "no path has a NUL");
        assert_eq!(path("path=/a%FF+b%2B%26c").expect("a path"), b"/a\xff b+&c");
        assert_eq!(path("path=/100%").expect("a path"), b"/100%");
        assert!(path("path=a").is_err() && path("").is_err() && path("path=/a&x=1").is_err());
    }
}
