//! Commands that run in a sandbox.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::object::objects;
use crate::{CommandResult, Word};

objects!(SignalRequest);

/// A command in a sandbox, while it runs and for a while after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProcessInfo {
    /// Its PID inside the sandbox, by which requests call it. Once it has ended, another may get it.
    pub pid: u32,
    /// Program and arguments; empty if the daemon was restarted meanwhile.
    pub argv: Vec<Word>,
    /// Whether it runs.
    pub state: ProcessState,
    /// Whether it goes on without a client.
    pub background: bool,
    /// When it started: milliseconds since 1970.
    pub started_ms: u64,
    /// How it ended. Its output is in the log.
    pub result: Option<CommandResult>,
}

/// Whether a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    /// It does.
    Running,
    /// It does not any more.
    Exited,
    /// Nobody knows: the sandbox or the link to it was lost first.
    Lost,
}

/// A signal for a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct SignalRequest {
    /// 1 to 64.
    #[schema(minimum = 1, maximum = 64)]
    pub number: u8,
    /// To its whole process group, and not to its first process alone.
    #[serde(default)]
    pub group: bool,
}

/// What a client that reads a log wants of it, as a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Following {
    /// Go on with what is written from now on.
    pub follow: bool,
}
