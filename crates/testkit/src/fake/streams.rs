//! Our ends of a command's stdin, stdout and stderr.

use std::io;
use std::os::fd::OwnedFd;

use bytes::{Buf as _, Bytes};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ioctl_fionread, read, write};
use tokio::io::unix::AsyncFd;

/// How much is read at once.
const CHUNK_LEN: usize = 64 << 10;

/// How much of an ended command's terminal is still read: more than a terminal can hold.
const TERMINAL_REST_MAX: usize = 1 << 20;

/// Reads a pipe or a terminal.
#[derive(Debug)]
pub struct Output {
    /// `None` after its end.
    file: Option<AsyncFd<OwnedFd>>,
    /// What may still be read of an ended command: what others write meanwhile is not its output.
    rest: usize,
}

impl Output {
    pub fn new(file: OwnedFd) -> io::Result<Self> {
        Ok(Self { file: Some(non_blocking(file)?), rest: 0 })
    }

    /// An output that was at its end from the beginning.
    pub fn none() -> Self {
        Self { file: None, rest: 0 }
    }

    /// The file, which this runtime does not watch any more.
    pub fn take_file(&mut self) -> Option<OwnedFd> {
        self.file.take().map(AsyncFd::into_inner)
    }

    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// The next bytes; `None` at the end. Losing this future loses no bytes.
    pub async fn next(&mut self) -> Option<Bytes> {
        let file = self.file.as_ref()?;
        loop {
            let Ok(mut ready) = file.readable().await else { break };
            match ready.try_io(|file| read_some(file, CHUNK_LEN)) {
                Ok(Ok(bytes)) if !bytes.is_empty() => return Some(bytes),
                Ok(_) => break,
                Err(_would_block) => {}
            }
        }
        self.file = None;
        None
    }

    /// Notes how much of the command's own output is waiting.
    pub fn command_has_ended(&mut self) {
        let waiting = self.file.as_ref().map(|file| ioctl_fionread(file).ok());
        let waiting = waiting.map(|length| length.and_then(|length| usize::try_from(length).ok()));
        self.rest = waiting.map_or(0, Option::unwrap_or_default);
    }

    /// The same for a terminal, whose kernel tells less.
    pub fn terminal_has_ended(&mut self) {
        self.rest = TERMINAL_REST_MAX;
    }

    /// The next of the bytes that were waiting when the command ended.
    pub fn next_of_rest(&mut self) -> Option<Bytes> {
        let length = self.rest.min(CHUNK_LEN);
        let bytes = self.file.as_ref().filter(|_| length > 0).map(|file| read_some(file, length))?.ok()?;
        self.rest -= bytes.len();
        Some(bytes).filter(|bytes| !bytes.is_empty())
    }
}

fn read_some(file: &AsyncFd<OwnedFd>, length: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; length];
    let length = match read(file, &mut buffer) {
        Err(Errno::IO) => 0, // how a terminal says that nobody has it open any more
        other => other?,
    };
    buffer.truncate(length);
    Ok(buffer.into())
}

/// Writes all bytes to a pipe or a terminal; an error once nobody reads it.
pub async fn write_all(file: &AsyncFd<OwnedFd>, mut bytes: Bytes) -> io::Result<()> {
    while !bytes.is_empty() {
        let mut ready = file.writable().await?;
        match ready.try_io(|file| Ok(write(file, &bytes)?)) {
            Ok(written) => bytes.advance(written?),
            Err(_would_block) => {}
        }
    }
    Ok(())
}

/// Registers our end with the runtime.
pub fn non_blocking(file: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    fcntl_setfl(&file, fcntl_getfl(&file)? | OFlags::NONBLOCK)?;
    // SAFETY: an OwnedFd keeps its descriptor open, and the same, until it is dropped.
    Ok(unsafe { AsyncFd::register(file) }?)
}
