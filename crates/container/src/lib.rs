//! The boundary of a container engine: Docker and Podman, by the API on their sockets, and Apple's `container`, by its
//! command line ([`apple`]).
//!
//! ```text
//! ContainerBackend::boot
//!   plan: pure data   ──▶ create ──▶ attach, events ──▶ start       (one request each)
//!   handshake with the agent ◀──── attached stdio ──── guest agent = PID 1
//!   posture: what the engine says it did, and what the host's /proc says it is; else refuse
//! ContainerBoundary::stop ──▶ remove by id, wait until it is gone
//! ```
//!
//! The agent is in the image before the container is made: an engine puts nothing into a container whose root cannot be
//! written to. For the `host` image that is an image of ours, some folders and the agent, onto which the host's folders
//! are mounted.
//!
//! Architecture invariants:
//! - What a container is, is decided by [`plan`], a pure function, and nowhere else.
//! - Only containers with our label are ever touched, and of those none whose owner may be alive.
//! - The container ends with its stdin, and stdin with us: whoever kills us ends it.

mod address;
mod api;
pub mod apple;
mod backend;
mod boundary;
mod context;
mod files;
mod image;
mod inside;
mod limits;
mod owner;
pub mod plan;
mod posture;
mod reaper;
mod scratch;
mod service;
mod stream;
mod trouble;
mod watch;

pub use address::{EngineSettings, HostSystem};
pub use apple::AppleBackend;
pub use backend::ContainerBackend;
