//! What host and guest agent say to each other over one duplex byte stream.
//!
//! The crate does no I/O: bytes go into a [`Decoder`] and messages come out; messages go into
//! [`encode`] and bytes come out. Both ends share every limit, so that neither can make the
//! other hold more than it agreed to.
//!
//! ```text
//! host                                   guest (PID 1)
//!   Hello{protocol, build, token} ──────▶
//!                                 ◀────── Ready{protocol, build, token, survivors, …}
//!   Start{channel, task}          ──────▶ fork + exec, or a file worker
//!                                 ◀────── Started | Refused
//!   Stdin, StdinEnd, Signal, …    ──────▶
//!                                 ◀────── Stdout, Stderr … never more than the window allows
//!   Credit                        ──────▶
//!                                 ◀────── Exited: the last frame of that channel, always
//! ```
//!
//! A guest that was given a *door* outlives its host: it takes another stream by the door, hears the same
//! token in its `Hello`, and tells in `Ready` which commands survived. Their channels go on where the
//! lost host had them, with new windows.
//!
//! Architecture invariants:
//! - The host alone opens channels, and never uses a number twice, nor one that a host before it used.
//! - A frame that breaks a rule is an error with no way to go on: the host destroys the sandbox.
//! - Output is bounded by a window of its own for each channel and stream, so that one flooding
//!   process delays nobody but itself.

#![forbid(unsafe_code)]

mod codec;
mod files;
mod frame;
mod message;
mod socket;

pub use codec::{Encodable, decode_record, encode, encode_record, read_records};
pub use files::{FileError, FileInfo, FileKind, FileRequest};
pub use frame::{Decoder, Direction, Frame, HEADER_LEN, Kind, MAX_PAYLOAD, ProtocolError};
pub use message::{
    Exec, Exited, Hello, Mount, PROTOCOL_VERSION, Ready, Refused, Signal, Stage, Start, Status, StdinMode,
    Stream, Survivor, Task, ToGuest, ToHost, Token, Usage, UserIds, WindowSize,
};
pub use socket::{Accept, Passing};

/// Bytes of one output stream that may be on their way without the host having taken them.
///
/// One MiB keeps a stream of 1 GB/s busy over the millisecond that a busy host may need to answer.
pub const OUTPUT_WINDOW: u32 = 1 << 20;

/// Bytes of one process's stdin that may be on their way without the process having taken them.
pub const STDIN_WINDOW: u32 = 1 << 20;

/// Channels that may be open at once on one stream; more are refused with `EAGAIN`. A guest tells of no
/// more survivors than that either, so that [`Ready`] always fits a frame.
pub const MAX_CHANNELS: usize = 1024;

/// Commands of which the guest remembers the last word although it was said: those that ended last. The
/// host may have been lost before it took it, and the next one is told again.
pub const MAX_LAST_WORDS: usize = 64;
