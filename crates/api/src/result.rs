//! How a command ended, and where its time went.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CauseOfDeath, Origin, Word};

/// The last word on a command.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandResult {
    /// Its exit code; `null` if a signal ended it, or nobody saw its end.
    pub exit_code: Option<u8>,
    /// The signal that ended it.
    pub signal: Option<u8>,
    /// Whether it was killed because its time was up.
    pub timed_out: bool,
    /// Of a run: why its sandbox ended. Of an exec: why the sandbox ended under it, `null` if it lives.
    pub cause: Option<CauseOfDeath>,
    /// What else is known of that end.
    pub detail: Option<String>,
    /// The sandbox in which it ran.
    pub sandbox: String,
    /// Where that came from, if it was made for this command.
    pub origin: Option<Origin>,
    /// Its standard output; empty on a stream.
    pub stdout: Word,
    /// Its standard error; empty on a stream.
    pub stderr: Word,
    /// Whether output was left out because of the limit.
    pub truncated: bool,
    /// How many bytes of output there were in all.
    pub output_bytes: u64,
    /// What it used; `null` if nobody saw its end.
    pub usage: Option<Usage>,
    /// Where the time went.
    pub phases: Phases,
}

/// What a command used, its waited-for children included.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Processor time in user mode.
    pub user_ns: u64,
    /// Processor time in kernel mode.
    pub system_ns: u64,
    /// From start to end, on the guest's clock.
    pub wall_ns: u64,
    /// Largest resident set.
    pub max_rss_kib: u64,
}

/// Time by phase, in nanoseconds; `null` is a phase that was not seen. Together with the residual they sum up to the
/// total.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Phases {
    /// Waiting for a turn.
    pub queue_ns: Option<u64>,
    /// Taking a warm sandbox from a pool.
    pub acquire_ns: Option<u64>,
    /// Building the boundary, until its first process ran.
    pub boot_ns: Option<u64>,
    /// From there until exec worked and the posture was proven.
    pub ready_ns: Option<u64>,
    /// The command, from being asked for until its last byte and exit status.
    pub exec_ns: Option<u64>,
    /// Taking the sandbox down, if the reply waited for it.
    pub stop_ns: Option<u64>,
    /// The part of the total that belongs to no phase.
    pub residual_ns: Option<u64>,
    /// The whole, measured by itself.
    pub total_ns: Option<u64>,
}

impl Phases {
    /// The phases in order, by name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<u64>); 8] {
        [
            ("queue", self.queue_ns),
            ("acquire", self.acquire_ns),
            ("boot", self.boot_ns),
            ("ready", self.ready_ns),
            ("exec", self.exec_ns),
            ("stop", self.stop_ns),
            ("residual", self.residual_ns),
            ("total", self.total_ns),
        ]
    }
}
