//! Agents of every kind that the tests need.

use std::fs::{Permissions, set_permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use agentkernel_protocol::{Hello, OUTPUT_WINDOW, PROTOCOL_VERSION, Ready, Status, ToGuest, ToHost, Token};
use rustix::process::geteuid;

use crate::client::Guest;
use crate::request::words;

pub const TOKEN: Token = Token([42; 32]);

pub fn hello() -> Hello {
    let build = option_env!("AGENTKERNEL_GUEST_BUILD").unwrap_or("dev").into();
    let (mounts, output_window) = (Vec::new(), OUTPUT_WINDOW);
    Hello { protocol: PROTOCOL_VERSION, build, token: TOKEN, mounts, output_window }
}

/// The agent's program.
pub fn program() -> Command {
    started(command(env!("CARGO_BIN_EXE_agentkernel-guest").as_ref()))
}

/// The same by a program that has become it with these words.
fn started(mut program: Command) -> Command {
    program.args(crate::WORDS);
    program
}

#[expect(clippy::disallowed_methods, reason = "the test is the one that starts the agent")]
pub fn command(program: &Path) -> Command {
    Command::new(program)
}

impl Guest {
    /// An agent that has not been greeted yet.
    pub fn strange() -> Self {
        Self::spawn(program())
    }

    /// An agent that this command starts with one socket as its stdin.
    pub fn spawn(mut command: Command) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        let writer = ours.try_clone().expect("a copy");
        Self::attach(command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null()), ours, writer)
    }

    /// An agent that is ready, with a stream of two halves: its stdin and its stdout.
    pub fn ready_on_stdio() -> Self {
        let (writer, stdin) = UnixStream::pair().expect("a socket pair");
        let (reader, stdout) = UnixStream::pair().expect("a socket pair");
        let mut command = program();
        command.arg("--stdio").stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout));
        let mut guest = Self::attach(&mut command, reader, writer);
        guest.greet();
        guest
    }

    /// An agent that is ready.
    pub fn ready() -> Self {
        let mut guest = Self::strange();
        guest.greet();
        guest
    }

    /// An agent that is ready, and runs as an ordinary user even where the test is root.
    pub fn ready_as_nobody() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("its mode");
        let program = folder.path().join("guest"); // where it was built, nobody may be let in
        // By another process: what this one has open for writing, a fork of another test may keep so.
        let copy = words(&["cp", env!("CARGO_BIN_EXE_agentkernel-guest"), program.to_str().expect("text")]);
        assert_eq!(Self::ready().run(copy).status(), Status::Code(0));
        let mut command = started(command(&program));
        if geteuid().is_root() {
            command.uid(65534).gid(65534);
        }
        let mut guest = Self::spawn(command);
        guest.greet();
        guest
    }

    pub fn greet(&mut self) -> Ready {
        self.send(0, &ToGuest::Hello(hello()));
        match self.next() {
            Some((0, ToHost::Ready(ready))) => ready,
            other => panic!("not ready: {other:?}"),
        }
    }
}
