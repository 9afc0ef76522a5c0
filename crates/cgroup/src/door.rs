//! How a process gets into its group.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;

/// How the first process gets into its control group.
#[derive(Debug)]
pub enum GroupDoor {
    /// There is none.
    None,
    /// Files of v1 into which the process writes itself.
    Tasks(Vec<File>),
    /// The folder of a v2 group, into which the process is cloned.
    Folder(OwnedFd),
}

impl GroupDoor {
    /// A thread that moves itself, by writing 0 to a v1 group's `tasks`, need not wait until no other process on
    /// the host is in the middle of a fork, as one that moves another must (see docs/adr/0005).
    pub fn enter(&mut self) -> io::Result<()> {
        match self {
            Self::Tasks(files) => files.iter_mut().try_for_each(|file| file.write_all(b"0")),
            Self::None | Self::Folder(_) => Ok(()),
        }
    }
}
