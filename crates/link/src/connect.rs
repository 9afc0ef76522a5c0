//! The first words on a stream.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use agentkernel_core::{DuplexStream, Ended, Error, ErrorKind, Result};
use agentkernel_protocol::{
    Decoder, Direction, Frame, Hello, Mount, PROTOCOL_VERSION, Ready, ToGuest, ToHost, Token, encode,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::GUEST_BUILD;
use crate::driver;
use crate::link::Link;
use crate::table::guest_says;
use crate::text::printable;

const GREET: &str = "greet the guest agent";

/// What the guest is told before anything else.
#[derive(Debug, Clone)]
pub struct HelloOptions {
    /// This sandbox's secret, random and used once.
    pub token: Token,
    /// File systems that the guest shall mount first.
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
    /// When it was ready, on the same clock.
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

pub(crate) async fn connect_with(
    mut stream: Box<dyn DuplexStream>,
    hello: HelloOptions,
    witness: Witness,
) -> Result<(Link, ReadyInfo)> {
    let deadline = hello.deadline;
    let greeted = timeout(deadline, greet(&mut stream, hello)).await;
    let (decoder, ready) = greeted
        .unwrap_or_else(|_| Err(boot(format!("it was not ready within {} ms", deadline.as_millis()))))?;
    let table = driver::start(stream, decoder, witness);
    Ok((Link::new(table), ready))
}

async fn greet(stream: &mut Box<dyn DuplexStream>, hello: HelloOptions) -> Result<(Decoder, ReadyInfo)> {
    let token = hello.token;
    let hello =
        Hello { protocol: PROTOCOL_VERSION, build: GUEST_BUILD.to_owned(), token, mounts: hello.mounts };
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
    Ok((decoder, check(&hear(frame)?, token)?))
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

fn check(ready: &Ready, token: Token) -> Result<ReadyInfo> {
    if ready.protocol != PROTOCOL_VERSION {
        let theirs = ready.protocol;
        return Err(boot(format!("it speaks protocol {theirs}, this program protocol {PROTOCOL_VERSION}")));
    }
    if ready.build != GUEST_BUILD {
        let theirs = printable(&ready.build);
        return Err(boot(format!("it is build {theirs}, this program needs build {GUEST_BUILD}")));
    }
    if ready.token != token {
        return Err(broken("it answered with another sandbox's token".into()));
    }
    Ok(ReadyInfo { pid: ready.pid, started_ns: ready.started_ns, ready_ns: ready.ready_ns })
}

fn boot(why: String) -> Error {
    Error::new(ErrorKind::Boot, GREET, why)
}

fn broken(why: String) -> Error {
    Error::new(ErrorKind::ProtocolBroken, GREET, why)
}
