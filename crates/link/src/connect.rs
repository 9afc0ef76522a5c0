//! The first words on a stream.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{DuplexStream, Ended, Error, ErrorKind, Process, Result};
use agentkernel_protocol::{
    Decoder, Direction, Frame, Hello, Mount, OUTPUT_WINDOW, PROTOCOL_VERSION, Ready, ToGuest, ToHost, Token,
    encode,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::GUEST_BUILD;
use crate::channel::Channel;
use crate::driver;
use crate::link::Link;
use crate::process::LinkedProcess;
use crate::table::{Table, guest_says};
use crate::text::printable;

const GREET: &str = "greet the guest agent";

/// What the guest is told before anything else.
#[derive(Debug, Clone)]
pub struct HelloOptions {
    /// This sandbox's secret, random and used for no other; a host that gets the sandbox back must know it.
    pub token: Token,
    /// File systems that the guest shall mount first, unless it was greeted before.
    pub mounts: Vec<Mount>,
    /// How long the guest may take until it is ready.
    pub deadline: Duration,
}

/// What a guest says of its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadyInfo {
    /// Its own PID: 1 where it is init.
    pub pid: u32,
    /// When its `main` began, in nanoseconds of the guest's CLOCK_MONOTONIC.
    pub started_ns: u64,
    /// When it was ready for its first host, on the same clock.
    pub ready_ns: u64,
}

impl ReadyInfo {
    /// From the guest's first instruction until it was ready, by its own clock.
    #[must_use]
    pub fn startup(&self) -> Duration {
        Duration::from_nanos(self.ready_ns.saturating_sub(self.started_ns))
    }
}

/// What somebody else knows about why the stream ended. Polled only then, and not for long.
pub(crate) type Witness = Pin<Box<dyn Future<Output = Option<Ended>> + Send>>;

/// Greets the guest at the other end, and starts to serve the stream on the current tokio runtime.
///
/// Fails when the guest is not ready within the deadline, is of another build, or is not the one that
/// was greeted.
pub async fn connect(stream: Box<dyn DuplexStream>, hello: HelloOptions) -> Result<(Link, ReadyInfo)> {
    connect_with(stream, hello, Box::pin(std::future::ready(None))).await
}

/// Greets a guest that has outlived its last host, over the stream that was brought in by its door.
///
/// The commands that it tells of come in the order in which they were started: those that run, and the
/// last words of those that ended (see [`agentkernel_protocol::MAX_LAST_WORDS`]). Dropping one kills it.
/// Nothing is known of what else the last host was doing: its file operations have ended. The guest may be
/// of another build, as after an upgrade of this program, but must speak the same protocol.
pub async fn reconnect(
    stream: Box<dyn DuplexStream>,
    hello: HelloOptions,
) -> Result<(Link, ReadyInfo, Vec<Box<dyn Process>>)> {
    reconnect_with(stream, hello, Box::pin(std::future::ready(None))).await
}

pub(crate) async fn connect_with(
    stream: Box<dyn DuplexStream>,
    hello: HelloOptions,
    witness: Witness,
) -> Result<(Link, ReadyInfo)> {
    let (stream, decoder, ready) = greet_in_time(stream, hello).await?;
    if ready.build != GUEST_BUILD {
        let theirs = printable(&ready.build);
        return Err(boot(format!("it is build {theirs}, this program needs build {GUEST_BUILD}")));
    }
    if ready.last_channel > 0 {
        return Err(broken("it tells of commands, and none was started".into()));
    }
    let table = driver::start(Table::new(0, &[]), stream, decoder, witness);
    Ok((Link::new(table), info(&ready)))
}

