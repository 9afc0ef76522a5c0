//! The embedded guest agent with a door, and hosts that come and go.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Child, Command as Program, Stdio};
use std::time::{Duration, Instant};

use agentkernel_core::{Command, Process};
use agentkernel_link::{HelloOptions, Link, connect, reconnect};
use agentkernel_protocol::{
    Decoder, Direction, Hello, OUTPUT_WINDOW, PROTOCOL_VERSION, ProtocolError, ToGuest, ToHost, encode,
};
use bytes::BytesMut;
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

use crate::real_guest::{RealGuest, hello, program};

/// A running guest agent, and our end of its door. Dropping it closes the door, with which an agent that has
/// no host ends, and everything that it runs with it.
pub struct House {
    door: Option<OwnedFd>,
    agent: Child,
}

/// A host with a runtime of its own. Dropping the runtime closes the stream and runs nothing else of the
/// host's, as killing it would.
pub struct Host {
    pub runtime: Runtime,
    pub link: Link,
    pub commands: Vec<Box<dyn Process>>,
}

impl House {
    /// An agent with a door, and the stream for its first host.
    pub fn new() -> (Self, StdUnixStream) {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (door, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None).expect("a socket pair");
        let (host, guest) = StdUnixStream::pair().expect("a socket pair");
        let agent = spawn(guest.into(), theirs);
        (Self { door: Some(door), agent }, host)
    }

    /// An agent and its first host.
    pub fn with_host() -> (Self, Host) {
        let (house, stream) = Self::new();
        let runtime = runtime();
        let (link, _) =
            runtime.block_on(async { connect(registered(stream), hello()).await }).expect("greeted");
        (house, Host { runtime, link, commands: Vec::new() })
    }

    /// Brings in the stream of another host.
    pub fn bring(&self) -> StdUnixStream {
        let (ours, theirs) = StdUnixStream::pair().expect("a socket pair");
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let brought = [theirs.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&brought)), "there is room");
        let door = self.door.as_ref().expect("open while there is a house");
        sendmsg(door, &[IoSlice::new(b"s")], &mut ancillary, SendFlags::NOSIGNAL).expect("it goes in");
        ours
    }

    pub fn answer_to(&self, build: &str) -> Result<ToHost, ProtocolError> {
        answer(self.bring(), build)
    }

    /// Another host comes.
    pub fn host(&self) -> Host {
        self.host_that_says(hello()).expect("let in")
    }

    pub fn host_that_says(&self, hello: HelloOptions) -> agentkernel_core::Result<Host> {
        let (runtime, stream) = (runtime(), self.bring());
        let (link, _, commands) = runtime.block_on(async { reconnect(registered(stream), hello).await })?;
        Ok(Host { runtime, link, commands })
    }
}

/// What the agent at the other end says first to a host of this build.
pub fn answer(mut stream: StdUnixStream, build: &str) -> Result<ToHost, ProtocolError> {
    let HelloOptions { token, mounts, deadline } = hello();
    let (protocol, build, output_window) = (PROTOCOL_VERSION, build.to_owned(), OUTPUT_WINDOW);
    let mut frame = BytesMut::new();
    encode(0, &ToGuest::Hello(Hello { protocol, build, token, mounts, output_window }), &mut frame)?;
    stream.write_all(&frame).expect("taken");
    stream.set_read_timeout(Some(deadline)).expect("a timeout");
    let (mut decoder, mut bytes) = (Decoder::new(Direction::ToHost), [0; 4096]);
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return frame.try_into();
        }
        let len = stream.read(&mut bytes).expect("readable");
        assert!(len > 0, "it has hung up");
        decoder.push(&bytes[..len]);
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.door = None;
        let patience = Instant::now() + Duration::from_secs(10);
        while self.agent.try_wait().is_ok_and(|ended| ended.is_none()) && Instant::now() < patience {
            std::thread::yield_now();
        }
        self.agent.kill().ok();
        self.agent.wait().ok();
    }
}

impl Host {
    /// Starts a command, and keeps it.
    pub fn exec(&mut self, command: &Command) -> u32 {
        let defaults = RealGuest::defaults();
        let process = self.runtime.block_on(self.link.exec(command, &defaults)).expect("started");
        let pid = process.pid();
        self.commands.push(process);
        pid
    }

    /// Ends without a word.
    pub fn killed(self) {
        let Self { runtime, link, commands } = self;
        drop(runtime);
        drop((link, commands)); // what they still want to say goes nowhere
    }
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The stream on the runtime that this is called on.
pub fn registered(stream: StdUnixStream) -> Box<UnixStream> {
    stream.set_nonblocking(true).expect("non-blocking");
    Box::new(UnixStream::from_std(stream).expect("registered"))
}

/// A shell puts the door at descriptor 3, which needs no unsafe code of ours.
#[expect(clippy::disallowed_methods, reason = "the agent under test has to be started somehow")]
fn spawn(stream: OwnedFd, door: OwnedFd) -> Child {
    let mut shell = Program::new("/bin/sh");
    shell.args(["-c", "exec \"$0\" --door 3<&2 2>/dev/null"]).arg(program());
    shell.stdin(stream).stdout(Stdio::null()).stderr(door).env_clear().spawn().expect("the agent starts")
}
