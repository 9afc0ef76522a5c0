//! The embedded guest agent as a child of the test, with a socket as its stream.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::process::{Child, Command as Program, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use agentkernel_core::{Command, ExitStatus as Status, OutputStream, Process, ProcessEvent, Stdin};
use agentkernel_link::{ExecDefaults, GUEST, HelloOptions, Link, ReadyInfo, Token, connect};
use tempfile::TempDir;
use tokio::net::UnixStream;

/// A running guest agent. Dropping it closes its stream first and kills it if that is not enough.
pub struct RealGuest {
    pub link: Link,
    pub info: ReadyInfo,
    /// A folder for the test's files.
    pub folder: TempDir,
    child: Child,
}

/// What a command came to.
pub struct Output {
    pub status: Status,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl RealGuest {
    pub async fn start() -> Self {
        let (host, guest) = StdUnixStream::pair().expect("a socket pair");
        host.set_nonblocking(true).expect("non-blocking");
        let child = spawn(guest.into());
        let stream = UnixStream::from_std(host).expect("registered");
        let (link, info) = connect(Box::new(stream), hello()).await.expect("greeted");
        Self { link, info, folder: TempDir::new().expect("a folder"), child }
    }

    pub fn defaults() -> ExecDefaults {
        ExecDefaults { cwd: b"/".into(), ..ExecDefaults::default() }
    }

    pub async fn exec(&self, command: &Command) -> Box<dyn Process> {
        self.link.exec(command, &Self::defaults()).await.expect("started")
    }

    /// Runs a command to its end.
    pub async fn run(&self, command: &Command) -> Output {
        let mut process = self.exec(command).await;
        finish(&mut *process).await
    }

    pub fn path(&self, name: &str) -> Vec<u8> {
        self.folder.path().join(name).into_os_string().into_encoded_bytes()
    }

    /// Waits for the agent's own end.
    pub fn wait(&mut self) -> ExitStatus {
        self.child.wait().expect("waited for")
    }
}

impl Drop for RealGuest {
    fn drop(&mut self) {
        self.link.close("the test is over");
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn hello() -> HelloOptions {
    HelloOptions { token: Token([9; 32]), mounts: Vec::new(), deadline: Duration::from_secs(10) }
}

/// A command of a shell's.
pub fn shell(script: &str) -> Command {
    Command::new(["sh", "-c", script])
}

/// The same with a pipe for stdin.
pub fn shell_with_stdin(script: &str) -> Command {
    Command { stdin: Stdin::Pipe, ..shell(script) }
}

pub async fn finish(process: &mut dyn Process) -> Output {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match process.next().await.expect("an event") {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => stdout.extend_from_slice(&bytes),
            ProcessEvent::Output(OutputStream::Stderr, bytes) => stderr.extend_from_slice(&bytes),
            ProcessEvent::Exited(exited) => return Output { status: exited.status, stdout, stderr },
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the agent under test has to be started somehow")]
fn spawn(stream: OwnedFd) -> Child {
    Program::new(program()).stdin(Stdio::from(stream)).env_clear().spawn().expect("the agent starts")
}

/// The embedded bytes as a file: written before anything is spawned, because a program cannot be
/// executed while some child in the making still holds it open for writing.
pub fn program() -> &'static PathBuf {
    static PROGRAM: OnceLock<(TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = PROGRAM.get_or_init(|| {
        let folder = TempDir::new().expect("a folder");
        let path = folder.path().join("agentkernel-guest");
        let mut file = std::fs::File::create(&path).expect("created");
        file.write_all(GUEST).expect("written");
        file.set_permissions(std::fs::Permissions::from_mode(0o755)).expect("executable");
        (folder, path)
    });
    path
}
