//! A guest that does what the test says, over a stream in memory.

use std::time::Duration;

use agentkernel_core::{Command, DuplexStream, Process, ProcessEvent, Stdin};
use agentkernel_link::{Closed, ExecDefaults, GUEST_BUILD, HelloOptions, Link, ReadyInfo, Token, connect};
use agentkernel_protocol::{
    Decoder, Direction, Exited, Hello, PROTOCOL_VERSION, Ready, Start, Status, ToGuest, ToHost, Usage, encode,
};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the stream in memory holds: a small socket buffer.
const STREAM_LEN: usize = 256 * 1024;

/// The guest's end, used in the test's own words.
pub struct FakeGuest {
    stream: Box<dyn DuplexStream>,
    decoder: Decoder,
}

impl FakeGuest {
    /// A guest, and the stream that leads to it.
    pub fn new() -> (Self, Box<dyn DuplexStream>) {
        let (host, guest) = tokio::io::duplex(STREAM_LEN);
        (Self { stream: Box::new(guest), decoder: Decoder::new(Direction::ToGuest) }, Box::new(host))
    }

    /// A guest that was greeted, and the link to it.
    pub async fn connected() -> (Self, Link) {
        let (mut guest, stream) = Self::new();
        let (connected, _) = tokio::join!(connect(stream, hello()), guest.greet());
        (guest, connected.expect("greeted").0)
    }

    /// Hears the greeting, and answers as it should be.
    pub async fn greet(&mut self) -> Hello {
        let hello = self.hear_hello().await;
        self.say(0, ToHost::Ready(ready(hello.token))).await;
        hello
    }

    pub async fn hear_hello(&mut self) -> Hello {
        match self.hear().await {
            (0, ToGuest::Hello(hello)) => hello,
            other => panic!("expected Hello, heard {other:?}"),
        }
    }

    /// Hears a start, says that it runs, and returns the channel.
    pub async fn begin(&mut self) -> (u32, Start) {
        let (channel, start) = self.hear_start().await;
        self.say(channel, ToHost::Started(100 + channel)).await;
        (channel, start)
    }

    pub async fn hear_start(&mut self) -> (u32, Start) {
        match self.hear().await {
            (channel, ToGuest::Start(start)) => (channel, *start),
            other => panic!("expected Start, heard {other:?}"),
        }
    }

    /// The next frame; panics when the host has closed the stream.
    pub async fn hear(&mut self) -> (u32, ToGuest) {
        self.try_hear().await.expect("the host has closed the stream")
    }

    /// The next frame; `None` when the host has closed the stream.
    pub async fn try_hear(&mut self) -> Option<(u32, ToGuest)> {
        soon(self.hear_unbounded()).await
    }

    async fn hear_unbounded(&mut self) -> Option<(u32, ToGuest)> {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("the host keeps the protocol") {
                return Some((frame.channel, frame.try_into().expect("a message")));
            }
            if self.stream.read_buf(self.decoder.buffer()).await.expect("readable") == 0 {
                return None;
            }
        }
    }

    /// Nothing is to be heard from the host for a moment.
    pub async fn hear_nothing(&mut self) {
        let heard = tokio::time::timeout(Duration::from_millis(50), self.hear_unbounded()).await;
        assert!(heard.is_err(), "heard {heard:?}");
    }

    pub async fn say(&mut self, channel: u32, message: ToHost) {
        let mut frame = BytesMut::new();
        encode(channel, &message, &mut frame).expect("not too long");
        self.say_bytes(&frame).await;
    }

    /// Says something to a host that may have hung up; returns whether it has not.
    pub async fn try_say_bytes(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    pub async fn say_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the host listens");
    }

    pub async fn say_exited(&mut self, channel: u32, code: u8) {
        self.say(channel, exited(code)).await;
    }
}

/// What a test waits for must come before this: a test that hangs says nothing.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), future).await.expect("waited in vain")
}

/// Waits for the end of the link.
pub async fn closed(link: &Link) -> Closed {
    soon(link.closed()).await
}

pub fn hello() -> HelloOptions {
    HelloOptions { token: Token([7; 32]), mounts: Vec::new(), deadline: Duration::from_secs(5) }
}

pub fn ready(token: Token) -> Ready {
    Ready {
        protocol: PROTOCOL_VERSION,
        build: GUEST_BUILD.into(),
        token,
        started_ns: 1_000,
        ready_ns: 4_000,
        pid: 1,
        last_channel: 0,
        survivors: Vec::new(),
    }
}

pub fn ready_info() -> ReadyInfo {
    ReadyInfo { pid: 1, started_ns: 1_000, ready_ns: 4_000 }
}

pub fn exited(code: u8) -> ToHost {
    ToHost::Exited(Exited { status: Status::Code(code), timed_out: false, usage: Usage::default() })
}

pub fn stdout(len: usize) -> ToHost {
    ToHost::Stdout(Bytes::from(vec![b'x'; len]))
}

/// A command that reads stdin.
pub fn cat() -> Command {
    Command { stdin: Stdin::Pipe, ..Command::new(["cat"]) }
}

/// A process that the guest says is running, and its channel.
pub async fn running(guest: &mut FakeGuest, link: &Link, command: &Command) -> (u32, Box<dyn Process>) {
    let defaults = ExecDefaults::default();
    let (process, (channel, _)) =
        soon(async { tokio::join!(link.exec(command, &defaults), guest.begin()) }).await;
    (channel, process.expect("started"))
}

/// Takes output until the end; returns all bytes of stdout and the exit code's text.
pub async fn drain(process: &mut dyn Process) -> (Vec<u8>, String) {
    let mut output = Vec::new();
    loop {
        match soon(process.next()).await.expect("an event") {
            ProcessEvent::Output(_, bytes) => output.extend_from_slice(&bytes),
            ProcessEvent::Exited(exited) => return (output, exited.status.to_string()),
        }
    }
}
