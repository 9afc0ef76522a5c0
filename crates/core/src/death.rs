//! Why a sandbox ended.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why a sandbox ended. Every end has exactly one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseOfDeath {
    /// Its command ended by itself.
    Exited,
    /// Somebody asked for it: a signal, Ctrl-C, `rm`.
    Killed,
    /// Its time was up.
    Timeout,
    /// Nobody used it for too long.
    Idle,
    /// It used more memory than it was given.
    OutOfMemory,
    /// The boundary or the guest agent failed.
    BoundaryCrashed,
    /// The host ran short.
    HostPressure,
    /// agentkernel itself was stopped.
    Shutdown,
}

impl fmt::Display for CauseOfDeath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Exited => "exited",
            Self::Killed => "killed",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::OutOfMemory => "out_of_memory",
            Self::BoundaryCrashed => "boundary_crashed",
            Self::HostPressure => "host_pressure",
            Self::Shutdown => "shutdown",
        })
    }
}
