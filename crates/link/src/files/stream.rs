//! Bytes out of a file worker and into one.

use agentkernel_core::{ByteSink, ByteSource, Error, ErrorKind, ProcessControl, Result};
use async_trait::async_trait;
use bytes::Bytes;

use super::worker::Worker;

/// What a worker writes.
pub(super) struct Source {
    worker: Worker,
    /// Bytes that came while waiting to know whether the file can be read at all.
    first: Option<Bytes>,
}

impl Source {
    /// Waits for the first bytes, so that a file that cannot be read is an error here and not later.
    pub(super) async fn open(mut worker: Worker) -> Result<Self> {
        let first = worker.next().await?;
        Ok(Self { worker, first })
    }
}

#[async_trait]
impl ByteSource for Source {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.worker.next().await,
        }
    }
}

/// What a worker reads.
pub(super) struct Sink {
    worker: Worker,
}

impl Sink {
    pub(super) fn new(worker: Worker) -> Self {
        Self { worker }
    }

    /// Waits for the end of the worker; output it does not have.
    async fn verdict(&mut self) -> Result<()> {
        while self.worker.next().await?.is_some() {}
        Ok(())
    }
}

#[async_trait]
impl ByteSink for Sink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        let written = self.worker.control().write_stdin(bytes).await;
        written.map_err(|error| self.worker.named(error))?;
        if !self.worker.control().has_exited() {
            return Ok(());
        }
        // It cannot have ended well before its input has: say why now, not after gigabytes.
        self.verdict().await?;
        let early = Error::new(ErrorKind::File, "", "its worker ended before all bytes had come");
        Err(self.worker.named(early))
    }

    async fn finish(mut self: Box<Self>) -> Result<()> {
        let closed = self.worker.control().close_stdin().await;
        closed.map_err(|error| self.worker.named(error))?;
        self.verdict().await
    }
}
