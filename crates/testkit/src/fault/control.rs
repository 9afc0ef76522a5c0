//! A command's control that lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentkernel_core::{Error, ErrorKind, ProcessControl, Result, SignalTarget, TerminalSize};
use async_trait::async_trait;
use bytes::Bytes;

use super::Fault;

pub struct FaultyControl {
    pub inner: Option<Arc<dyn ProcessControl>>,
    pub fault: Fault,
    /// Whether the command's end has been told.
    pub exited: Arc<AtomicBool>,
}

impl FaultyControl {
    fn has_exited(&self) -> bool {
        self.exited.load(Ordering::Relaxed)
    }

    fn inner(&self) -> Result<&dyn ProcessControl> {
        let late = || Error::new(ErrorKind::Internal, "talk to the command", "it has ended");
        if self.fault == Fault::LateWordsFail && self.has_exited() {
            return Err(late());
        }
        self.inner.as_deref().ok_or_else(late)
    }
}

#[async_trait]
impl ProcessControl for FaultyControl {
    async fn write_stdin(&self, bytes: Bytes) -> Result<()> {
        let bytes = match self.fault {
            Fault::TypingIsLost => return Ok(()),
            Fault::ControlIsLost => bytes.into_iter().filter(|byte| *byte >= b' ').collect(),
            _ => bytes,
        };
        self.inner()?.write_stdin(bytes).await?;
        if self.fault == Fault::WritingNeverEnds && self.has_exited() {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        if self.fault == Fault::CloseIsLost { Ok(()) } else { self.inner()?.close_stdin().await }
    }

    async fn signal(&self, number: u8, target: SignalTarget) -> Result<()> {
        match (self.fault, number, target) {
            (Fault::SignalsAreLost, ..) | (Fault::KillIsLost, 9, _) => Ok(()),
            (Fault::GroupSignalsReachOne, ..) => self.inner()?.signal(number, SignalTarget::Process).await,
            _ => self.inner()?.signal(number, target).await,
        }
    }

    async fn resize(&self, size: TerminalSize) -> Result<()> {
        if self.fault == Fault::ResizeIsLost { Ok(()) } else { self.inner()?.resize(size).await }
    }
}
