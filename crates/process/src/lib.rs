//! The only place that spawns programs on the host.
//!
//! Architecture invariant: what is spawned is an absolute path or this very program, never a name to
//! be looked up in PATH or in the working directory; its environment is empty unless something is
//! named; and it is killed and reaped when its handle is dropped, unless it was spawned to stay.

#![forbid(unsafe_code)]

mod finish;
#[cfg(target_os = "linux")]
mod own_id;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

pub use finish::Finished;
#[cfg(target_os = "linux")]
pub use own_id::OwnId;

/// The first of these folders' programs of this name: a file that may be executed. Relative folders are passed over.
#[must_use]
pub fn locate(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let is_program = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
    };
    let absolute = folders.iter().filter(|folder| folder.is_absolute());
    absolute.map(|folder| folder.join(name)).find(is_program)
}

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

impl Program {
    /// Spawns it to outlive us, with these variables and no others, no input, and its output in `log`. It makes a
    /// session of its own itself: until it does, a signal to our process group reaches it, too.
    pub fn spawn_to_stay(&self, variables: &[(&str, OsString)], log: &File) -> io::Result<Staying> {
        #[expect(clippy::disallowed_methods, reason = "this is the place that spawns")]
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?)
            .spawn()
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", self.path.display())))?;
        Ok(Staying { child })
    }
}

impl Program {
    /// Runs it to its end without input, and gives what it prints on both streams, of which it may not print much. A
    /// program that fails, or takes longer than this, is an error and is gone.
    pub fn output(&self, deadline: Duration) -> io::Result<String> {
        self.output_with(&[], deadline)
    }

    /// The same, with these variables and no others.
    pub fn output_with(&self, variables: &[(String, OsString)], deadline: Duration) -> io::Result<String> {
        let (mut output, theirs) = io::pipe()?;
        #[expect(clippy::disallowed_methods, reason = "this is the place that spawns")]
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(theirs.try_clone()?)
            .stderr(theirs)
            .spawn()
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", self.path.display())))?;
        let mut spawned = Spawned { child };
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let read = (&mut output).take(OUTPUT_MAX).read_to_end(&mut text);
            // Nobody listens any more once the deadline has passed.
            drop(said.send(read.map(|_| String::from_utf8_lossy(&text).into_owned())));
        });
        let text = heard.recv_timeout(deadline).map_err(|_| io::ErrorKind::TimedOut)??;
        let status = spawned.child.wait()?;
        if status.success() { Ok(text) } else { Err(io::Error::other(format!("{status}: {}", text.trim()))) }
    }
}

impl Program {
    /// Spawns it with its three streams in the caller's hands, these variables and no others.
    pub fn spawn_attended(&self, variables: &[(&str, &str)]) -> io::Result<Attended> {
        #[expect(clippy::disallowed_methods, reason = "this is the place that spawns")]
        let mut child = Command::new(&self.path)
            .args(&self.arguments)
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for us to hear, and to end it in its order.
            .process_group(0)
            .spawn()
            .map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", self.path.display())))?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let spawned = Spawned { child };
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else {
            return Err(io::Error::other(format!("{}: it has no streams", self.path.display())));
        };
        Ok(Attended { stdin: Some(stdin), stdout: Some(stdout), stderr: Some(stderr), spawned })
    }
}

/// A running program whose streams are ours. Each can be taken out once; one that is not is closed when this is dropped,
/// which also ends the program.
#[derive(Debug)]
pub struct Attended {
    /// What it reads from.
    pub stdin: Option<ChildStdin>,
    /// What it says.
    pub stdout: Option<ChildStdout>,
    /// What it complains of.
    pub stderr: Option<ChildStderr>,
    spawned: Spawned,
}

impl Attended {
    /// Its PID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.spawned.pid()
    }

    /// Waits until it ends by itself. Who needs a deadline waits for its PID first.
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        self.spawned.child.wait()
    }

    /// How it has ended, if it has.
    pub fn has_ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.spawned.child.try_wait()
    }

    /// Ends it now.
    pub fn kill(&mut self) -> io::Result<()> {
        self.spawned.child.kill()
    }
}

/// Most that is taken of a program's output, bytes: a list of flags has some ten thousand.
const OUTPUT_MAX: u64 = 1 << 20;

/// A program that runs on when this is dropped.
#[derive(Debug)]
pub struct Staying {
    child: Child,
}

impl Staying {
    /// Its PID.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended all the same.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        self.child.try_wait().map(|status| status.is_some())
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
mod tests;
