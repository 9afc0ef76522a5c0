//! The boundary of Apple's `container`: a Linux virtual machine for each container, by the program's command line.
//!
//! ```text
//! AppleBackend::boot
//!   plan: pure data ──▶ container create ──▶ container start      (a run of the program each)
//!   handshake with the agent ◀──── container exec --interactive ──── agent pass ──── guest agent = PID 1
//!   posture: what the program says it did, and what the guest's kernel says; else refuse
//! AppleBoundary::stop ──▶ container delete --force, wait until it is gone
//! ```
//!
//! Architecture invariants:
//! - What is run, is decided by [`plan`] and `argv`, pure functions; no word of a user's can be an option.
//! - The first process ends with its one caller, or if nobody calls, and the container is removed with it: whoever kills
//!   us ends it.
//! - Nothing here reads `/proc`, for there is none on the only host that has the program.

mod agent;
mod argv;
mod backend;
mod boundary;
mod cli;
mod holder;
pub mod plan;
mod posture;
mod probe;
mod reaper;
mod stream;
mod version;
mod watch;

pub use backend::AppleBackend;
