//! A running command of the fake, behind the door.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use agentkernel_core::{
    Command, Error, ErrorKind, Exited, OutputStream, Process, ProcessControl, ProcessEvent, Result,
    SignalTarget, Stdin, TerminalSize,
};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::io::fcntl_dupfd_cloexec;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::unix::AsyncFd;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;

use super::house::House;
use super::keeper::Child;
use super::streams::{Output, non_blocking, write_all};
use super::terminal;
use super::tree::Tree;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What a terminal takes for the end of input.
const END_OF_TRANSMISSION: &[u8] = &[4];

/// Our ends of what a command reads and writes.
#[derive(Debug)]
pub struct Wiring {
    stdin: Option<OwnedFd>,
    /// `None` of what had come to its end before.
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    /// The terminal, if it has one.
    terminal: Option<OwnedFd>,
}

/// Starts a command in the workspace, without blocking the runtime.
pub async fn start(command: Command, workspace: PathBuf, memory_max: Option<u64>) -> Result<(Tree, Wiring)> {
    let started = spawn_blocking(move || start_blocking(&command, &workspace, memory_max));
    started.await.map_err(|error| Error::new(ErrorKind::Internal, "run the command", error))?
}

fn start_blocking(command: &Command, workspace: &Path, memory_max: Option<u64>) -> Result<(Tree, Wiring)> {
    let refused =
        |kind, why: &dyn std::fmt::Display| Error::new(kind, "run the command", why).on(command.program());
    let folder = rooted(workspace, command.cwd.as_deref());
    if !folder.is_dir() {
        let why = format!("no folder {}", folder.display());
        return Err(refused(ErrorKind::CommandRefused, &why));
    }
    let mut host = host_command(command, workspace)?;
    host.current_dir(folder);
    let wiring = connect(command, &mut host).map_err(|error| refused(ErrorKind::CommandRefused, &error))?;
    let child = Child { terminal: wiring.terminal.is_some(), user: command.user, memory_max };
    let tree = Tree::start(host, child, command.timeout);
    Ok((tree.map_err(|error| refused(kind_of(&error), &error))?, wiring))
}

/// Paths of the sandbox lie in the folder that holds the workspace.
fn rooted(workspace: &Path, path: Option<&[u8]>) -> PathBuf {
    let root = workspace.parent().unwrap_or(workspace);
    match path.map(|path| Path::new(OsStr::from_bytes(path))) {
        Some(path) => root.join(path.strip_prefix("/").unwrap_or(path)),
        None => workspace.to_owned(),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the fake's sandbox is the host: its commands are host programs"
)]
fn host_command(command: &Command, workspace: &Path) -> Result<std::process::Command> {
    let text = OsStr::from_bytes;
    let nothing = || Error::new(ErrorKind::Usage, "run the command", "no program is named");
    let (program, arguments) = command.argv.split_first().ok_or_else(nothing)?;
    let mut host = std::process::Command::new(text(program));
    host.args(arguments.iter().map(|word| text(word)))
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", workspace)
        .env("TERM", "xterm")
        .envs(command.env.iter().map(|(name, value)| (text(name), text(value))));
    Ok(host)
}

fn kind_of(error: &io::Error) -> ErrorKind {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ENOTDIR) => ErrorKind::CommandNotFound,
        Some(libc::EACCES | libc::ENOEXEC | libc::EISDIR) => ErrorKind::CommandNotExecutable,
        _ => ErrorKind::CommandRefused,
    }
}

/// Gives the command its ends of pipes or of a terminal, and us the others.
fn connect(command: &Command, host: &mut std::process::Command) -> io::Result<Wiring> {
    if let Some(size) = command.terminal {
        let (master, slave) = terminal::open(size)?;
        host.stdin(slave.try_clone()?).stdout(slave.try_clone()?).stderr(slave);
        let stdin = (command.stdin == Stdin::Pipe).then(|| fcntl_dupfd_cloexec(&master, 3)).transpose()?;
        let terminal = Some(fcntl_dupfd_cloexec(&master, 3)?);
        return Ok(Wiring { stdin, stdout: Some(master), stderr: None, terminal });
    }
    let pipe = || pipe_with(PipeFlags::CLOEXEC);
    let ((stdout, their_stdout), (stderr, their_stderr)) = (pipe()?, pipe()?);
    host.stdin(Stdio::null()).stdout(their_stdout).stderr(their_stderr);
    let mut stdin = None;
    if command.stdin == Stdin::Pipe {
        let (their_stdin, ours) = pipe()?;
        host.stdin(their_stdin);
        stdin = Some(ours);
    }
    Ok(Wiring { stdin, stdout: Some(stdout), stderr: Some(stderr), terminal: None })
}

/// How far a command is.
enum Phase {
    Running,
    /// It has ended; the last of its output is still to be told.
    Ended(Exited),
    /// All has been told.
    Told,
}

pub struct FakeProcess {
    house: Arc<House>,
    tree: Arc<Tree>,
    stdout: Output,
    stderr: Output,
    control: Arc<FakeControl>,
    phase: Phase,
}

/// A command whose holder is gone.
#[derive(Debug)]
pub struct Left {
    house: Arc<House>,
    tree: Arc<Tree>,
    wiring: Wiring,
}

