//! The words of the daemon's API, version 1: what clients send and what they get back. Types only, no I/O.
//!
//! # Streams
//!
//! Three routes are WebSockets: `/v1/runs/stream`, `/v1/sandboxes/{id}/exec/stream` and
//! `/v1/sandboxes/{id}/processes/{pid}/stream`, and on each of them one command is heard.
//!
//! ```text
//! client                                     server
//!   RunRequest or CommandRequest (text) ─────▶         not when a process is re-attached
//!                                     ◀───── {"started":{…}}              (text)
//!   0x00 + stdin                (binary) ────▶
//!                                     ◀───── 0x01 + stdout, 0x02 + stderr (binary)
//!   {"signal":…} {"resize":…} {"stdin_end":true} ▶
//!                                     ◀───── {"notice":"…"}               (text)
//!                                     ◀───── {"exited":{CommandResult}}, or {"error":{…}}; then it closes
//! ```
//!
//! - A binary message is one byte that names the stream ([`StreamId`]) and then data, unchanged. Text messages are
//!   [`ClientMessage`] and [`ServerMessage`].
//! - The output of one stream is in order. All output comes before `exited`, whose own output is empty.
//! - There is no credit: a client that does not read stops the command once all buffers on the way are full, and
//!   nobody else. Output beyond the request's `output_limit` is counted, and not sent.
//! - A client that closes or vanishes ends its command; the sandbox of a run goes with it. Whoever is re-attached to a
//!   background process only leaves it.

#![forbid(unsafe_code)]

mod call;
mod error;
mod event;
mod file;
mod host;
mod object;
mod pool;
mod process;
mod request;
mod result;
mod sandbox;
mod snapshot;
mod stream;
mod word;

pub use call::{CallRequest, CallResult, FunctionCall};
pub use error::{Error, ErrorBody, ErrorKind};
pub use event::{Event, EventKind};
pub use file::{FileInfo, FileKind, MakeDirRequest, RenameRequest};
pub use host::{Backend, Health, HealthStatus, Info, ShutdownMode, ShutdownRequest};
pub use pool::{DrainReply, DrainRequest, Pool, PoolCounts, PoolKey, PoolRequest, PoolStats};
pub use process::{Following, ProcessInfo, ProcessState, SignalRequest};
pub use request::{
    CommandRequest, Mount, RunRequest, SandboxRequest, StdinMode, TerminalSize, TimeoutRequest, UnixSocket,
};
pub use result::{CommandResult, Phases, Usage};
pub use sandbox::{
    CauseOfDeath, Control, Limits, Origin, Posture, Sandbox, SandboxList, SandboxStats, SandboxUsage, State,
    owner_of,
};
pub use snapshot::{ForkRequest, Renewal, RestoreRequest, Snapshot, SnapshotList, SnapshotRequest};
pub use stream::{ClientMessage, ServerMessage, Started, StreamId};
pub use word::Word;
