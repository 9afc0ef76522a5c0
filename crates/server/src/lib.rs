//! The daemon: one process that owns the sandboxes of many clients.
//!
//! ```text
//! unix socket, TCP ─▶ http ─▶ Daemon ─▶ state: the owner, one task    what lives, whose it is, every limit
//!                      │                 keeper, one task a sandbox   holds the box, ends it with one cause
//!                      ▼                 store: one thread            what survives
//!                   command ──visit──▶ sandbox ◀── pool or boot
//! ```
//!
//! Architecture invariants:
//! - The map of sandboxes belongs to one task; nobody locks it, and nothing is awaited while it is looked at.
//! - A sandbox belongs to its keeper. Whoever uses it visits it, and leaves when its end is ordered.
//! - Every wait gives way: to the end of the sandbox, to a deadline, or to the client's leaving.
//! - Nothing is read ahead of whoever is to take it; every buffer has a limit in [`Limits`].
//! - Status codes are in `status.rs`, and each route is written once, in `http/router.rs`.
//! - Deliberately absent: any retry of a command, any way from one owner to another's sandbox, any name of a backend.

#![forbid(unsafe_code)]

mod adopt;
mod clock;
mod command;
mod convert;
mod daemon;
mod failure;
mod fate;
mod guest;
mod home;
mod http;
mod keeper;
mod log;
mod make;
mod metrics;
mod rush;
mod serve;
mod settings;
mod snapshots;
mod state;
mod status;
mod store;
mod tokens;
mod traces;

pub use http::openapi;
pub use serve::{Serving, serve};
pub use settings::{Limits, ServeSettings};
pub use traces::Traces;
