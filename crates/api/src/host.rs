//! The daemon itself.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::object::objects;

objects!(ShutdownRequest);

/// Whether the daemon takes requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// In one word.
    pub status: HealthStatus,
    /// Sandboxes that live, of all owners.
    pub sandboxes: u64,
    /// Requests that wait for their turn.
    pub queued: u64,
    /// How long it has been running.
    pub uptime_ms: u64,
}

/// Whether the daemon takes requests, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// It does.
    Ok,
    /// It does, but what happens cannot be written down; new sandboxes are refused.
    StoreFailing,
    /// It is being stopped.
    Stopping,
}

/// What the daemon is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// Version of the program.
    pub version: String,
    /// Version of the API: `v1`.
    pub api: String,
    /// Random, and new at each start of the daemon.
    pub instance: String,
    /// PID of the daemon.
    pub pid: u32,
    /// Backends of this build, the strongest boundary first.
    pub backends: Vec<Backend>,
}

/// A backend of the daemon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Backend {
    /// The word that names it.
    pub kind: String,
    /// One line for a person.
    pub description: String,
    /// Whether its sandboxes can be paused.
    pub pause: bool,
    /// Whether its sandboxes outlive the daemon.
    pub adopt: bool,
    /// Whether memory and processors of a live sandbox can be changed.
    pub resize: bool,
    /// Whether a socket of the host can be served inside.
    pub host_socket: bool,
    /// Whether sandboxes in use can be kept as snapshots.
    pub snapshots: bool,
    /// Whether a command can be run in a sandbox once before anybody gets it.
    pub warm_up: bool,
}

/// How the daemon is to be stopped. In either way nothing is left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct ShutdownRequest {
    /// In which way.
    #[serde(default)]
    pub mode: ShutdownMode,
}

/// How the daemon is stopped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShutdownMode {
    /// New requests are refused, those under way may end in their time.
    #[default]
    Drain,
    /// Everything is killed at once.
    Kill,
}
