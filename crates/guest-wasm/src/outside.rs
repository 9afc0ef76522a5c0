//! The streams of a command, by calls of the host.

use std::sync::Arc;

use agentkernel_hypercalls::{CHUNK, Device, bytes, digits, host};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// How long the host waits for stdin before it says that there is none yet, milliseconds: timers of the module are looked
/// at in between.
const WAIT_MS: &str = "10";

/// An output stream. Whoever takes its bytes keeps the machine waiting.
#[derive(Clone)]
pub struct Output {
    device: Arc<Device>,
    function: &'static str,
}

impl Output {
    pub fn new(device: &Arc<Device>, function: &'static str) -> Self {
        Self { device: Arc::clone(device), function }
    }
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink()) // only WASI 0.3 asks for it, of which nothing is linked
    }
}

#[async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for piece in bytes.chunks(CHUNK) {
            let written = self.device.call(self.function, &digits(piece));
            written.map_err(|why| StreamError::LastOperationFailed(why.into()))?;
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(()) // what was written is with the host
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(CHUNK)
    }
}

/// Standard input, asked for piece by piece.
#[derive(Clone)]
pub struct Input(Arc<Device>);

impl Input {
    pub fn new(device: &Arc<Device>) -> Self {
        Self(Arc::clone(device))
    }
}

impl IsTerminal for Input {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Input {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Reader { device: Arc::clone(&self.0), pending: Bytes::new(), is_over: false })
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(tokio::io::empty()) // only WASI 0.3 asks for it
    }
}

/// One handle of it.
struct Reader {
    device: Arc<Device>,
    pending: Bytes,
    is_over: bool,
}

impl Reader {
    /// Asks for more.
    fn fill(&mut self) {
        match self.device.call(host::STDIN, WAIT_MS).ok().filter(|answer| answer != host::END.as_bytes()) {
            Some(answer) => self.pending = bytes(&answer).unwrap_or_default().into(),
            None => self.is_over = true,
        }
    }
}

#[async_trait]
impl Pollable for Reader {
    async fn ready(&mut self) {
        while self.pending.is_empty() && !self.is_over {
            self.fill();
            tokio::task::yield_now().await;
        }
    }
}

impl InputStream for Reader {
    fn read(&mut self, most: usize) -> StreamResult<Bytes> {
        if self.pending.is_empty() && self.is_over {
            return Err(StreamError::Closed);
        }
        Ok(self.pending.split_to(most.min(self.pending.len())))
    }
}
