//! The little HTTP that a collector on this host needs: one request, one reply, one connection each.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};

/// How long each of connecting, writing and reading may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// More than the head of a reply is not looked at.
const REPLY_BYTES_MAX: u64 = 4 << 10;

/// Sends to one address. It blocks, on the exporter's own thread.
#[derive(Debug)]
pub struct Sender {
    authority: String,
}

impl Sender {
    /// To `http://HOST:PORT`, and whatever lies below it.
    pub fn to(collector: &str) -> Result<Self, &'static str> {
        let rest = collector.strip_prefix("http://").ok_or("it does not begin with http://")?;
        let authority = rest.split('/').next().unwrap_or_default();
        if authority.contains('@') {
            return Err("there is no way to send a password");
        }
        match authority.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                Ok(Self { authority: authority.to_owned() })
            }
            _ => Err("it has no host and port"),
        }
    }

    fn send(&self, request: &Request<Bytes>) -> io::Result<u16> {
        let unknown = || io::Error::other("its name has no address");
        let address = self.authority.to_socket_addrs()?.next().ok_or_else(unknown)?;
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.write_all(&self.head(request))?;
        stream.write_all(request.body())?;
        let mut reply = Vec::new();
        stream.take(REPLY_BYTES_MAX).read_to_end(&mut reply)?;
        status(&reply).ok_or_else(|| io::Error::other("its reply is not HTTP"))
    }

    fn head(&self, request: &Request<Bytes>) -> Vec<u8> {
        let path = request.uri().path();
        let length = request.body().len();
        let mut head = format!(
            "POST {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {length}\r\nconnection: close\r\n",
            self.authority
        )
        .into_bytes();
        for (name, value) in request.headers() {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}

/// The status of a reply.
fn status(reply: &[u8]) -> Option<u16> {
    let line = reply.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("HTTP/1.")?;
    line.split(' ').nth(1)?.parse().ok()
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let status = self.send(&request)?;
        Ok(Response::builder().status(status).body(Bytes::new())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_host_and_a_port_in_plain_http() {
        assert_eq!(Sender::to("http://127.0.0.1:4318/").expect("one").authority, "127.0.0.1:4318");
        assert_eq!(Sender::to("http://[::1]:4318").expect("one").authority, "[::1]:4318");
        for wrong in
            ["", "127.0.0.1:4318", "https://a:1", "http://a", "http://:1", "http://a:x", "http://u:p@a:1"]
        {
            assert!(Sender::to(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_status_of_a_reply_is_read_from_its_first_line() {
        assert_eq!(status(b"HTTP/1.1 200 OK\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 503\r\n\r\n"), Some(503));
        assert_eq!(status(b"SSH-2.0-x\r\n"), None);
        assert_eq!(status(b""), None);
    }
}
