//! The only place that spawns programs on the host.
//!
//! Architecture invariant: what is spawned is an absolute path or this very program, never a name to
//! be looked up in PATH or in the working directory; its environment is empty unless something is
//! named; and it is killed and reaped when its handle is dropped.

#![forbid(unsafe_code)]

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program to spawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    path: PathBuf,
    arguments: Vec<String>,
}

impl Program {
    /// The program at an absolute path; refuses a relative one.
    pub fn new(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            let why = format!("'{}' is not an absolute path, so it is not run", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        Ok(Self { path: path.to_owned(), arguments: Vec::new() })
    }

    /// Adds a word.
    #[must_use]
    pub fn argument(mut self, word: &str) -> Self {
        self.arguments.push(word.to_owned());
        self
    }

    /// Spawns it with `stdin` as its standard input and nothing else of ours: no environment, no
    /// output.
    pub fn spawn(&self, stdin: OwnedFd) -> io::Result<Spawned> {
        #[expect(clippy::disallowed_methods, reason = "this is the place that spawns")]
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", self.path.display())))?;
        Ok(Spawned { child })
    }
}

/// A running program.
#[derive(Debug)]
pub struct Spawned {
    child: Child,
}

impl Spawned {
    /// Its PID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> io::Result<()> {
        self.child.wait().map(drop)
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Both fail only if it has ended already and was waited for.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_never_looked_up() {
        assert!(Program::new(Path::new("sh")).is_err());
        assert!(Program::new(Path::new("./sh")).is_err());
    }

    #[test]
    fn dropping_the_handle_ends_the_program() {
        let (reader, writer) = io::pipe().expect("pipe");
        let spawned =
            Program::new(Path::new("/bin/cat")).expect("absolute").spawn(reader.into()).expect("spawn");
        let pid = spawned.pid();
        drop(spawned);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
        drop(writer);
    }
}
