//! The client's side of the daemon's API, version 1.
//!
//! ```text
//! Client ──▶ Connection ──▶ hyper: one request, one reply          typed calls, Download, Upload, EventStream
//!                     └───▶ tokio-tungstenite: one command         CommandStream, CommandControl
//! ```
//!
//! Architecture invariants:
//! - A connection carries one request. There is no pool of connections, and so no stale one.
//! - Nothing is ever sent twice: whether it was begun, only the caller can judge (see [`Error::has_not_begun`]).
//! - Dropping a call, a download or a stream closes its connection, by which the daemon knows that its client is gone.
//! - Nothing here reads the environment: the caller says where the daemon is.

#![forbid(unsafe_code)]

mod address;
mod body;
mod client;
mod connection;
mod error;
mod events;
mod exchange;
mod files;
mod handshake;
mod path;
mod pools;
mod sandboxes;
mod snapshots;
mod stream;

pub use address::Address;
pub use body::{Download, Upload};
pub use client::Client;
pub use connection::Connection;
pub use error::{Error, Result};
pub use events::EventStream;
pub use stream::{CommandControl, CommandEvent, CommandStream};
