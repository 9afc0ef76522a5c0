//! Output that is kept for a reply.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_api::{CommandRequest, Started, Word};
use agentkernel_core::OutputStream;
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Client, Left};
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};

/// Room that a command gets before it has said anything, bytes. Most say less.
const FIRST_ROOM: u64 = 64 << 10;

/// By how much its room grows at least, bytes.
const MORE_ROOM: u64 = 256 << 10;

/// A client that gets everything at the end.
pub struct Kept {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The most that both may have.
    pub limit: u64,
    /// Room for them, among all replies that are being kept: so much, and how it was got.
    room: u64,
    permits: Vec<OwnedSemaphorePermit>,
    buffers: Arc<Semaphore>,
    /// How long more room may be waited for; the command waits meanwhile.
    wait: Duration,
}

impl Kept {
    /// Makes sure that there is room for the first output of this command.
    pub fn reserve(daemon: &Daemon, request: &CommandRequest) -> Outcome<Self> {
        let most = daemon.limits().output_bytes;
        let limit = request.output_limit.unwrap_or(most);
        if limit > most {
            let why = format!("a reply keeps {most} bytes at most");
            return Err(Failure::usage("command.output_limit", why).hint("use the stream for more"));
        }
        let room = limit.min(FIRST_ROOM);
        let buffers = Arc::clone(&daemon.buffers);
        let permit = buffers.clone().try_acquire_many_owned(kib(room)).map_err(|_| no_room())?;
        let wait = daemon.limits().output_wait;
        Ok(Self { stdout: Vec::new(), stderr: Vec::new(), limit, room, permits: vec![permit], buffers, wait })
    }

    /// Gets room for so many bytes in all.
    async fn grow(&mut self, bytes: u64) -> Outcome<()> {
        let more = bytes.saturating_sub(self.room).max(MORE_ROOM).min(self.limit.saturating_sub(self.room));
        let permit = timeout(self.wait, self.buffers.clone().acquire_many_owned(kib(more))).await;
        let Ok(Ok(permit)) = permit else { return Err(no_room()) };
        self.permits.push(permit);
        self.room += more;
        Ok(())
    }

    /// Both streams.
    pub fn into_words(self) -> (Word, Word) {
        (Word(self.stdout), Word(self.stderr))
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn no_room() -> Failure {
    Failure::busy("keep the command's output", "the output of other commands takes all the room")
        .hint("use the stream, or a smaller output_limit")
}

impl Client for Kept {
    async fn started(&mut self, _started: Started) -> Result<(), Left> {
        Ok(())
    }

    async fn output(&mut self, stream: OutputStream, bytes: Bytes) -> Result<(), Left> {
        let kept = self.stdout.len() as u64 + self.stderr.len() as u64 + bytes.len() as u64;
        if kept > self.room {
            self.grow(kept).await.map_err(Left::Wrong)?;
        }
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
