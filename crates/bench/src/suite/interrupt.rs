//! That somebody wants the run to end.

use std::io::{self, PipeReader, PipeWriter};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;

/// Heard by all who wait for a program.
#[derive(Debug)]
pub struct Interrupt {
    heard: PipeReader,
}

/// What came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The process has ended.
    Ended,
    /// The run is to end.
    Interrupted,
    /// Neither in time.
    Deadline,
}

impl Interrupt {
    /// Also the other end: dropping it interrupts.
    ///
    /// # Errors
    /// There are no descriptors left.
    pub fn new() -> io::Result<(Self, PipeWriter)> {
        let (heard, say) = io::pipe()?;
        Ok((Self { heard }, say))
    }

    /// Waits for the process, the interruption or the deadline.
    pub fn wait(&self, process: Option<&OwnedFd>, deadline: Duration) -> io::Result<First> {
        let until = Instant::now() + deadline;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).map_err(io::Error::other)?;
            let mut awaited = vec![PollFd::new(&self.heard, PollFlags::IN)];
            awaited.extend(process.map(|process| PollFd::new(process, PollFlags::IN)));
            match poll(&mut awaited, Some(&left)) {
                Ok(0) => return Ok(First::Deadline),
                Ok(_) if !awaited[0].revents().is_empty() => return Ok(First::Interrupted),
                Ok(_) => return Ok(First::Ended),
                Err(rustix::io::Errno::INTR) => {}
                Err(why) => return Err(why.into()),
            }
        }
    }
}
