//! Requests to a program of the host that answers HTTP on a unix socket: a container engine, a VMM.
//!
//! Architecture invariant: nothing here goes to a network.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
pub use hyper::Method;
pub use hyper::StatusCode;
pub use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// Most of an answer that is taken, bytes. A list of a thousand containers has some two million.
const ANSWER_MAX: usize = 16 << 20;

/// How long a program may take for what it does at once.
pub const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// Why there is no answer.
#[derive(Debug)]
pub enum NoAnswer {
    /// Nobody listens on the socket, or we may not talk to it.
    Unreachable(io::Error),
    /// The connection broke, or what came is not HTTP.
    Broken(String),
    /// Nothing came in time.
    Late(Duration),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) => write!(out, "it cannot be reached: {why}"),
            Self::Broken(why) => write!(out, "it broke off: {why}"),
            Self::Late(deadline) => write!(out, "it did not answer within {} s", deadline.as_secs()),
        }
    }
}

/// What is sent along.
#[derive(Debug, Clone)]
pub enum Content {
    /// No body.
    Nothing,
    /// A value.
    Json(Value),
    /// An archive.
    Tar(Bytes),
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// How it went.
    pub status: StatusCode,
    body: Bytes,
}

impl Answer {
    /// The body, if it is JSON; else null.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// What a program says of an error: `message` of Docker and Podman, `fault_message` of Firecracker.
    #[must_use]
    pub fn message(&self) -> String {
        let json = self.json();
        let told = json["message"].as_str().or(json["fault_message"].as_str());
        let said = told.map_or_else(|| String::from_utf8_lossy(&self.body), Into::into);
        said.trim().chars().filter(|letter| !letter.is_control()).take(1000).collect()
    }
}

/// A server on a unix socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    socket: PathBuf,
}

impl Server {
    /// The one that listens there.
    #[must_use]
    pub fn new(socket: &Path) -> Self {
        Self { socket: socket.to_owned() }
    }

    /// Asks, and takes the whole answer.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        content: Content,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let asked = async {
            let response = self.send(request(method, path, content)?).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            let body = body.map_err(|why| NoAnswer::Broken(why.to_string()))?.to_bytes();
            Ok(Answer { status, body })
        };
        timeout(deadline, asked).await.unwrap_or(Err(NoAnswer::Late(deadline)))
    }

    /// Asks for an answer that has no end; it is read as it comes.
    pub async fn listen(&self, path: &str) -> Result<Incoming, NoAnswer> {
        let asked = async {
            let response = self.send(request(Method::GET, path, Content::Nothing)?).await?;
            if response.status() == StatusCode::OK {
                return Ok(response.into_body());
            }
            Err(NoAnswer::Broken(format!("GET {path}: {}", response.status())))
        };
        timeout(ANSWER_DEADLINE, asked).await.unwrap_or(Err(NoAnswer::Late(ANSWER_DEADLINE)))
    }

    /// Asks for the connection itself, and what the other side has sent on it already. The answer, if it is another.
    pub async fn upgrade(&self, path: &str) -> Result<Result<(UnixStream, Bytes), Answer>, NoAnswer> {
        let asked = async {
            let mut request = request(Method::POST, path, Content::Nothing)?;
            request.headers_mut().insert(UPGRADE, hyper::header::HeaderValue::from_static("tcp"));
            request.headers_mut().insert(CONNECTION, hyper::header::HeaderValue::from_static("Upgrade"));
            let response = self.send(request).await?;
            let status = response.status();
            if status != StatusCode::SWITCHING_PROTOCOLS {
                let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
                let body = body.map_err(|why| NoAnswer::Broken(why.to_string()))?.to_bytes();
                return Ok(Err(Answer { status, body }));
            }
            let upgraded = hyper::upgrade::on(response).await;
            let upgraded = upgraded.map_err(|why| NoAnswer::Broken(why.to_string()))?;
            let parts = upgraded.downcast::<TokioIo<UnixStream>>();
            let parts = parts.map_err(|_| NoAnswer::Broken("the stream is not ours".into()))?;
            Ok(Ok((parts.io.into_inner(), parts.read_buf)))
        };
        timeout(ANSWER_DEADLINE, asked).await.unwrap_or(Err(NoAnswer::Late(ANSWER_DEADLINE)))
    }

    /// A connection of its own for each request: to connect to a unix socket costs less than to keep one well.
    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, NoAnswer> {
        let stream = UnixStream::connect(&self.socket).await.map_err(NoAnswer::Unreachable)?;
        let broken = |why: hyper::Error| NoAnswer::Broken(why.to_string());
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        // Ends with the connection, which ends with the answer; what it could say the answer says as well.
        tokio::spawn(connection.with_upgrades());
        sender.send_request(request).await.map_err(broken)
    }
}

fn request(method: Method, path: &str, content: Content) -> Result<Request<Full<Bytes>>, NoAnswer> {
    let (kind, body) = match content {
        Content::Nothing => (None, Bytes::new()),
        Content::Json(value) => (Some("application/json"), Bytes::from(value.to_string())),
        Content::Tar(bytes) => (Some("application/x-tar"), bytes),
    };
    let mut builder = Request::builder().method(method).uri(path).header(HOST, "localhost");
    if let Some(kind) = kind {
        builder = builder.header(CONTENT_TYPE, kind);
    }
    builder.body(Full::new(body)).map_err(|why| NoAnswer::Broken(format!("{path}: {why}")))
}

/// A value of a query, with everything but letters, digits and `-._` escaped.
#[must_use]
pub fn escaped(text: &str) -> String {
    let byte = |byte: u8| {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
            char::from(byte).to_string()
        } else {
            format!("%{byte:02X}")
        }
    };
    text.bytes().map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_into_a_query_stays_one_value() {
        assert_eq!(escaped("a&b=c d/é?#%"), "a%26b%3Dc%20d%2F%C3%A9%3F%23%25");
    }

    #[test]
    fn an_answer_without_json_is_told_in_its_own_words() {
        let said = |body: &'static str| {
            Answer { status: StatusCode::NOT_FOUND, body: Bytes::from_static(body.as_bytes()) }.message()
        };
        assert_eq!(said(r#"{"message":"No such container: x"}"#), "No such container: x");
        assert_eq!(said("404 page\nnot found"), "404 pagenot found");
    }
}
