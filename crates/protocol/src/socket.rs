//! Connections to a socket of the sandbox.

use serde::{Deserialize, Serialize};

/// Which connection to accept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept {
    /// Absolute path of the socket. The first order for a path makes it, and the folder that it is in, and replaces
    /// what is there; the guest agent listens until it ends.
    pub path: Vec<u8>,
}

/// How far an accepted connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Passing {
    /// A client has connected.
    Accepted,
    /// The client has said all that it will: so many bytes in all.
    Said(u64),
}
