//! One socket of the host, served inside: the guest agent accepts, and each connection is passed on from here.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{
    Error, ErrorKind, HostSocket, OutputStream, Process, ProcessControl, ProcessEvent, Result,
};
use agentkernel_protocol::{Accept, OUTPUT_WINDOW, Passing, Refused, Start, Task, decode_record};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use crate::link::Link;
use crate::process::{KILL, LinkedProcess};
use crate::text::errno_text;

const SERVE: &str = "serve the socket of the host";

/// Most connections at once. Each is a process in the sandbox; more wait in the sandbox's kernel.
const CONNECTIONS_MAX: usize = 32;

/// How long to wait before the guest is asked again after it could not make a worker: its limit of processes is the
/// tenant's to use up.
const RETRY: Duration = Duration::from_millis(200);

/// How long a client may take to go when the host's side has gone.
const PARTING: Duration = Duration::from_secs(1);

/// Bytes that are read from the host's socket at once.
const CHUNK_LEN: usize = 64 * 1024;

/// Makes the socket in the sandbox, and serves it until the link is closed.
pub(crate) async fn open(link: &Link, socket: &HostSocket) -> Result<()> {
    let first = match accept(link, socket).await? {
        Ok(worker) => worker,
        Err(refused) => {
            let why = format!("the guest agent cannot listen: {}", errno_text(refused.errno));
            return Err(Error::new(ErrorKind::Boot, SERVE, why).on(socket));
        }
    };
    tokio::spawn(serve(link.clone(), socket.clone(), first));
    Ok(())
}

async fn accept(link: &Link, socket: &HostSocket) -> Result<std::result::Result<LinkedProcess, Refused>> {
    let task = Task::Accept(Accept { path: socket.place().into_bytes() });
    let start = Start { task, user: None, timeout_ms: None, output_window: OUTPUT_WINDOW };
    link.start(start, SERVE, KILL).await
}

async fn serve(link: Link, socket: HostSocket, first: LinkedProcess) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut next = Some(first);
    while let Ok(permit) = room.clone().acquire_owned().await {
        let worker = match next.take() {
            Some(worker) => worker,
            None => match accept(&link, &socket).await {
                Ok(Ok(worker)) => worker,
                Ok(Err(_)) => {
                    sleep(RETRY).await;
                    continue;
                }
                Err(_) => return, // the link is closed
            },
        };
        let mut connection = Connection::new(worker);
        match connection.accepted().await {
            Ok(()) => {}
            Err(_) if link.closed_now().is_some() => return,
            Err(_) => {
                // Somebody in the sandbox has killed it, or the client was gone at once.
                sleep(RETRY).await;
                continue;
            }
        }
        let path = socket.path().to_owned();
        tokio::spawn(async move {
            // A connection that fails is closed on both sides, which is all that can be said to its ends.
            connection.pass(&path).await.ok();
            drop(permit);
        });
    }
}

/// One client in the sandbox.
struct Connection {
    worker: LinkedProcess,
    /// Bytes of records that have not come whole.
    records: BytesMut,
    /// The first bytes, if they came before the record that tells of their client: each has a way of its own.
    first: Option<Bytes>,
}

/// What comes from the sandbox.
enum FromClient {
    Bytes(Bytes),
    Passing(Passing),
    /// Both directions have ended.
    Over,
}

impl Connection {
    fn new(worker: LinkedProcess) -> Self {
        Self { worker, records: BytesMut::new(), first: None }
    }

    async fn accepted(&mut self) -> io::Result<()> {
        match self.next().await? {
            FromClient::Passing(_) => Ok(()),
            FromClient::Bytes(bytes) => {
                self.first = Some(bytes);
                Ok(())
            }
            FromClient::Over => Err(io::Error::other("its worker did not accept")),
        }
    }

    async fn next(&mut self) -> io::Result<FromClient> {
        if let Some(bytes) = self.first.take() {
            return Ok(FromClient::Bytes(bytes));
        }
        loop {
            if let Some(passing) = decode_record(&mut self.records).map_err(io::Error::other)? {
                return Ok(FromClient::Passing(passing));
            }
            match self.worker.next().await.map_err(io::Error::other)? {
                ProcessEvent::Output(OutputStream::Stdout, bytes) => return Ok(FromClient::Bytes(bytes)),
                ProcessEvent::Output(OutputStream::Stderr, bytes) => self.records.extend_from_slice(&bytes),
                ProcessEvent::Exited(_) => return Ok(FromClient::Over),
            }
        }
    }

    /// Passes bytes and their ends in both directions, until both have ended.
    async fn pass(&mut self, path: &Path) -> io::Result<()> {
        let (read, write) = UnixStream::connect(path).await?.into_split();
        let control = self.worker.control();
        let answer = answer(read, &*control);
        tokio::pin!(answer);
        let mut is_answered = false;
        let asked = {
            let ask = self.ask(write);
            tokio::pin!(ask);
            loop {
                tokio::select! {
                    asked = &mut ask => break asked,
                    answered = &mut answer, if !is_answered => answered?,
                }
                is_answered = true;
            }
        };
        if asked.is_err() {
            // The host's side does not listen any more. What it has said already is still for the client.
            if !is_answered {
                answer.await.ok();
            }
            timeout(PARTING, async { while !matches!(self.next().await, Ok(FromClient::Over) | Err(_)) {} })
                .await
                .ok();
        }
        asked
    }

    /// Passes on what the client says, and its end, and waits for the end of the other direction.
    async fn ask(&mut self, write: OwnedWriteHalf) -> io::Result<()> {
        let mut write = Some(write);
        let (mut passed, mut said) = (0, u64::MAX);
        loop {
            match self.next().await? {
                FromClient::Over => return Ok(()),
                FromClient::Passing(Passing::Said(bytes)) => said = bytes,
                FromClient::Passing(Passing::Accepted) => {}
                FromClient::Bytes(bytes) => {
                    passed += bytes.len() as u64;
                    if let Some(write) = &mut write {
                        write.write_all(&bytes).await?;
                    }
                }
            }
            // The end is where the bytes and their number, which come by ways of their own, say so.
            if passed >= said {
                write = None; // dropping this half is the end for whoever reads it
            }
        }
    }
}

/// Passes on what the host's side says, and its end.
async fn answer(mut read: OwnedReadHalf, control: &dyn ProcessControl) -> io::Result<()> {
    let mut chunk = BytesMut::new();
    loop {
        chunk.reserve(CHUNK_LEN);
        // A host's side that is gone has said all that it will.
        if read.read_buf(&mut chunk).await.unwrap_or(0) == 0 {
            return control.close_stdin().await.map_err(io::Error::other);
        }
        control.write_stdin(chunk.split().freeze()).await.map_err(io::Error::other)?;
    }
}
