//! The three streams of a command, from the module's side.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use agentkernel_core::{OutputStream as Which, ProcessEvent};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::sync::mpsc::{self, OwnedPermit};
use wasmtime_wasi::cli::{AsyncStdinStream, IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// Most bytes that are taken at once.
const CHUNK_MAX: usize = 64 << 10;

/// An output stream whose bytes become events. While nobody takes them, the module waits.
pub(crate) struct Output {
    which: Which,
    events: mpsc::Sender<ProcessEvent>,
}

impl Output {
    pub(crate) fn new(which: Which, events: &mpsc::Sender<ProcessEvent>) -> Self {
        Self { which, events: events.clone() }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Writer { which: self.which, events: self.events.clone(), permit: None })
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(NotOfferedYet)
    }
}

/// Only WASI 0.3 asks for such a stream, of which nothing is linked.
struct NotOfferedYet;

impl AsyncWrite for NotOfferedYet {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// One handle of an output stream.
struct Writer {
    which: Which,
    events: mpsc::Sender<ProcessEvent>,
    /// The right to say something now.
    permit: Option<OwnedPermit<ProcessEvent>>,
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        if self.permit.is_none() {
            self.permit = self.events.clone().reserve_owned().await.ok();
        }
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let permit = self.permit.take().ok_or_else(|| StreamError::trap("it wrote more than it may"))?;
        permit.send(ProcessEvent::Output(self.which, bytes));
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(()) // what was written is on its way
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        if self.permit.is_none() {
            self.permit = match self.events.clone().try_reserve_owned() {
                Ok(permit) => Some(permit),
                Err(mpsc::error::TrySendError::Full(_)) => return Ok(0),
                Err(mpsc::error::TrySendError::Closed(_)) => return Err(StreamError::Closed),
            };
        }
        Ok(CHUNK_MAX)
    }
}

/// Standard input: what is written into the other end of the pipe, or nothing.
pub(crate) struct Input(AsyncStdinStream);

impl Input {
    pub(crate) fn of(pipe: DuplexStream) -> Self {
        Self(AsyncStdinStream::new(pipe))
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        self.0.p2_stream()
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        self.0.async_stream()
    }
}
