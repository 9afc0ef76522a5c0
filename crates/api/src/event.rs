//! What happens to sandboxes, as it happens.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{CauseOfDeath, State};

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number, one more than that of the event before; of all owners, so that one owner sees gaps.
    pub sequence: u64,
    /// When: milliseconds since 1970.
    pub time_ms: u64,
    /// To which sandbox.
    pub sandbox: String,
    /// Its name.
    pub name: String,
    /// What.
    pub kind: EventKind,
    /// How far the sandbox is now.
    pub state: State,
    /// Of an end: why.
    pub cause: Option<CauseOfDeath>,
    /// Of a command: its PID in the sandbox.
    pub pid: Option<u32>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// The sandbox changed its state.
    State,
    /// Its deadline or idle time was changed.
    Timeout,
    /// A command started.
    Started,
    /// A command ended.
    Exited,
    /// It was not made after all.
    Failed,
}
