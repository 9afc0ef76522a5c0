//! The stdin of one process: sent no faster than the process takes it.

use std::sync::atomic::{AtomicU32, Ordering};

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_protocol::{HEADER_LEN, STDIN_WINDOW, ToGuest};
use bytes::Bytes;
use tokio::sync::{Mutex, Semaphore};

use crate::outbox::Outbox;

/// Largest piece that is sent at once: two of them overlap well within the window.
const PIECE_LEN: usize = 128 * 1024;

/// The host's end of a process's stdin.
pub(crate) struct StdinPipe {
    /// Bytes that may be sent. Closed when there is nobody left who would read them.
    window: Semaphore,
    /// Bytes that were sent and for which no credit has come.
    outstanding: AtomicU32,
    /// Whether more may be sent. Held while writing, so that two writers do not mix and the end comes
    /// after all that was written before.
    open: Mutex<bool>,
}

impl StdinPipe {
    /// Stdin of which so many bytes may be sent at once; without a number, none ever.
    pub(crate) fn new(free: Option<u32>) -> Self {
        let window = free.unwrap_or(STDIN_WINDOW).min(STDIN_WINDOW);
        Self {
            window: Semaphore::new(window as usize),
            outstanding: AtomicU32::new(STDIN_WINDOW - window),
            open: Mutex::new(free.is_some()),
        }
    }

    /// Sends bytes as the window allows; what a process that has ended would not read is thrown away.
    pub(crate) async fn write(&self, mut bytes: Bytes, channel: u32, outbox: &Outbox) -> Result<()> {
        let open = self.open.lock().await;
        while !bytes.is_empty() && !self.window.is_closed() {
            if !*open {
                return Err(Error::new(ErrorKind::Usage, "write to the command's stdin", "it is closed"));
            }
            let piece = bytes.split_to(bytes.len().min(PIECE_LEN));
            // Nothing is counted before both waits are over: a caller that stops waiting takes
            // nothing from the window.
            let len = u32::try_from(piece.len()).unwrap_or(u32::MAX);
            let Ok(allowed) = self.window.acquire_many(len).await else { break };
            let Some(room) = outbox.reserve(HEADER_LEN + piece.len()).await else { break };
            allowed.forget();
            self.outstanding.fetch_add(len, Ordering::Relaxed);
            // A piece is far below the largest frame.
            room.push(channel, &ToGuest::Stdin(piece)).ok();
        }
        Ok(())
    }

    /// Sends the end, once.
    pub(crate) async fn close(&self, channel: u32, outbox: &Outbox) {
        let mut open = self.open.lock().await;
        if !*open || self.window.is_closed() {
            return;
        }
        if let Some(room) = outbox.reserve(HEADER_LEN).await {
            *open = false;
            room.push(channel, &ToGuest::StdinEnd).ok();
        }
    }

    /// The guest says that the process has taken bytes.
    pub(crate) fn credit(&self, bytes: u32) -> Result<(), String> {
        let outstanding = self.outstanding.load(Ordering::Relaxed);
        let Some(left) = outstanding.checked_sub(bytes) else {
            return Err(format!("{bytes} bytes were taken of {outstanding} that were sent"));
        };
        // Only credit takes away, and only the reader gives it: what was added in between is kept.
        self.outstanding.fetch_sub(outstanding - left, Ordering::Relaxed);
        self.window.add_permits(bytes as usize);
        Ok(())
    }

    /// Nobody reads any more.
    pub(crate) fn end(&self) {
        self.window.close();
    }
}
