//! Messages to frames, and frames to messages.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::frame::put_header;
use crate::{
    Exited, Frame, Kind, MAX_CHANNELS, MAX_PAYLOAD, ProtocolError, Ready, STDIN_WINDOW, Signal, Status,
    Stream, Survivor, ToGuest, ToHost, WindowSize,
};

/// A message of either direction, as a kind and a body.
trait Message {
    fn kind(&self) -> Kind;
    fn body(&self) -> Body<'_>;
}

enum Body<'a> {
    Raw(&'a Bytes),
    Encoded(Vec<u8>),
}

fn encoded(value: &impl Serialize) -> Body<'static> {
    // Serialising plain data into a growing vector has no way to fail.
    Body::Encoded(postcard::to_allocvec(value).unwrap_or_default())
}

const EMPTY: Body<'static> = Body::Encoded(Vec::new());

impl Message for ToGuest {
    fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Start(_) => Kind::Start,
            Self::Stdin(_) => Kind::Stdin,
            Self::StdinEnd => Kind::StdinEnd,
            Self::Credit(..) => Kind::Credit,
            Self::Signal(_) => Kind::Signal,
            Self::Resize(_) => Kind::Resize,
            Self::Ping(_) => Kind::Ping,
            Self::Shutdown => Kind::Shutdown,
            Self::Hold => Kind::Hold,
            Self::Renew(_) => Kind::Renew,
        }
    }

    fn body(&self) -> Body<'_> {
        match self {
            Self::Hello(hello) => encoded(hello),
            Self::Start(start) => encoded(start),
            Self::Stdin(bytes) => Body::Raw(bytes),
            Self::StdinEnd | Self::Shutdown | Self::Hold => EMPTY,
            Self::Credit(stream, bytes) => encoded(&(stream, bytes)),
            Self::Signal(signal) => encoded(signal),
            Self::Resize(size) => encoded(size),
            Self::Ping(number) => encoded(number),
            Self::Renew(steps) => encoded(steps),
        }
    }
}

impl Message for ToHost {
    fn kind(&self) -> Kind {
        match self {
            Self::Ready(_) => Kind::Ready,
            Self::Started(_) => Kind::Started,
            Self::Refused(_) => Kind::Refused,
            Self::Stdout(_) => Kind::Stdout,
            Self::Stderr(_) => Kind::Stderr,
            Self::Exited(_) => Kind::Exited,
            Self::StdinCredit(_) => Kind::StdinCredit,
            Self::Pong(_) => Kind::Pong,
            Self::Fault(_) => Kind::Fault,
            Self::Held(_) => Kind::Held,
            Self::Renewed(_) => Kind::Renewed,
        }
    }

    fn body(&self) -> Body<'_> {
        match self {
            Self::Ready(ready) => encoded(ready),
            Self::Started(pid) => encoded(pid),
            Self::Refused(refused) => encoded(refused),
            Self::Stdout(bytes) | Self::Stderr(bytes) => Body::Raw(bytes),
            Self::Exited(exited) => encoded(exited),
            Self::StdinCredit(bytes) => encoded(bytes),
            Self::Pong(number) => encoded(number),
            Self::Fault(reason) => encoded(reason),
            Self::Held(why_not) => encoded(why_not),
            Self::Renewed(evidence) => encoded(evidence),
        }
    }
}

/// Anything that [`encode`] takes: [`ToGuest`] and [`ToHost`].
#[expect(private_bounds, reason = "sealed: these two are the only messages there are")]
pub trait Encodable: Message {}
impl Encodable for ToGuest {}
impl Encodable for ToHost {}

/// Appends the message's frame to `out`. Fails only if it would exceed [`MAX_PAYLOAD`]; then
/// nothing was appended.
pub fn encode(channel: u32, message: &impl Encodable, out: &mut BytesMut) -> Result<(), ProtocolError> {
    let body = message.body();
    let bytes = match &body {
        Body::Raw(bytes) => &bytes[..],
        Body::Encoded(bytes) => &bytes[..],
    };
    put_header(message.kind(), channel, bytes.len(), out)?;
    out.put_slice(bytes);
    Ok(())
}

fn parse<T: DeserializeOwned>(frame: &Frame) -> Result<T, ProtocolError> {
    let malformed = |reason| ProtocolError::Malformed { kind: frame.kind, reason };
    let (value, rest) =
        postcard::take_from_bytes(&frame.payload).map_err(|_| malformed("body does not parse"))?;
    if rest.is_empty() { Ok(value) } else { Err(malformed("bytes after the body")) }
}

fn empty(frame: &Frame) -> Result<(), ProtocolError> {
    if frame.payload.is_empty() {
        Ok(())
    } else {
        Err(ProtocolError::Malformed { kind: frame.kind, reason: "body should be empty" })
    }
}

fn signal_number(number: u8, kind: Kind) -> Result<(), ProtocolError> {
    // 64 is SIGRTMAX on Linux.
    if (1..=64).contains(&number) {
        Ok(())
    } else {
        Err(ProtocolError::Malformed { kind, reason: "no such signal" })
    }
}

