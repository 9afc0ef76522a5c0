//! The frame: a header of nine bytes and a payload that is capped.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Largest payload in bytes. A header that announces more is refused before anything is buffered.
pub const MAX_PAYLOAD: usize = 256 * 1024;

/// Length of a header: payload length (u32, little endian), kind (u8), channel (u32, little endian).
pub const HEADER_LEN: usize = 9;

/// Who a frame is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the host to the guest agent.
    ToGuest,
    /// From the guest agent to the host.
    ToHost,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $value:literal => $direction:ident,)*) => {
        /// What a frame carries.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $value,)* }

        impl Kind {
            /// Every kind, for tests and fuzzing.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            fn from_byte(byte: u8) -> Option<Self> {
                match byte { $($value => Some(Self::$name),)* _ => None }
            }

            /// Who may send it to whom.
            pub fn direction(self) -> Direction {
                match self { $(Self::$name => Direction::$direction,)* }
            }
        }
    };
}

kinds! {
    /// First frame of the host.
    Hello = 1 => ToGuest,
    /// Opens a channel.
    Start = 2 => ToGuest,
    /// Raw bytes for the process's stdin.
    Stdin = 3 => ToGuest,
    /// No more stdin.
    StdinEnd = 4 => ToGuest,
    /// The host has taken output: more may be sent.
    Credit = 5 => ToGuest,
    /// A signal for the process or its group.
    Signal = 6 => ToGuest,
    /// The terminal has a new size.
    Resize = 7 => ToGuest,
    /// Are you there?
    Ping = 8 => ToGuest,
    /// Kill everything and exit.
    Shutdown = 9 => ToGuest,
    /// Hold all commands, and wait to be renewed.
    Hold = 10 => ToGuest,
    /// What makes the machine itself; then let all commands go on.
    Renew = 11 => ToGuest,
    /// First frame of the guest.
    Ready = 65 => ToHost,
    /// The channel's process runs.
    Started = 66 => ToHost,
    /// The channel's process could not be started; the channel is closed.
    Refused = 67 => ToHost,
    /// Raw bytes of the process's stdout, or of its terminal.
    Stdout = 68 => ToHost,
    /// Raw bytes of the process's stderr.
    Stderr = 69 => ToHost,
    /// The process ended; the channel is closed.
    Exited = 70 => ToHost,
    /// The process has taken stdin: more may be sent.
    StdinCredit = 71 => ToHost,
    /// Here I am.
    Pong = 72 => ToHost,
    /// The guest cannot go on, and says why.
    Fault = 73 => ToHost,
    /// Everything is held, or cannot be.
    Held = 74 => ToHost,
    /// The machine is itself, which this shows.
    Renewed = 75 => ToHost,
}

/// A frame that has passed the checks of its header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it carries.
    pub kind: Kind,
    /// Whose it is; 0 for the stream as a whole.
    pub channel: u32,
    /// The payload, at most [`MAX_PAYLOAD`] bytes.
    pub payload: Bytes,
}

/// How bytes failed to be a message. There is no resynchronising: the stream is dead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The header announces more than the cap.
    #[error("frame of {len} bytes exceeds the cap of {MAX_PAYLOAD}")]
    TooLong {
        /// What was announced, or asked to be encoded.
        len: usize,
    },
    /// The kind is not one that we know.
    #[error("unknown frame kind {0}")]
    UnknownKind(u8),
    /// The kind exists, but the other side is the one that sends it.
    #[error("frame kind {0:?} came from the wrong side")]
    WrongDirection(Kind),
    /// The payload is not what its kind promises.
    #[error("malformed {kind:?} frame: {reason}")]
    Malformed {
        /// Kind of the frame.
        kind: Kind,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A record in a file worker's output is not what it should be.
    #[error("malformed record: {0}")]
    MalformedRecord(&'static str),
}

/// Turns bytes into frames, holding at most one frame's worth of unread bytes beyond what was pushed.
#[derive(Debug)]
pub struct Decoder {
    direction: Direction,
    buffer: BytesMut,
}

impl Decoder {
    /// A decoder for frames that travel in `direction`.
    #[must_use]
    pub fn new(direction: Direction) -> Self {
        Self { direction, buffer: BytesMut::new() }
    }

    /// Adds bytes that were read from the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The buffer itself, for readers that can read straight into its spare room.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Whether the stream could end here without cutting a frame in two.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next whole frame, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        if self.buffer.len() < HEADER_LEN {
            return Ok(None);
        }
        let (len, kind, channel) = self.read_header()?;
        if self.buffer.len() < HEADER_LEN + len {
            // Room for the whole frame at once: a large payload is then read without growing twice.
            self.buffer.reserve(HEADER_LEN + len - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(HEADER_LEN);
        Ok(Some(Frame { kind, channel, payload: self.buffer.split_to(len).freeze() }))
    }

    fn read_header(&self) -> Result<(usize, Kind, u32), ProtocolError> {
        let mut header = &self.buffer[..HEADER_LEN];
        let len = header.get_u32_le() as usize;
        let byte = header.get_u8();
        let channel = header.get_u32_le();
        if len > MAX_PAYLOAD {
            return Err(ProtocolError::TooLong { len });
        }
        let kind = Kind::from_byte(byte).ok_or(ProtocolError::UnknownKind(byte))?;
        if kind.direction() != self.direction {
            return Err(ProtocolError::WrongDirection(kind));
        }
        Ok((len, kind, channel))
    }
}

/// Writes a header for a payload that the caller appends himself (raw output, without a copy).
pub(crate) fn put_header(
    kind: Kind,
    channel: u32,
    len: usize,
    out: &mut BytesMut,
) -> Result<(), ProtocolError> {
    let announced =
        u32::try_from(len).ok().filter(|_| len <= MAX_PAYLOAD).ok_or(ProtocolError::TooLong { len })?;
    out.reserve(HEADER_LEN + len);
    out.put_u32_le(announced);
    out.put_u8(kind as u8);
    out.put_u32_le(channel);
    Ok(())
}
