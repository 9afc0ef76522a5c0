//! How a connection becomes a WebSocket, with the first message sent along.
//!
//! The usual client waits for the server's consent before it sends anything. Ours does not, for a run is to cost one
//! round trip: upgrade and request leave in one write. A server that refuses never reads the second.

use std::io;

use agentkernel_core::DuplexStream;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::StatusCode;
use rustix::rand::{GetRandomFlags, getrandom};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use crate::exchange::{REPLY_DEADLINE, told};
use crate::path::RequestPath;
use crate::{Address, Error, Result};

pub(crate) type Socket = WebSocketStream<Box<dyn DuplexStream>>;

/// The longest head of a reply.
const HEAD_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;
/// The longest message; an error that names a sandbox with all its labels fits in.
const MESSAGE_MAX: usize = 4 << 20;
/// Read at once. Small, for most streams say little.
const READ_BUFFER: usize = 32 << 10;

/// Sends the request for an upgrade with the first message, and waits for consent.
pub(crate) async fn upgrade(
    mut stream: Box<dyn DuplexStream>,
    address: &Address,
    path: &RequestPath,
    first: Option<Vec<u8>>,
) -> Result<Socket> {
    let what = format!("ask the daemon: GET {}", path.as_str());
    let broken = |why: io::Error| Error::broken(&what, why);
    let random = random().map_err(broken)?;
    let key = STANDARD.encode(&random[..16]);
    let mut bytes = head(address, path, &key);
    if let Some(message) = first {
        let mut frame = Frame::message(Bytes::from(message), OpCode::Data(Data::Text), true);
        frame.header_mut().mask = Some([random[16], random[17], random[18], random[19]]);
        frame.format(&mut bytes).map_err(|why| Error::broken(&what, why))?;
    }
    // An error here is not the last word: a server that refuses may have said so before it closed.
    let sent = stream.write_all(&bytes).await;
    let read = timeout(REPLY_DEADLINE, read_head(&mut stream)).await;
    let (head, rest) = match (read, sent) {
        (Ok(Ok(read)), _) => read,
        (Ok(Err(why)), Ok(())) | (Ok(Err(_)), Err(why)) => return Err(broken(why)),
        (Err(_), _) => return Err(Error::late(&what, REPLY_DEADLINE)),
    };
    let reply = parse(&head).map_err(broken)?;
    if reply.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(&mut stream, &reply, rest, &what).await);
    }
    if reply.accept.as_deref() != Some(derive_accept_key(key.as_bytes()).as_str()) {
        return Err(Error::broken(&what, "the daemon consented to another request"));
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .max_message_size(Some(MESSAGE_MAX))
        .max_frame_size(Some(MESSAGE_MAX));
    Ok(WebSocketStream::from_partially_read(stream, rest, Role::Client, Some(config)).await)
}

/// The key of the handshake and the mask of the first frame.
fn random() -> io::Result<[u8; 20]> {
    let mut bytes = [0; 20];
    // So few bytes are filled at once or not at all.
    getrandom(&mut bytes, GetRandomFlags::empty())?;
    Ok(bytes)
}

fn head(address: &Address, path: &RequestPath, key: &str) -> Vec<u8> {
    let authorization =
        address.authorization().map_or_else(String::new, |value| format!("Authorization: {value}\r\n"));
    let (path, host) = (path.as_str(), address.host());
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    .into_bytes()
}

/// The head of the reply, and what came behind it.
async fn read_head(stream: &mut Box<dyn DuplexStream>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let mut bytes = Vec::with_capacity(1024);
    loop {
        if let Some(at) = bytes.windows(4).position(|end| end == b"\r\n\r\n") {
            let rest = bytes.split_off(at + 4);
            return Ok((bytes, rest));
        }
        if bytes.len() > HEAD_MAX {
            return Err(io::Error::other(format!("the head of the reply is longer than {HEAD_MAX} bytes")));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the daemon closed the connection"));
        }
    }
}

/// What matters of a head.
struct ReplyHead {
    status: StatusCode,
    accept: Option<String>,
    length: Option<usize>,
}

fn parse(head: &[u8]) -> io::Result<ReplyHead> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed = response.parse(head).map_err(io::Error::other)?;
    let status = response.code.filter(|_| parsed.is_complete()).unwrap_or_default();
    let status = StatusCode::from_u16(status).map_err(io::Error::other)?;
    let value = |name: &str| {
        let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| str::from_utf8(header.value).ok()).map(|value| value.trim().to_owned())
    };
    let length = value("content-length").and_then(|value| value.parse().ok());
    Ok(ReplyHead { status, accept: value("sec-websocket-accept"), length })
}

/// Why there is no stream.
async fn refusal(
    stream: &mut Box<dyn DuplexStream>,
    reply: &ReplyHead,
    mut body: Vec<u8>,
    what: &str,
) -> Error {
    let length = reply.length.unwrap_or_default();
    if length > MESSAGE_MAX {
        return Error::broken(what, format!("status {}", reply.status));
    }
    let read = async {
        while body.len() < length && stream.read_buf(&mut body).await.is_ok_and(|count| count > 0) {}
    };
    if timeout(REPLY_DEADLINE, read).await.is_err() {
        return Error::late(what, REPLY_DEADLINE);
    }
    body.truncate(length);
    told(reply.status, &body, what)
}