fn exited(exited: &Exited, kind: Kind) -> Result<(), ProtocolError> {
    match exited.status {
        Status::Signal(number) => signal_number(number, kind),
        Status::Code(_) => Ok(()),
    }
}

/// Whether the survivors could be what a host has left behind.
fn survivors(ready: &Ready) -> Result<(), ProtocolError> {
    let malformed = |reason| Err(ProtocolError::Malformed { kind: Kind::Ready, reason });
    if ready.survivors.len() > MAX_CHANNELS {
        return malformed("more survivors than there are channels");
    }
    let mut before = 0;
    for Survivor { channel, stdin_free, ended, .. } in &ready.survivors {
        if *channel <= before || *channel > ready.last_channel {
            return malformed("a survivor on a channel that it cannot have");
        }
        before = *channel;
        if stdin_free.is_some_and(|bytes| bytes > STDIN_WINDOW) {
            return malformed("a survivor with more than a window for stdin");
        }
        ended.as_ref().map_or(Ok(()), |last| exited(last, Kind::Ready))?;
    }
    Ok(())
}

impl TryFrom<Frame> for ToGuest {
    type Error = ProtocolError;

    fn try_from(frame: Frame) -> Result<Self, ProtocolError> {
        Ok(match frame.kind {
            Kind::Hello => Self::Hello(parse(&frame)?),
            Kind::Start => Self::Start(Box::new(parse(&frame)?)),
            Kind::Stdin => Self::Stdin(frame.payload),
            Kind::StdinEnd => empty(&frame).map(|()| Self::StdinEnd)?,
            Kind::Credit => {
                let (stream, bytes): (Stream, u32) = parse(&frame)?;
                Self::Credit(stream, bytes)
            }
            Kind::Signal => {
                let signal: Signal = parse(&frame)?;
                signal_number(signal.number, frame.kind)?;
                Self::Signal(signal)
            }
            Kind::Resize => Self::Resize(parse::<WindowSize>(&frame)?),
            Kind::Ping => Self::Ping(parse(&frame)?),
            Kind::Shutdown => empty(&frame).map(|()| Self::Shutdown)?,
            Kind::Hold => empty(&frame).map(|()| Self::Hold)?,
            Kind::Renew => Self::Renew(parse(&frame)?),
            other => return Err(ProtocolError::WrongDirection(other)),
        })
    }
}

impl TryFrom<Frame> for ToHost {
    type Error = ProtocolError;

    fn try_from(frame: Frame) -> Result<Self, ProtocolError> {
        Ok(match frame.kind {
            Kind::Ready => {
                let ready = parse(&frame)?;
                survivors(&ready)?;
                Self::Ready(ready)
            }
            Kind::Started => Self::Started(parse(&frame)?),
            Kind::Refused => Self::Refused(parse(&frame)?),
            Kind::Stdout => Self::Stdout(frame.payload),
            Kind::Stderr => Self::Stderr(frame.payload),
            Kind::Exited => {
                let last = parse(&frame)?;
                exited(&last, frame.kind)?;
                Self::Exited(last)
            }
            Kind::StdinCredit => Self::StdinCredit(parse(&frame)?),
            Kind::Pong => Self::Pong(parse(&frame)?),
            Kind::Fault => Self::Fault(parse(&frame)?),
            Kind::Held => Self::Held(parse(&frame)?),
            Kind::Renewed => Self::Renewed(parse(&frame)?),
            other => return Err(ProtocolError::WrongDirection(other)),
        })
    }
}

/// One record of a file worker's output: its length (u32, little endian) and its body.
pub fn encode_record(value: &impl Serialize) -> Vec<u8> {
    let body = postcard::to_allocvec(value).unwrap_or_default();
    let mut record = Vec::with_capacity(4 + body.len());
    // A record is a path and some numbers; paths end at PATH_MAX (4096).
    record.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
    record.extend_from_slice(&body);
    record
}

/// Takes the next record off the front of `buffer`; `None` when more bytes are needed.
pub fn decode_record<T: DeserializeOwned>(buffer: &mut BytesMut) -> Result<Option<T>, ProtocolError> {
    if buffer.len() < 4 {
        return Ok(None);
    }
    let len = (&buffer[..4]).get_u32_le() as usize;
    if len > MAX_PAYLOAD {
        return Err(ProtocolError::MalformedRecord("longer than a frame may be"));
    }
    if buffer.len() < 4 + len {
        return Ok(None);
    }
    buffer.advance(4);
    let body = buffer.split_to(len);
    postcard::from_bytes(&body).map(Some).map_err(|_| ProtocolError::MalformedRecord("does not parse"))
}

/// All records of a finished output.
pub fn read_records<T: DeserializeOwned>(output: &[u8]) -> Result<Vec<T>, ProtocolError> {
    let mut buffer = BytesMut::from(output);
    let mut records = Vec::new();
    while let Some(record) = decode_record(&mut buffer)? {
        records.push(record);
    }
    if buffer.is_empty() { Ok(records) } else { Err(ProtocolError::MalformedRecord("cut short")) }
}
