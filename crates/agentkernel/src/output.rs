//! The command's output on its way to our stdout and stderr.

use std::io::{self, Write};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

use agentkernel_core::{Error, ErrorKind, OutputStream};
use agentkernel_runtime::RunOutput;
use async_trait::async_trait;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use serde::Serialize;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::errors::Failure;

/// Chunks that may wait for a slow reader. More would only delay the moment when the command waits, too.
const CHUNKS_WAITING: usize = 4;

/// Prints a subcommand's own result.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let printed = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    printed.map_err(|why| Failure::of_write("stdout", &why))
}

/// Prints a subcommand's own result as JSON, on one line.
pub fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string(value);
    let json = json.map_err(|why| Error::new(ErrorKind::Internal, "write the result as JSON", why))?;
    print(&format!("{json}\n"))
}

/// Writes the command's output where ours goes, at once and unbuffered. A thread does it, so that a
/// reader that does not read stops the command but neither deadlines nor Ctrl-C.
pub struct HostOutput {
    ready: Arc<Notify>,
    writer: Option<Writer>,
}

struct Writer {
    chunks: mpsc::Sender<(OutputStream, Bytes)>,
    outcome: oneshot::Receiver<io::Result<()>>,
}

impl HostOutput {
    /// Notifies `ready` when the command is about to start.
    pub fn new(ready: Arc<Notify>) -> Self {
        Self { ready, writer: None }
    }
}

impl Writer {
    fn start() -> io::Result<Self> {
        let (chunks, mut receiver) = mpsc::channel::<(OutputStream, Bytes)>(CHUNKS_WAITING);
        let (sender, outcome) = oneshot::channel();
        std::thread::Builder::new().name("output".into()).spawn(move || {
            let mut written = Ok(());
            while written.is_ok()
                && let Some((stream, bytes)) = receiver.blocking_recv()
            {
                written = write_all(stream, &bytes);
            }
            // Before the outcome: whoever cannot send any more comes for it.
            drop(receiver);
            drop(sender.send(written));
        })?;
        Ok(Self { chunks, outcome })
    }

    async fn finish(self) -> io::Result<()> {
        let Self { chunks, outcome } = self;
        drop(chunks);
        outcome.await.unwrap_or_else(|_| Err(died()))
    }
}

fn died() -> io::Error {
    io::Error::other("the writing thread died")
}

#[async_trait]
impl RunOutput for HostOutput {
    fn ready(&mut self) {
        self.ready.notify_one();
    }

    async fn write(&mut self, stream: OutputStream, bytes: Bytes) -> io::Result<()> {
        let writer = match self.writer.take() {
            Some(writer) => writer,
            None => Writer::start()?,
        };
        if writer.chunks.send((stream, bytes)).await.is_err() {
            return writer.finish().await;
        }
        self.writer = Some(writer);
        Ok(())
    }

    async fn failed(&mut self) -> io::Error {
        match &mut self.writer {
            // While it can be sent to, the thread ends for no other reason.
            Some(writer) => match (&mut writer.outcome).await {
                Ok(Err(why)) => why,
                Ok(Ok(())) | Err(_) => died(),
            },
            None => std::future::pending().await,
        }
    }

    async fn finish(&mut self) -> io::Result<()> {
        match self.writer.take() {
            Some(writer) => writer.finish().await,
            None => Ok(()),
        }
    }
}

fn write_all(stream: OutputStream, mut bytes: &[u8]) -> io::Result<()> {
    let (stdout, stderr) = (io::stdout(), io::stderr());
    let target = match stream {
        OutputStream::Stdout => stdout.as_fd(),
        OutputStream::Stderr => stderr.as_fd(),
    };
    while !bytes.is_empty() {
        match rustix::io::write(target, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => wait_until_writable(target)?,
            Err(why) => return Err(named(stream, &why.into())),
        }
    }
    Ok(())
}

/// The error with the name of the stream.
fn named(stream: OutputStream, why: &io::Error) -> io::Error {
    let name = match stream {
        OutputStream::Stdout => "stdout",
        OutputStream::Stderr => "stderr",
    };
    io::Error::new(why.kind(), format!("{name}: {why}"))
}

/// Somebody else made the stream non-blocking.
fn wait_until_writable(target: BorrowedFd<'_>) -> io::Result<()> {
    poll(&mut [PollFd::from_borrowed_fd(target, PollFlags::OUT)], None)?;
    Ok(())
}

/// Our own output as it comes, for subcommands that print for as long as somebody reads.
pub struct Plain(HostOutput);

impl Default for Plain {
    fn default() -> Self {
        Self(HostOutput::new(Arc::default()))
    }
}

impl Plain {
    /// Waits for what comes next, or finds out that nobody reads any more.
    pub async fn or_gone<T, E: Into<Failure>>(
        &mut self,
        next: impl Future<Output = Result<T, E>>,
    ) -> Result<T, Failure> {
        tokio::select! {
            next = next => next.map_err(Into::into),
            why = self.0.failed() => Err(Failure::of_write("stdout", &why)),
        }
    }

    /// Writes it to stdout; waits for a slow reader.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), Failure> {
        let written = self.0.write(OutputStream::Stdout, bytes).await;
        written.map_err(|why| Failure::of_write("stdout", &why))
    }

    /// Waits until everything has been written.
    pub async fn finish(mut self) -> Result<(), Failure> {
        self.0.finish().await.map_err(|why| Failure::of_write("stdout", &why))
    }
}

/// Keeps the command's output, for a report that holds it.
#[derive(Default)]
pub struct KeptOutput {
    /// Notified when the command is about to start.
    pub ready: Arc<Notify>,
    /// Its stdout.
    pub stdout: Vec<u8>,
    /// Its stderr.
    pub stderr: Vec<u8>,
}

#[async_trait]
impl RunOutput for KeptOutput {
    fn ready(&mut self) {
        self.ready.notify_one();
    }

    async fn write(&mut self, stream: OutputStream, bytes: Bytes) -> io::Result<()> {
        match stream {
            OutputStream::Stdout => self.stdout.extend_from_slice(&bytes),
            OutputStream::Stderr => self.stderr.extend_from_slice(&bytes),
        }
        Ok(())
    }

    async fn finish(&mut self) -> io::Result<()> {
        Ok(())
    }
}
