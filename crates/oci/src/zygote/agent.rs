//! The guest agent in a memory file, written while the first sandbox is being made.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use crate::sys;

/// A program of 1.2 MB takes 0.7 ms to write, and nobody needs it before the container around it is there.
pub(crate) struct AgentFile {
    /// No path of it exists inside or outside.
    file: File,
    /// Ends when the file is complete.
    complete: PipeReader,
    /// Held while it is not.
    writing: RefCell<Option<PipeWriter>>,
}

impl AgentFile {
    /// An empty one.
    pub(crate) fn new() -> io::Result<Self> {
        let file = sys::memory_file(c"agentkernel-guest")?.into();
        let (complete, writing) = io::pipe()?;
        Ok(Self { file, complete, writing: RefCell::new(Some(writing)) })
    }

    /// Writes and seals it, once. If that fails, it stays without its seals.
    pub(crate) fn fill(&self) {
        if let Some(writing) = self.writing.take() {
            let filled = (&self.file).write_all(agentkernel_link::GUEST).and_then(|()| sys::seal(&self.file));
            drop((writing, filled));
            sys::forget_data(agentkernel_link::GUEST);
        }
    }

    /// Forgets, in a fork, that its parent may be writing.
    pub(crate) fn is_written_elsewhere(&self) {
        drop(self.writing.take());
    }

    /// Waits for it.
    pub(crate) fn complete(&self) -> io::Result<BorrowedFd<'_>> {
        (&self.complete).read_to_end(&mut Vec::new())?;
        if sys::is_sealed(&self.file)? {
            Ok(self.file.as_fd())
        } else {
            Err(io::Error::other("there is no memory to hold it"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_executes_half_an_agent() {
        let agent = AgentFile::new().expect("made");
        agent.is_written_elsewhere();
        assert!(agent.complete().is_err(), "nothing was written");
        let agent = AgentFile::new().expect("made");
        agent.fill();
        let written = agent.complete().expect("complete");
        let length = rustix::fs::fstat(written).expect("facts").st_size;
        assert_eq!(usize::try_from(length).ok(), Some(agentkernel_link::GUEST.len()));
        assert!((&agent.file).write_all(b"x").is_err(), "sealed");
    }
}
