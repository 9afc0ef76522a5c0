//! The host end of the one byte stream to the guest agent: whatever starts the agent behind its
//! boundary and hands over a stream has exec, files and processes from here.
//!
//! ```text
//! callers ── Process, Files, ping ──▶ Channel table ◀── reader ◀──┐
//!                │                                                ├── stream ── guest agent
//!                └──── frames ──▶ Outbox ──▶ writer ──────────────┘
//! ```
//!
//! [`connect`] greets the guest and starts one task, the driver: it reads frames and puts what they
//! carry where a caller finds it, and it writes what callers left in the outbox. [`Link`] is the
//! handle; the stream is closed when the last handle, process or file is dropped. [`reconnect`] does the
//! same with a guest that has outlived its last host, and gets that host's commands back.
//! [`LinkedSandbox`] is a link together with the boundary that it leads through.
//!
//! Architecture invariants:
//! - The driver never waits for a caller, and a caller never for another one: what a guest may send is
//!   bounded by windows, so that putting it down needs no room to be made first.
//! - What the guest says is never believed: a frame that breaks a rule closes the link, and everything
//!   that waits fails at once. What it says in words is made safe to print.
//! - Every wait ends: by an answer, by a deadline, or by the end of the link, which says why.
//! - Locks are taken in the order table, channel, outbox, and never held across an await.

mod channel;
mod closed;
mod connect;
mod driver;
mod exec;
mod files;
mod guest;
mod handing_out;
mod hold;
mod link;
mod lock;
mod outbox;
mod output;
mod process;
mod rehearsal;
mod sandbox;
mod socket;
mod stdin;
mod table;
mod text;

pub use agentkernel_protocol::{Mount, Token};
pub use closed::{CloseReason, Closed};
pub use connect::{HelloOptions, ReadyInfo, connect, reconnect};
pub use exec::ExecDefaults;
pub use files::LinkedFiles;
pub use guest::{GUEST, GUEST_BUILD, GUEST_SHA256};
pub use hold::{renew, still_held};
pub use link::Link;
pub use sandbox::LinkedSandbox;
