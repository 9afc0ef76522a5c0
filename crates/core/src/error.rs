//! One error for everything that can go wrong outside the user's own command.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, on what, why, and what to do about it.
///
/// Printed as `what: subject: why`; the hint is shown apart, last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// For decisions: exit codes, status codes, fallbacks.
    pub kind: ErrorKind,
    /// What was being done: "start the sandbox".
    pub what: String,
    /// On what: a path, a name, a control. Empty where the sentence needs none.
    pub subject: String,
    /// Why it failed, in the words of whoever refused.
    pub why: String,
    /// The way out, as something that the user can type or change.
    pub hint: Option<String>,
}

/// Kinds of failure, by who must act.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ErrorKind {
    /// The request itself is wrong.
    Usage,
    /// The backend is not available on this host.
    Unavailable,
    /// The backend cannot do this anywhere, as its capabilities say.
    NotSupported,
    /// A control cannot be enforced here, so the sandbox was not started.
    ControlRefused,
    /// The boundary did not come up.
    Boot,
    /// What the sandbox was to run once before anybody gets it failed, so that there is none.
    WarmUp,
    /// A sandbox of that name does not exist.
    NoSuchSandbox,
    /// A snapshot of that name does not exist.
    NoSuchSnapshot,
    /// A sandbox, or a snapshot, of that name exists already.
    NameTaken,
    /// The command does not exist in the sandbox.
    CommandNotFound,
    /// The command exists and cannot be executed.
    CommandNotExecutable,
    /// The command could not be started for another reason: working directory, user, resources.
    CommandRefused,
    /// What was called in the sandbox failed by itself: a trap, memory that it may not have.
    Trapped,
    /// A file operation inside the sandbox failed.
    File,
    /// The sandbox ended while it was still needed.
    SandboxGone,
    /// The guest broke the protocol; its sandbox was destroyed.
    ProtocolBroken,
    /// Time was up.
    Timeout,
    /// Clean-up did not finish: something may be left on the host.
    Cleanup,
    /// The host refused something that it should not refuse.
    Host,
    /// A fault of ours.
    Internal,
}

impl Error {
    /// An error without subject and hint.
    pub fn new(kind: ErrorKind, what: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { kind, what: what.into(), subject: String::new(), why: why.to_string(), hint: None }
    }

    /// Names the thing that it happened to.
    #[must_use]
    pub fn on(mut self, subject: impl fmt::Display) -> Self {
        self.subject = subject.to_string();
        self
    }

    /// Adds the way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
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
