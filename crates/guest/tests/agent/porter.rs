//! What keeps the other end of an agent's door: it brings in one host after the other.

use std::io::{IoSlice, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use agentkernel_protocol::{Hello, Ready, Survivor, ToGuest, ToHost};
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, sendmsg,
    socketpair,
};

use crate::client::Guest;
use crate::launch::{command, hello};

/// Our end of a door.
pub struct Porter {
    door: OwnedFd,
}

impl Porter {
    /// A porter, and the end that its agent gets.
    pub fn new() -> (Self, OwnedFd) {
        let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
        let (door, theirs) = socketpair(AddressFamily::UNIX, kind, flags, None).expect("a socket pair");
        (Self { door }, theirs)
    }

    /// Sends one message through the door.
    pub fn knock(&self, text: &[u8], brought: &[BorrowedFd<'_>]) {
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(8))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !brought.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(brought)), "there is room");
        }
        sendmsg(&self.door, &[IoSlice::new(text)], &mut ancillary, SendFlags::NOSIGNAL).expect("it goes in");
    }

    /// Brings in the stream of another host, whose end this is.
    pub fn bring(&self) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        self.knock(b"s", &[theirs.as_fd()]);
        ours
    }
}

/// Starts the agent with its door at descriptor 3, which a shell can do without any unsafe code of ours.
pub fn at_door(words: &str, door: OwnedFd) -> Command {
    let mut shell = command("/bin/sh".as_ref());
    let script = format!("exec {words} {} --door 3<&2 2>/dev/null", crate::WORDS.join(" "));
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_agentkernel-guest")]).stderr(door);
    shell
}

impl Guest {
    /// An agent with a door that is ready, and who keeps the other end.
    pub fn with_door() -> (Self, Porter) {
        let (porter, door) = Porter::new();
        let mut guest = Self::spawn(at_door("\"$0\"", door));
        let ready = guest.greet();
        assert_eq!((ready.last_channel, ready.survivors.len()), (0, 0));
        (guest, porter)
    }

    /// The same over two pipes' worth of standard streams.
    pub fn on_stdio_with_door() -> (Self, Porter) {
        let (porter, door) = Porter::new();
        let (writer, stdin) = UnixStream::pair().expect("a socket pair");
        let (reader, stdout) = UnixStream::pair().expect("a socket pair");
        let mut command = at_door("\"$0\" --stdio", door);
        command.stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout));
        let mut guest = Self::attach(&mut command, reader, writer);
        command.stderr(Stdio::null());
        guest.greet();
        (guest, porter)
    }

    /// Closes the stream without a word, as a host that is killed does.
    pub fn lose_host(&mut self) {
        // A fork of another test may keep a copy for a moment; to the agent it must be gone now.
        self.shut();
        self.talk_over(UnixStream::pair().expect("a socket pair").0);
    }

    /// Another host comes by the door, and is told who survived.
    pub fn find_host(&mut self, porter: &Porter) -> Ready {
        self.find_host_with(porter, hello())
    }

    pub fn find_host_with(&mut self, porter: &Porter, hello: Hello) -> Ready {
        self.talk_over(porter.bring());
        self.send(0, &ToGuest::Hello(hello));
        match self.next() {
            Some((0, ToHost::Ready(ready))) => ready,
            other => panic!("not ready: {other:?}"),
        }
    }

    /// The host is killed, and another one comes.
    pub fn change_host(&mut self, porter: &Porter) -> Vec<Survivor> {
        self.lose_host();
        self.find_host(porter).survivors
    }
}

/// Whether all that could write to the other end of this pipe or socket is gone.
pub fn at_end(mut reader: impl Read) -> bool {
    reader.read(&mut [0; 16]).expect("readable") == 0
}

/// A survivor that runs, has no terminal, and whose stdin has all of its window.
pub fn running(channel: u32, pid: u32, lost_bytes: u64) -> Survivor {
    let stdin_free = Some(agentkernel_protocol::STDIN_WINDOW);
    Survivor { channel, pid, has_terminal: false, stdin_free, lost_bytes, ended: None }
}
