//! The embedded boundary: a hardened Linux container, with no daemon and no other program.
//!
//! ```text
//! host side (async)           zygote (one thread)         supervisor (one per sandbox)
//!   OciBackend::boot
//!     plan: pure data   ──▶   fork  ───────────────────▶  group, limits read back, container
//!     handshake with the agent ◀───────── agent's stream ──────────── guest agent = PID 1
//!     posture: read back, else refuse
//!   OciBoundary::stop   ──────────────── control ──────▶  kill, remove, report
//! ```
//!
//! Architecture invariants:
//! - What is to be done is decided by [`bundle::plan`], a pure function, and nowhere else.
//! - Nothing of a sandbox is on the host's file system but its locked record; its root is in a mount namespace
//!   of its own and vanishes with it.
//! - A control that does not read back as planned means that the sandbox does not start.
//! - Only the zygote and its forks have one thread, and only they clone without executing.

mod adopt;
mod backend;
mod beside;
mod boundary;
pub mod bundle;
mod capability;
mod container;
pub mod engine;
mod facts;
mod idblock;
mod lock;
mod paths;
pub mod plan;
mod posture;
mod random;
mod record;
mod supervisor;
mod sys;
mod zygote;

pub use agentkernel_cgroup::Hierarchy;
use agentkernel_cgroup::{kernel_file, mountinfo};
pub use agentkernel_hardening::seccomp;
pub use backend::OciBackend;
pub use facts::HostFacts;
pub use idblock::IdBlock;
pub use paths::RuntimeDir;
pub use random::random_name;
pub use record::{Init, Record, find, live};
pub use zygote::{Zygote, serve};
