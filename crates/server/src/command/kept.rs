//! Output that is kept for a reply.

use std::sync::Arc;

use agentkernel_api::{CommandRequest, Started, Word};
use agentkernel_core::OutputStream;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::{Client, Left};
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};

/// A client that gets everything at the end.
pub struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The most that both may have.
    pub limit: u64,
    /// Room for them, among all replies that are being kept.
    _room: OwnedSemaphorePermit,
}

impl Kept {
    /// Makes sure that there is room for the output of this command.
    pub fn reserve(daemon: &Daemon, request: &CommandRequest) -> Outcome<Self> {
        let most = daemon.limits().output_bytes;
        let limit = request.output_limit.unwrap_or(most);
        if limit > most {
            let why = format!("a reply keeps {most} bytes at most");
            return Err(Failure::usage("command.output_limit", why).hint("use the stream for more"));
        }
        let kib = u32::try_from(limit.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&daemon.buffers).try_acquire_many_owned(kib).map_err(|_| {
            Failure::busy("keep the command's output", "the output of other commands takes all the room")
                .hint("use the stream, or a smaller output_limit")
        })?;
        Ok(Self { stdout: Vec::new(), stderr: Vec::new(), limit, _room: room })
    }

    /// Both streams.
    pub fn into_words(self) -> (Word, Word) {
        (Word(self.stdout), Word(self.stderr))
    }
}

impl Client for Kept {
    async fn started(&mut self, _started: Started) -> Result<(), Left> {
        Ok(())
    }

    async fn output(&mut self, stream: OutputStream, bytes: Bytes) -> Result<(), Left> {
        match stream {
            OutputStream::Stdout => self.stdout.extend_from_slice(&bytes),
            OutputStream::Stderr => self.stderr.extend_from_slice(&bytes),
        }
        Ok(())
    }

    async fn tick(&mut self) -> Result<(), Left> {
        Ok(())
    }
}
