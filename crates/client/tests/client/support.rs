//! A small server of the test's own, which behaves as well, or as badly, as it is told.

use std::path::PathBuf;
use std::time::Duration;

use agentkernel_api as api;
use agentkernel_client::{Address, Client};
use axum::extract::ws::{Message, WebSocket};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};

/// Whatever a test waits for comes before this, or never.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub struct Server {
    pub client: Client,
    pub socket: PathBuf,
    _folder: tempfile::TempDir,
}

/// Serves these routes on a socket, until the test's runtime ends.
pub fn serve(router: Router) -> Server {
    let folder = tempfile::tempdir().expect("temp dir");
    let socket = folder.path().join("daemon.sock");
    let listener = tokio::net::UnixListener::bind(&socket).expect("bind");
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { client: Client::new(Address::Unix(socket.clone())), socket, _folder: folder }
}

pub fn refused(kind: api::ErrorKind) -> Response {
    let error = api::Error {
        kind,
        what: "make the sandbox".into(),
        subject: "web".into(),
        why: "because".into(),
        hint: Some("another way".into()),
        request_id: "1".into(),
        sandbox: None,
    };
    (StatusCode::SERVICE_UNAVAILABLE, Json(api::ErrorBody { error })).into_response()
}

pub fn run(words: &[&str]) -> api::RunRequest {
    api::RunRequest { command: api::CommandRequest::new(words.iter().copied()), ..api::RunRequest::default() }
}

pub async fn say(socket: &mut WebSocket, message: &api::ServerMessage) {
    let text = serde_json::to_string(message).expect("JSON");
    socket.send(Message::Text(text.into())).await.expect("the client is there");
}

pub fn started() -> api::ServerMessage {
    api::ServerMessage::Started(api::Started {
        sandbox: "ak-1".into(),
        pid: 7,
        origin: Some(api::Origin::Warm),
        warning: None,
    })
}

pub fn exited(code: u8) -> api::ServerMessage {
    let result = api::CommandResult { exit_code: Some(code), sandbox: "ak-1".into(), ..Default::default() };
    api::ServerMessage::Exited(Box::new(result))
}
