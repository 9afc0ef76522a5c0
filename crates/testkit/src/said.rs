//! All that a command said, once it has ended.

use agentkernel_core::{Exited, OutputStream, Process, ProcessEvent, Result};

/// All that a command said, and how it ended.
#[derive(Debug)]
pub struct Said {
    /// What came on stdout.
    pub stdout: Vec<u8>,
    /// What came on stderr.
    pub stderr: Vec<u8>,
    /// The end.
    pub exited: Exited,
}

impl Said {
    /// Stdout as text, without the line end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }
}

/// Listens to a command until it has ended, and keeps all that it says: for commands that say little.
pub async fn listen(mut process: Box<dyn Process>) -> Result<Said> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match process.next().await? {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => stdout.extend_from_slice(&bytes),
            ProcessEvent::Output(OutputStream::Stderr, bytes) => stderr.extend_from_slice(&bytes),
            ProcessEvent::Exited(exited) => return Ok(Said { stdout, stderr, exited }),
        }
    }
}
