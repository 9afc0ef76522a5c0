//! One request and its reply, on a connection of their own.

use std::io;
use std::time::Duration;

use agentkernel_api as api;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Response, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::path::RequestPath;
use crate::{Address, Connection, Error, Result};

/// The longest reply that is read as a whole: the output of a buffered command is in it.
const REPLY_MAX: usize = 128 << 20;

/// The longest error that is read.
const ERROR_MAX: usize = 1 << 20;

/// How long the daemon may take for what does not wait for a command: the longest is a boot after a full queue.
pub(crate) const REPLY_DEADLINE: Duration = Duration::from_secs(120);

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// What is asked.
pub(crate) struct Request {
    method: Method,
    path: RequestPath,
    content_type: Option<&'static str>,
    body: Body,
}

impl Request {
    pub(crate) fn new(method: Method, path: RequestPath) -> Self {
        let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
        Self { method, path, content_type: None, body }
    }

    pub(crate) fn get(path: RequestPath) -> Self {
        Self::new(Method::GET, path)
    }

    /// Asks for a change that needs no words.
    pub(crate) fn post(path: RequestPath) -> Self {
        Self::new(Method::POST, path)
    }

    pub(crate) fn delete(path: RequestPath) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With these words.
    pub(crate) fn json(mut self, value: &impl Serialize) -> Result<Self> {
        let json = serde_json::to_vec(value).map_err(|why| Error::broken("write the request", why))?;
        self.body = Full::new(Bytes::from(json)).map_err(|never| match never {}).boxed_unsync();
        self.content_type = Some("application/json");
        Ok(self)
    }

    /// With bytes that come in their time.
    pub(crate) fn stream(mut self, content_type: &'static str, body: Body) -> Self {
        self.body = body;
        self.content_type = Some(content_type);
        self
    }

    fn what(&self) -> String {
        let route = self.path.as_str().split('?').next().unwrap_or_default();
        format!("ask the daemon: {} {route}", self.method)
    }

    fn for_hyper(self, address: &Address) -> Result<hyper::Request<Body>> {
        let mut request = hyper::Request::builder()
            .method(self.method)
            .uri(self.path.as_str())
            .header(HOST, address.host());
        if let Some(kind) = self.content_type {
            request = request.header(CONTENT_TYPE, kind);
        }
        if let Some(value) = address.authorization() {
            request = request.header(AUTHORIZATION, value);
        }
        request.body(self.body).map_err(|why| Error::broken("write the request", why))
    }
}

/// What was answered; its body is still to come.
pub(crate) struct Reply {
    response: Response<Incoming>,
    what: String,
}

/// Asks, and waits for the head of the reply for as long as it takes. An error of the daemon's is an error here.
pub(crate) async fn ask(address: &Address, request: Request) -> Result<Reply> {
    let what = request.what();
    let broken = |why: hyper::Error| Error::broken(&what, why);
    let stream = Connection::open(address).await?.into_stream()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // It ends when the reply has been read or dropped; what fails in it fails there, too.
    tokio::spawn(async move { drop(connection.await) });
    let response = sender.send_request(request.for_hyper(address)?).await.map_err(broken)?;
    if response.status().is_success() {
        return Ok(Reply { response, what });
    }
    Err(refusal(response, &what).await)
}

/// Like [`ask`], with a deadline.
pub(crate) async fn ask_soon(address: &Address, request: Request) -> Result<Reply> {
    let what = request.what();
    let asked = timeout(REPLY_DEADLINE, ask(address, request)).await;
    asked.unwrap_or_else(|_| Err(Error::late(&what, REPLY_DEADLINE)))
}

async fn refusal(response: Response<Incoming>, what: &str) -> Error {
    let status = response.status();
    let body = timeout(REPLY_DEADLINE, Limited::new(response.into_body(), ERROR_MAX).collect()).await;
    match body {
        Ok(Ok(body)) => told(status, &body.to_bytes(), what),
        Ok(Err(why)) => Error::broken(what, why),
        Err(_) => Error::late(what, REPLY_DEADLINE),
    }
}

/// What an error's body says.
pub(crate) fn told(status: StatusCode, body: &[u8], what: &str) -> Error {
    match serde_json::from_slice::<api::ErrorBody>(body) {
        Ok(body) => Error::Refused(Box::new(body.error)),
        Err(_) => Error::broken(what, format!("status {status}, and not in the words of a daemon of ours")),
    }
}

impl Reply {
    pub(crate) fn into_body(self) -> (Incoming, String) {
        (self.response.into_body(), self.what)
    }

    /// The whole body, read as `T`.
    pub(crate) async fn json<T: DeserializeOwned>(self) -> Result<T> {
        let Self { response, what } = self;
        let body = Limited::new(response.into_body(), REPLY_MAX).collect().await;
        let bytes = body.map_err(|why| Error::broken(&what, why))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|why| Error::broken(&what, format!("read the reply: {why}")))
    }

    /// The reply says nothing beyond its status.
    pub(crate) async fn done(self) -> Result<()> {
        let Self { response, what } = self;
        let body = Limited::new(response.into_body(), ERROR_MAX).collect().await;
        body.map(drop).map_err(|why| Error::broken(&what, why))
    }
}
