//! What is known of a sandbox.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{Phases, Renewal};

/// A sandbox at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sandbox {
    /// What it is called in requests; never given twice.
    pub id: String,
    /// Its name among its owner's; the id if it was given none.
    pub name: String,
    /// Whose it is.
    pub owner: String,
    /// Its name on the host, which it calls itself if it was given no host name; that of a warm one is older than the request for it.
    pub host_name: Option<String>,
    /// What holds it.
    pub backend: String,
    /// Why this backend.
    pub reason: String,
    /// What makes it weaker here than its backend's name promises.
    #[serde(default)]
    pub warning: Option<String>,
    /// How far it is.
    pub state: State,
    /// Why it ended.
    pub cause: Option<CauseOfDeath>,
    /// What else is known of its end.
    pub detail: Option<String>,
    /// When it was asked for: milliseconds since 1970, for display.
    pub created_ms: u64,
    /// When its time will be up, by the present reading of the wall clock. It is kept by another clock, so that
    /// setting the wall clock does not move it.
    pub deadline_ms: Option<u64>,
    /// How long it lives without being used.
    pub idle_timeout_ms: Option<u64>,
    /// When it ended: milliseconds since 1970.
    pub ended_ms: Option<u64>,
    /// The most memory that it used at once, if it has ended and the host could tell.
    pub memory_peak_bytes: Option<u64>,
    /// How many of its processes the kernel killed for want of memory, if it has ended.
    pub out_of_memory_kills: Option<u64>,
    /// What it may use.
    pub limits: Limits,
    /// What its owner wants to remember.
    pub labels: BTreeMap<String, String>,
    /// Whether it was ready before it was asked for.
    pub origin: Option<Origin>,
    /// Where the time went until it was there.
    pub phases: Phases,
    /// Of one that goes on from a snapshot, what shows that it is itself.
    pub renewal: Option<Renewal>,
    /// Whether it was made for one run, and ends with it.
    pub run: bool,
}

/// How far a sandbox is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is being made.
    Creating,
    /// Commands can be run in it.
    Running,
    /// Time stands still in it.
    Paused,
    /// It is being taken down.
    Stopping,
    /// Nothing of it is left but this.
    Ended,
}

impl State {
    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Stopping => "stopping",
            Self::Ended => "ended",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Why a sandbox ended. Every end has exactly one cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CauseOfDeath {
    /// Its command ended by itself.
    Exited,
    /// Somebody asked for it, or the client of its run went away.
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
    /// The daemon was stopped.
    Shutdown,
}

impl CauseOfDeath {
    /// Every cause.
    pub const ALL: [Self; 8] = [
        Self::Exited,
        Self::Killed,
        Self::Timeout,
        Self::Idle,
        Self::OutOfMemory,
        Self::BoundaryCrashed,
        Self::HostPressure,
        Self::Shutdown,
    ];

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exited => "exited",
            Self::Killed => "killed",
            Self::Timeout => "timeout",
            Self::Idle => "idle",
            Self::OutOfMemory => "out_of_memory",
            Self::BoundaryCrashed => "boundary_crashed",
            Self::HostPressure => "host_pressure",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for CauseOfDeath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Where a sandbox comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// It was ready before it was asked for.
    Warm,
    /// It was booted for the request.
    Cold,
    /// It goes on from a snapshot.
    Restored,
}

/// What a sandbox may use, as on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Limits {
    /// Memory: `512M`, or `unlimited`.
    pub memory: String,
    /// Processors: `1.5`, or `unlimited`.
    pub cpus: String,
    /// Processes and threads: `256`, or `unlimited`.
    pub pids: String,
    /// Size of each writable place.
    pub disk: String,
}

/// Sandboxes, the newest last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxList {
    /// They.
    pub sandboxes: Vec<Sandbox>,
}

/// What a sandbox uses now, as the host counts it; `null` is what the host cannot tell.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxUsage {
    /// Memory now.
    pub memory_bytes: Option<u64>,
    /// Most memory at once.
    pub memory_peak_bytes: Option<u64>,
    /// Processor time since it was made, in nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Processes and threads.
    pub pids: Option<u64>,
}

/// A sandbox's use beside its limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SandboxStats {
    /// Which sandbox.
    pub id: String,
    /// What it uses.
    pub usage: SandboxUsage,
    /// What it may use.
    pub limits: Limits,
    /// Commands that run.
    pub processes: u64,
}

/// All controls of a live sandbox, as the host reads them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Posture {
    /// Whether every one of them holds; without controls nothing is proven.
    pub holds: bool,
    /// They.
    pub controls: Vec<Control>,
}

/// One control, read back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Control {
    /// Stable name: `capabilities.effective`.
    pub name: String,
    /// What it must be.
    pub expected: String,
    /// What the host reads.
    pub actual: String,
    /// Whether they agree.
    pub held: bool,
}

/// What a user who asks over the socket is called as an owner.
#[must_use]
pub fn owner_of(uid: u32) -> String {
    format!("uid:{uid}")
}
