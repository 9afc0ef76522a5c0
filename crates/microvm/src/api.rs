//! Firecracker's API, and the calls that it takes for its guest: both on sockets in the folder of its machine.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use agentkernel_http::{Content, Method, Server};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::Pid;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::alarm::Alarm;
use crate::plan::firecracker::{API, CALLS, PORT, Request};

/// The longest answer to a call: `OK`, and a number.
const CALL_ANSWER_MAX: usize = 32;

/// How soon one that does not listen yet is called again.
const CALL_AGAIN: Duration = Duration::from_millis(2);

/// How soon one that has yet to begin is looked for again: at first, and then after a part of the time that it has taken, up to
/// [`CALL_AGAIN`]. So that wait adds little to whatever a VMM takes.
const LOOK_AGAIN: Duration = Duration::from_micros(50);
const LOOK_AGAIN_AFTER: u32 = 16;

/// How long an agent that was called again may take to say something before it is called once more: at first, and each time
/// twice as long, up to this. A machine in an emulated host took a second.
const ANSWER_AT_FIRST: Duration = Duration::from_secs(1);
const ANSWER_AT_LAST: Duration = Duration::from_secs(16);

/// The sockets of one machine. Their addresses go by the folder's descriptor, for an address has room for 107 bytes, and a
/// home may be deeper.
#[derive(Debug)]
pub(crate) struct Api {
    server: Server,
    orders: PathBuf,
    calls: PathBuf,
    patience: Duration,
    /// The process that listens, once it does.
    listener: OnceLock<Pid>,
    _folder: OwnedFd,
}

impl Api {
    /// Those in this folder; no answer may take longer than `patience`.
    pub(crate) fn new(folder: &Path, patience: Duration) -> io::Result<Self> {
        let folder = open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let place = |name: &str| PathBuf::from(format!("/proc/self/fd/{}/{name}", folder.as_raw_fd()));
        let (orders, calls) = (place(API), place(CALLS));
        let (server, listener) = (Server::new(&orders), OnceLock::new());
        Ok(Self { server, orders, calls, patience, listener, _folder: folder })
    }

    /// Waits until it listens for orders; says which process does.
    pub(crate) async fn is_there(&self) -> io::Result<Pid> {
        let (alarm, began) = (Alarm::new()?, Instant::now());
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&self.orders).await {
                break stream;
            }
            alarm.after((began.elapsed() / LOOK_AGAIN_AFTER).clamp(LOOK_AGAIN, CALL_AGAIN)).await?;
        };
        let listener = stream.peer_cred()?.pid().and_then(Pid::from_raw);
        let listener = listener.ok_or_else(|| io::Error::other("whoever listens for it is in no sight"))?;
        Ok(*self.listener.get_or_init(|| listener))
    }

    /// Makes a request, and returns what is answered.
    pub(crate) async fn ask(&self, (how, what, body): &Request) -> io::Result<Value> {
        let (method, content) = match *how {
            "PUT" => (Method::PUT, Content::Json(body.clone())),
            "PATCH" => (Method::PATCH, Content::Json(body.clone())),
            _ => (Method::GET, Content::Nothing),
        };
        let failed = |why: &dyn std::fmt::Display| io::Error::other(format!("{how} {what}: {why}"));
        let answer =
            self.server.ask(method, what, content, self.patience).await.map_err(|why| failed(&why))?;
        if answer.status.is_success() { Ok(answer.json()) } else { Err(failed(&answer.message())) }
    }

    /// Calls the guest's agent, again and again until it takes the call. Never ends by itself.
    pub(crate) async fn call(&self) -> UnixStream {
        loop {
            if let Ok(stream) = self.try_call().await {
                return stream;
            }
            tokio::time::sleep(CALL_AGAIN).await;
        }
    }

    /// Calls an agent that has lost its call because its machine was kept, and hears what it has to say first. It is called
    /// again and again: a kernel ends the calls of before only a moment after it goes on, and one that comes too early with
    /// them. Never ends by itself.
    pub(crate) async fn call_back(
        &self,
        hear: impl AsyncFn(&mut UnixStream) -> io::Result<()>,
    ) -> UnixStream {
        let mut patience = ANSWER_AT_FIRST;
        loop {
            let mut stream = self.call().await;
            if let Ok(Ok(())) = timeout(patience, hear(&mut stream)).await {
                return stream;
            }
            patience = (patience * 2).min(ANSWER_AT_LAST);
        }
    }

    /// One that nobody takes is hung up.
    async fn try_call(&self) -> io::Result<UnixStream> {
        let mut stream = UnixStream::connect(&self.calls).await?;
        // One that somebody has taken over may have put a link there, to a socket of the host's.
        if self.listener.get().copied() != stream.peer_cred()?.pid().and_then(Pid::from_raw) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        stream.write_all(format!("CONNECT {PORT}\n").as_bytes()).await?;
        let mut answer = Vec::new();
        while answer.last() != Some(&b'\n') && answer.len() < CALL_ANSWER_MAX {
            answer.push(stream.read_u8().await?);
        }
        if answer.starts_with(b"OK ") { Ok(stream) } else { Err(io::ErrorKind::InvalidData.into()) }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    #[tokio::test]
    async fn whoever_does_not_take_the_call_is_called_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let api = Api::new(folder.path(), Duration::from_secs(5)).expect("opened");
        api.listener.get_or_init(rustix::process::getpid);
        let listener = UnixListener::bind(folder.path().join(CALLS)).expect("listens");
        let guest = async {
            for answer in ["", "nonsense\n", "OK 7\nx"] {
                let (mut caller, _) = listener.accept().await.expect("a call");
                let mut said = [0; 13];
                caller.read_exact(&mut said).await.expect("read");
                assert_eq!(&said, b"CONNECT 1024\n");
                caller.write_all(answer.as_bytes()).await.expect("written");
                if answer.starts_with("OK") {
                    return caller;
                }
            }
            unreachable!("the last one is taken")
        };
        let (mut stream, _caller) = tokio::join!(api.call(), guest);
        assert_eq!(stream.read_u8().await.expect("what follows is left"), b'x');
    }

    #[tokio::test]
    async fn a_socket_that_another_process_listens_on_is_not_called() {
        let folder = tempfile::tempdir().expect("a folder");
        let api = Api::new(folder.path(), Duration::from_secs(5)).expect("opened");
        let listener = UnixListener::bind(folder.path().join(CALLS)).expect("listens");
        api.listener.get_or_init(|| rustix::process::getppid().expect("a parent"));
        let called = api.try_call().await.map(drop).expect_err("another one");
        assert_eq!(called.kind(), io::ErrorKind::PermissionDenied);
        let (mut caller, _) = listener.accept().await.expect("it was called");
        assert_eq!(caller.read(&mut [0; 16]).await.expect("read"), 0, "and was told nothing");
    }
}
