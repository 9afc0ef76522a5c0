//! The guest agent, as bytes: static, for the same processor as this program.

/// The guest agent's program. Whoever boots a sandbox puts it there and executes it.
pub const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/agentkernel-guest"));

/// SHA-256 of [`GUEST`], which takes a millisecond to be told anew.
pub const GUEST_SHA256: &[u8; 32] = include_bytes!(concat!(env!("OUT_DIR"), "/agentkernel-guest.sha256"));

/// Which build [`GUEST`] is: a hash of the sources of both ends of the stream. A guest
/// and the host that boots it refuse to talk to another.
pub const GUEST_BUILD: &str = env!("AGENTKERNEL_GUEST_BUILD");