pub(crate) async fn reconnect_with(
    stream: Box<dyn DuplexStream>,
    hello: HelloOptions,
    witness: Witness,
) -> Result<(Link, ReadyInfo, Vec<Box<dyn Process>>)> {
    let (stream, decoder, ready) = greet_in_time(stream, hello).await?;
    let channels: Vec<_> =
        ready.survivors.iter().map(|survivor| Arc::new(Channel::survivor(survivor))).collect();
    let table = Table::new(ready.last_channel, &channels);
    let link = Link::new(driver::start(table, stream, decoder, witness));
    let commands = ready.survivors.iter().zip(channels).map(|(survivor, channel)| {
        Box::new(LinkedProcess::survivor(link.clone(), channel, survivor)) as Box<dyn Process>
    });
    let commands = commands.collect();
    Ok((link, info(&ready), commands))
}

async fn greet_in_time(
    mut stream: Box<dyn DuplexStream>,
    hello: HelloOptions,
) -> Result<(Box<dyn DuplexStream>, Decoder, Ready)> {
    let deadline = hello.deadline;
    let greeted = timeout(deadline, greet(&mut stream, hello)).await;
    let (decoder, ready) = greeted
        .unwrap_or_else(|_| Err(boot(format!("it was not ready within {} ms", deadline.as_millis()))))?;
    Ok((stream, decoder, ready))
}

async fn greet(stream: &mut Box<dyn DuplexStream>, hello: HelloOptions) -> Result<(Decoder, Ready)> {
    let token = hello.token;
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        build: GUEST_BUILD.to_owned(),
        token,
        mounts: hello.mounts,
        output_window: OUTPUT_WINDOW,
    };
    let mut frame = BytesMut::new();
    encode(0, &ToGuest::Hello(hello), &mut frame)
        .map_err(|error| Error::new(ErrorKind::Internal, GREET, error))?;
    let mut written = stream.write_all(&frame).await;
    if written.is_ok() {
        written = stream.flush().await;
    }
    // A guest that is gone may still have said why.
    let mut decoder = Decoder::new(Direction::ToHost);
    let frame = first_frame(stream, &mut decoder, written).await?;
    let ready = hear(frame)?;
    check(&ready, token)?;
    Ok((decoder, ready))
}

/// Reads until the first frame is complete.
async fn first_frame(
    stream: &mut Box<dyn DuplexStream>,
    decoder: &mut Decoder,
    written: io::Result<()>,
) -> Result<Frame> {
    loop {
        if let Some(frame) = decoder.next_frame().map_err(|error| broken(error.to_string()))? {
            return Ok(frame);
        }
        match stream.read_buf(decoder.buffer()).await {
            Ok(0) => {
                let reason = written.err().map(|error| format!(": {error}")).unwrap_or_default();
                return Err(boot(format!("it closed its stream before it was ready{reason}")));
            }
            Ok(_) => {}
            Err(error) => return Err(boot(format!("the stream failed before it was ready: {error}"))),
        }
    }
}

fn hear(frame: Frame) -> Result<Ready> {
    let (kind, channel) = (frame.kind, frame.channel);
    let message = ToHost::try_from(frame).map_err(|error| broken(error.to_string()))?;
    match message {
        ToHost::Ready(ready) if channel == 0 => Ok(ready),
        ToHost::Fault(why) if channel == 0 => Err(boot(guest_says(&why))),
        _ => Err(broken(format!("its first frame is {kind:?} on channel {channel}, not Ready"))),
    }
}

fn check(ready: &Ready, token: Token) -> Result<()> {
    if ready.protocol != PROTOCOL_VERSION {
        let theirs = ready.protocol;
        return Err(boot(format!("it speaks protocol {theirs}, this program protocol {PROTOCOL_VERSION}")));
    }
    if ready.token != token {
        return Err(broken("it answered with another sandbox's token".into()));
    }
    Ok(())
}

fn info(ready: &Ready) -> ReadyInfo {
    ReadyInfo { pid: ready.pid, started_ns: ready.started_ns, ready_ns: ready.ready_ns }
}

fn boot(why: String) -> Error {
    Error::new(ErrorKind::Boot, GREET, why)
}

fn broken(why: String) -> Error {
    Error::new(ErrorKind::ProtocolBroken, GREET, why)
}