impl Left {
    /// Somebody holds it again.
    pub fn take_back(self) -> Result<FakeProcess> {
        FakeProcess::new(self.house, self.tree, self.wiring)
    }
}

impl FakeProcess {
    pub fn new(house: Arc<House>, tree: Arc<Tree>, wiring: Wiring) -> Result<Self> {
        let failed = |error: io::Error| Error::new(ErrorKind::Internal, "watch the command's output", error);
        let stdin = wiring.stdin.map(non_blocking).transpose().map_err(failed)?;
        let control = FakeControl { tree: tree.clone(), stdin: Mutex::new(stdin), terminal: wiring.terminal };
        let output = |file: Option<OwnedFd>| file.map_or(Ok(Output::none()), Output::new).map_err(failed);
        let (stdout, stderr) = (output(wiring.stdout)?, output(wiring.stderr)?);
        Ok(Self { house, tree, stdout, stderr, control: Arc::new(control), phase: Phase::Running })
    }

    /// What of it outlives this holder.
    fn left(&mut self) -> Left {
        let stdin = self.control.stdin.try_lock().ok().and_then(|mut stdin| stdin.take());
        let terminal = self.control.terminal.as_ref().and_then(|file| fcntl_dupfd_cloexec(file, 3).ok());
        let wiring = Wiring {
            stdin: stdin.map(AsyncFd::into_inner),
            stdout: self.stdout.take_file(),
            stderr: self.stderr.take_file(),
            terminal,
        };
        Left { house: self.house.clone(), tree: self.tree.clone(), wiring }
    }

    /// Output, or the end, which is left to be told.
    async fn hear(&mut self) -> Result<Option<ProcessEvent>> {
        tokio::select! {
            exited = self.tree.exited() => {
                let lost = || Error::new(ErrorKind::SandboxGone, "wait for the command", "its keeper was killed");
                self.phase = Phase::Ended(exited.ok_or_else(lost)?);
                self.stderr.command_has_ended();
                match self.control.terminal {
                    Some(_) => self.stdout.terminal_has_ended(),
                    None => self.stdout.command_has_ended(),
                }
                Ok(None)
            }
            bytes = self.stdout.next(), if self.stdout.is_open() => Ok(output(OutputStream::Stdout, bytes)),
            bytes = self.stderr.next(), if self.stderr.is_open() => Ok(output(OutputStream::Stderr, bytes)),
        }
    }
}

fn output(stream: OutputStream, bytes: Option<Bytes>) -> Option<ProcessEvent> {
    bytes.map(|bytes| ProcessEvent::Output(stream, bytes))
}

#[async_trait]
impl Process for FakeProcess {
    fn pid(&self) -> u32 {
        self.tree.pid()
    }

    async fn next(&mut self) -> Result<ProcessEvent> {
        loop {
            let event = match self.phase {
                Phase::Running => self.hear().await?,
                Phase::Ended(exited) => {
                    let stdout = output(OutputStream::Stdout, self.stdout.next_of_rest());
                    let rest = stdout.or_else(|| output(OutputStream::Stderr, self.stderr.next_of_rest()));
                    if rest.is_none() {
                        self.phase = Phase::Told;
                    }
                    rest.or(Some(ProcessEvent::Exited(exited)))
                }
                Phase::Told => {
                    let why = "its end has been told";
                    return Err(Error::new(ErrorKind::Internal, "wait for the command", why));
                }
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    fn control(&self) -> Arc<dyn ProcessControl> {
        self.control.clone()
    }
}

impl Drop for FakeProcess {
    fn drop(&mut self) {
        // What an ended command left running lives on, until its sandbox ends.
        if matches!(self.phase, Phase::Told) {
            return;
        }
        if self.house.is_left() {
            let left = self.left();
            self.house.leave(left);
        } else {
            self.tree.kill();
        }
    }
}

struct FakeControl {
    tree: Arc<Tree>,
    stdin: Mutex<Option<AsyncFd<OwnedFd>>>,
    terminal: Option<OwnedFd>,
}

#[async_trait]
impl ProcessControl for FakeControl {
    async fn write_stdin(&self, bytes: Bytes) -> Result<()> {
        let mut stdin = self.stdin.lock().await;
        if let Some(file) = &*stdin {
            let written = tokio::select! {
                written = write_all(file, bytes) => written,
                // Something else may hold the other end open.
                _ = self.tree.exited() => Ok(()),
            };
            if written.is_err() {
                *stdin = None; // nobody reads it any more, which is no error of ours
            }
        }
        Ok(())
    }

    async fn close_stdin(&self) -> Result<()> {
        let stdin = self.stdin.lock().await.take();
        if let (Some(file), Some(_)) = (&stdin, &self.terminal) {
            // A terminal stays open: its reader is told in the way of terminals.
            drop(write_all(file, Bytes::from_static(END_OF_TRANSMISSION)).await);
        }
        Ok(())
    }

    async fn signal(&self, number: u8, target: SignalTarget) -> Result<()> {
        self.tree.signal(number, target);
        Ok(())
    }

    async fn resize(&self, size: TerminalSize) -> Result<()> {
        let resized = self.terminal.as_ref().map_or(Ok(()), |terminal| terminal::resize(terminal, size));
        resized.map_err(|error| Error::new(ErrorKind::Internal, "resize the terminal", error))
    }
}
