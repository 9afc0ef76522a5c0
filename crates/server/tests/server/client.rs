//! A client that says exactly what a test tells it to, and nothing else.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Where a daemon is, and who asks.
#[derive(Debug, Clone)]
pub enum Client {
    Socket(PathBuf),
    Tcp { address: SocketAddr, token: Option<String> },
}

/// A reply.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Reply {
    /// The body, which must be JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|why| panic!("{why}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The body of a reply that must have this status.
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        if self.body.is_empty() { Value::Null } else { self.json() }
    }

    /// That it is an error of this status and kind, told as every error is.
    #[track_caller]
    pub fn refused(&self, status: u16, kind: &str) -> Value {
        let body = self.json();
        assert_eq!((self.status, body["error"]["kind"].as_str()), (status, Some(kind)), "{body}");
        let id = self.header("x-request-id").expect("a request id");
        assert_eq!(body["error"]["request_id"].as_str(), Some(id));
        assert!(!body["error"]["what"].as_str().expect("what").is_empty());
        assert!(!body["error"]["why"].as_str().expect("why").is_empty());
        body["error"].clone()
    }

    /// A header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Client {
    pub async fn wire(&self) -> Box<dyn Wire> {
        match self {
            Self::Socket(path) => Box::new(connect(path).await.expect("the socket answers")),
            Self::Tcp { address, .. } => Box::new(TcpStream::connect(address).await.expect("TCP answers")),
        }
    }

    fn headers(&self) -> String {
        match self {
            Self::Socket(_) => "Host: localhost\r\n".into(),
            Self::Tcp { address, token: None } => format!("Host: {address}\r\n"),
            Self::Tcp { address, token: Some(token) } => {
                format!("Host: {address}\r\nAuthorization: Bearer {token}\r\n")
            }
        }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.send("GET", path, "", b"").await
    }

    pub async fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, "", b"").await
    }

    pub async fn post(&self, path: &str, body: Value) -> Reply {
        self.send("POST", path, "Content-Type: application/json\r\n", body.to_string().as_bytes()).await
    }

    pub async fn put(&self, path: &str, content_type: &str, body: &[u8]) -> Reply {
        self.send("PUT", path, &format!("Content-Type: {content_type}\r\n"), body).await
    }

    /// A request with these headers, and its reply.
    pub async fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
        let mut wire = self.begin(method, path, headers, body).await;
        read_reply(&mut wire).await
    }

    /// A request whose reply is left to be read.
    pub async fn begin(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Box<dyn Wire> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\n{}{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            self.headers(),
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// These bytes and no other.
    pub async fn raw(&self, bytes: &[u8]) -> Box<dyn Wire> {
        let mut wire = self.wire().await;
        // A daemon that has refused early does not read the rest.
        drop(wire.write_all(bytes).await);
        wire
    }

    /// A WebSocket, or the reply that refuses it.
    pub async fn socket(&self, path: &str) -> Result<Socket, u16> {
        let key = tungstenite::handshake::client::generate_key();
        let uri = format!("ws://localhost{path}");
        let mut request = tungstenite::http::Request::builder()
            .uri(uri)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", key);
        for line in self.headers().lines() {
            let (name, value) = line.split_once(": ").expect("a header");
            request = request.header(name, value);
        }
        let request = request.body(()).expect("a request");
        match tokio_tungstenite::client_async(request, self.wire().await).await {
            Ok((stream, _)) => Ok(Socket { stream, stdout: Vec::new(), stderr: Vec::new() }),
            Err(tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("the handshake failed: {error}"),
        }
    }
}

/// Connects, and waits where so many others do so at the same moment that there is no room in the queue.
async fn connect(path: &Path) -> std::io::Result<UnixStream> {
    for _ in 0..5000 {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            other => return other,
        }
    }
    UnixStream::connect(path).await
}

/// Reads a reply to the end of its connection.
pub async fn read_reply(wire: &mut Box<dyn Wire>) -> Reply {
    let mut bytes = Vec::new();
    // A connection that is reset after its reply has told what there was to tell.
    drop(wire.read_to_end(&mut bytes).await);
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let split = split.unwrap_or_else(|| panic!("no reply: {}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8(bytes[..split].to_vec()).expect("a head in ASCII");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let mut body = bytes[split + 4..].to_vec();
    if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunked(&body);
    }
    Reply { status, head, body }
}

fn unchunked(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|two| two == b"\r\n").expect("the length of a chunk");
        let length = std::str::from_utf8(&body[..end]).expect("ASCII");
        let length = usize::from_str_radix(length, 16).expect("a length");
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[end + 2..end + 2 + length]);
        body = &body[end + 2 + length + 2..];
    }
}

/// A WebSocket, and what came over it.
pub struct Socket {
    pub stream: WebSocketStream<Box<dyn Wire>>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Socket {
    pub async fn text(&mut self, value: Value) {
        self.send(Message::text(value.to_string())).await;
    }

    pub async fn stdin(&mut self, bytes: &[u8]) {
        self.send(Message::binary([&[0], bytes].concat())).await;
    }

    pub async fn send(&mut self, message: Message) {
        use futures_util::SinkExt as _;
        self.stream.send(message).await.expect("sent");
    }

    /// The next message in text; output before it is kept.
    pub async fn next(&mut self) -> Value {
        tokio::time::timeout(Duration::from_secs(20), self.hear()).await.expect("a message in time")
    }

    async fn hear(&mut self) -> Value {
        use futures_util::StreamExt as _;
        loop {
            match self.stream.next().await.expect("a message").expect("no error") {
                Message::Binary(bytes) if bytes[0] == 1 => self.stdout.extend_from_slice(&bytes[1..]),
                Message::Binary(bytes) if bytes[0] == 2 => self.stderr.extend_from_slice(&bytes[1..]),
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Waits until so many bytes of stdout are there.
    pub async fn stdout_of(&mut self, length: usize) -> &[u8] {
        use futures_util::StreamExt as _;
        while self.stdout.len() < length {
            let next = tokio::time::timeout(Duration::from_secs(20), self.stream.next()).await;
            match next.expect("output in time").expect("output").expect("no error") {
                Message::Binary(bytes) if bytes[0] == 1 => self.stdout.extend_from_slice(&bytes[1..]),
                Message::Binary(bytes) if bytes[0] == 2 => self.stderr.extend_from_slice(&bytes[1..]),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
        &self.stdout
    }

    /// The first message of the server about a command that runs.
    pub async fn started(&mut self) -> Value {
        let message = self.next().await;
        assert!(message["started"].is_object(), "{message}");
        message["started"].clone()
    }

    /// The last message of the server about a command that has ended; then it closes.
    pub async fn exited(&mut self) -> Value {
        use futures_util::StreamExt as _;
        let message = self.next().await;
        assert!(message["exited"].is_object(), "{message}");
        let end = tokio::time::timeout(Duration::from_secs(5), self.stream.next()).await.expect("it closes");
        assert!(matches!(end, None | Some(Ok(Message::Close(_)) | Err(_))), "{end:?}");
        message["exited"].clone()
    }
}
