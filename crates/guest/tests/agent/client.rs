//! A tiny blocking host: everything it waits for has a deadline.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use agentkernel_protocol::{
    Decoder, Direction, Exited, Refused, STDIN_WINDOW, Signal, Start, Status, Stream, ToGuest, ToHost, encode,
};
use bytes::{Bytes, BytesMut};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How long anything may take on a machine that is busy with other things.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An agent as a process of this machine, and the host end of its stream.
pub struct Guest {
    child: Child,
    /// What the agent says.
    reader: UnixStream,
    /// What the agent hears; mostly the same socket.
    writer: UnixStream,
    decoder: Decoder,
    /// Frames that came while another channel's were waited for.
    early: VecDeque<(u32, ToHost)>,
    last_channel: u32,
}

/// All that came of a channel.
#[derive(Debug, Default)]
pub struct Outcome {
    pub pid: u32,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: Option<Exited>,
}

impl Outcome {
    pub fn status(&self) -> Status {
        self.exited.as_ref().expect("it has ended").status
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.stdout.clone()).expect("text")
    }
}

/// Waits for what no frame tells.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

impl Guest {
    /// What this command starts, once its ends of these sockets are set.
    pub fn attach(command: &mut Command, reader: UnixStream, writer: UnixStream) -> Self {
        let child = command.spawn().expect("the agent starts");
        // Our copies of the agent's ends must not outlive it.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        reader.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        writer.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let decoder = Decoder::new(Direction::ToHost);
        Self { child, reader, writer, decoder, early: VecDeque::new(), last_channel: 0 }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Talks over this socket from now on; what was said on the old ones is forgotten.
    pub fn talk_over(&mut self, socket: UnixStream) {
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        self.writer = socket.try_clone().expect("a copy");
        self.reader = socket;
        self.decoder = Decoder::new(Direction::ToHost);
        self.early.clear();
    }

    pub fn send(&mut self, channel: u32, message: &ToGuest) {
        let mut frame = BytesMut::new();
        encode(channel, message, &mut frame).expect("a message that fits");
        self.send_bytes(&frame);
    }

    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).expect("the agent takes it");
    }

    /// Repeats `bytes` without listening until nothing more is taken; returns how many went.
    pub fn send_until_blocked(&mut self, bytes: &[u8]) -> usize {
        let enough = Timespec { tv_sec: 1, tv_nsec: 0 };
        let mut sent = 0;
        self.writer.set_nonblocking(true).expect("a socket");
        while poll(&mut [PollFd::new(&self.writer, PollFlags::OUT)], Some(&enough)).expect("a poll") == 1 {
            sent += self.writer.write(&bytes[sent % bytes.len()..]).unwrap_or(0);
        }
        self.writer.set_nonblocking(false).expect("a socket");
        sent
    }

    /// Says no more, and still listens.
    pub fn hush(&self) {
        self.writer.shutdown(std::net::Shutdown::Write).expect("an open socket");
    }

    /// Neither says nor hears any more.
    pub fn shut(&self) {
        for socket in [&self.reader, &self.writer] {
            socket.shutdown(std::net::Shutdown::Both).ok(); // the agent may have closed it
        }
    }

    /// The next frame; `None` at the end of the stream.
    pub fn next(&mut self) -> Option<(u32, ToHost)> {
        let mut bytes = [0; 64 * 1024];
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("a frame") {
                return Some((frame.channel, frame.try_into().expect("a message")));
            }
            match self.reader.read(&mut bytes) {
                Ok(0) => return None,
                Ok(len) => self.decoder.push(&bytes[..len]),
                // The agent left something of ours unread when it ended.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("nothing came for {PATIENCE:?}: {error}"),
            }
        }
    }

    /// The next frame of one channel.
    pub fn next_of(&mut self, channel: u32) -> ToHost {
        if let Some(index) = self.early.iter().position(|(other, _)| *other == channel) {
            return self.early.remove(index).expect("just found").1;
        }
        loop {
            match self.next().expect("the stream goes on") {
                (other, message) if other == channel => return message,
                early => self.early.push_back(early),
            }
        }
    }

    /// What came of one channel while others were waited for, and was not asked for yet.
    pub fn early_of(&self, channel: u32) -> Vec<&ToHost> {
        self.early.iter().filter(|(other, _)| *other == channel).map(|(_, message)| message).collect()
    }

    pub fn open(&mut self, start: Start) -> u32 {
        self.last_channel += 1;
        self.send(self.last_channel, &ToGuest::Start(Box::new(start)));
        self.last_channel
    }

    /// Opens a channel, and waits until its process runs.
    pub fn started(&mut self, start: Start) -> (u32, u32) {
        let channel = self.open(start);
        match self.next_of(channel) {
            ToHost::Started(pid) => (channel, pid),
            other => panic!("not started: {other:?}"),
        }
    }

    /// Runs to the end, with stdin, and with credit for all that comes.
    pub fn run_with(&mut self, start: Start, stdin: &[u8]) -> Result<Outcome, Refused> {
        let channel = self.open(start);
        let mut feed = Feed { rest: stdin, window: STDIN_WINDOW as usize, ended: false };
        let mut outcome = Outcome::default();
        loop {
            feed.give(self, channel);
            match self.next_of(channel) {
                ToHost::Started(pid) => outcome.pid = pid,
                ToHost::Refused(refused) => return Err(refused),
                ToHost::StdinCredit(bytes) => feed.window += bytes as usize,
                ToHost::Stdout(bytes) => {
                    outcome.stdout.extend_from_slice(&bytes);
                    self.credit(channel, Stream::Stdout, bytes.len());
                }
                ToHost::Stderr(bytes) => {
                    outcome.stderr.extend_from_slice(&bytes);
                    self.credit(channel, Stream::Stderr, bytes.len());
                }
                ToHost::Exited(exited) => {
                    outcome.exited = Some(exited);
                    return Ok(outcome);
                }
                other => panic!("not on a channel: {other:?}"),
            }
        }
    }

    pub fn run(&mut self, start: Start) -> Outcome {
        self.run_with(start, b"").expect("it starts")
    }

    pub fn refused(&mut self, start: Start) -> Refused {
        self.run_with(start, b"").expect_err("it cannot start")
    }

    pub fn credit(&mut self, channel: u32, stream: Stream, len: usize) {
        let len = u32::try_from(len).expect("a frame's length");
        self.send(channel, &ToGuest::Credit(stream, len));
    }

    pub fn signal(&mut self, channel: u32, number: u8, group: bool) {
        self.send(channel, &ToGuest::Signal(Signal { number, group }));
    }

    /// Waits for stdout to hold `text`, which it must within the window.
    pub fn await_text(&mut self, channel: u32, text: &str) -> String {
        let mut seen = Vec::new();
        while !String::from_utf8_lossy(&seen).contains(text) {
            match self.next_of(channel) {
                ToHost::Stdout(bytes) => seen.extend_from_slice(&bytes),
                ToHost::Started(_) | ToHost::StdinCredit(_) => {}
                other => panic!("no {text:?} in {:?}, but {other:?}", String::from_utf8_lossy(&seen)),
            }
        }
        String::from_utf8_lossy(&seen).into_owned()
    }

    /// The last frame of a channel, past all output.
    pub fn exited(&mut self, channel: u32) -> Exited {
        loop {
            match self.next_of(channel) {
                ToHost::Exited(exited) => return exited,
                ToHost::Refused(refused) => panic!("refused: {refused:?}"),
                _ => {}
            }
        }
    }

    /// The agent's own end; the socket stays open meanwhile.
    pub fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("the agent's end", || {
            status = self.child.try_wait().expect("our child");
            status.is_some()
        });
        status.expect("just seen")
    }

    /// The reason that the agent gives before it ends, and its exit code.
    pub fn fault(&mut self) -> (String, Option<i32>) {
        let mut reason = None;
        while let Some((_, message)) = self.next() {
            if let ToHost::Fault(text) = message {
                reason = Some(text);
            }
        }
        (reason.expect("a Fault before the end"), self.end().code())
    }

    /// Closes the stream, and waits for the agent's end.
    pub fn close(self) -> ExitStatus {
        let Self { mut child, reader, writer, .. } = self;
        drop((reader, writer));
        child.wait().expect("our child")
    }
}

/// Stdin that is given as the window allows.
struct Feed<'a> {
    rest: &'a [u8],
    window: usize,
    ended: bool,
}

impl Feed<'_> {
    fn give(&mut self, guest: &mut Guest, channel: u32) {
        while self.window > 0 && !self.rest.is_empty() {
            let (now, rest) = self.rest.split_at(self.rest.len().min(self.window).min(128 * 1024));
            guest.send(channel, &ToGuest::Stdin(Bytes::copy_from_slice(now)));
            self.window -= now.len();
            self.rest = rest;
        }
        if self.rest.is_empty() && !self.ended {
            self.ended = true;
            guest.send(channel, &ToGuest::StdinEnd);
        }
    }
}
