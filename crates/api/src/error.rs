//! What a client is told when something fails.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Sandbox;

/// The body of every reply that is an error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ErrorBody {
    /// It.
    pub error: Error,
}

/// What failed, on what, why, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Error {
    /// For decisions.
    pub kind: ErrorKind,
    /// What was being done.
    pub what: String,
    /// On what; empty where the sentence needs none.
    pub subject: String,
    /// Why it failed.
    pub why: String,
    /// The way out.
    pub hint: Option<String>,
    /// The request, as the daemon's log names it.
    pub request_id: String,
    /// Of [`ErrorKind::Gone`]: the sandbox that was, with its cause of death.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<Box<Sandbox>>,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.what)?;
        if !self.subject.is_empty() {
            write!(out, ": {}", self.subject)?;
        }
        write!(out, ": {}", self.why)
    }
}

impl std::error::Error for Error {}

/// Kinds of failure, by who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// The request itself is wrong.
    Usage,
    /// The backend is not available on this host.
    Unavailable,
    /// The backend cannot do this anywhere.
    NotSupported,
    /// A control cannot be enforced here, so the sandbox was not started.
    ControlRefused,
    /// The boundary did not come up.
    Boot,
    /// What the sandbox was to run once failed, so that there is none.
    WarmUp,
    /// The owner has no such sandbox.
    NoSuchSandbox,
    /// The owner has a sandbox of that name.
    NameTaken,
    /// The command does not exist in the sandbox.
    CommandNotFound,
    /// The command exists and cannot be executed.
    CommandNotExecutable,
    /// The command could not be started for another reason.
    CommandRefused,
    /// What was called failed by itself: a trap, or memory that it may not have.
    Trapped,
    /// A file operation inside the sandbox failed.
    File,
    /// The sandbox ended while it was still needed.
    SandboxGone,
    /// The guest broke the protocol; its sandbox was destroyed.
    ProtocolBroken,
    /// Time was up.
    Timeout,
    /// Something may be left on the host.
    Cleanup,
    /// The host refused something that it should not refuse.
    Host,
    /// A fault of the daemon.
    Internal,

    /// There is no such route, process or file.
    NotFound,
    /// The route does not know this method.
    MethodNotAllowed,
    /// The sandbox has ended.
    Gone,
    /// The sandbox is in a state in which this cannot be done.
    Conflict,
    /// The request is larger than it may be.
    TooLarge,
    /// The body has another Content-Type than the route takes.
    WrongType,
    /// The token is missing or wrong.
    Unauthorized,
    /// This caller may not do this, or not from here.
    Forbidden,
    /// A limit is reached; trying again later may help.
    Busy,
    /// The daemon is being stopped.
    Stopping,
    /// What must be written down cannot be: the disk is full or failing.
    StoreFailed,
    /// A kind that this program does not know yet.
    #[serde(other)]
    Other,
}
