//! Why a run ends without figures, and with which exit code.

use std::fmt;

use agentkernel_core::{Error, ErrorKind};
use serde::Serialize;

/// What a target did that makes its figures worthless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Cause {
    /// It ended with another exit code than the work has.
    WrongExit {
        /// In words: "exit code 1", "signal 9".
        ended: String,
        /// What it complained of.
        complaint: String,
    },
    /// It did not do what it was told, and lives.
    Declined {
        /// Why, in its own words.
        why: String,
    },
    /// It ended well, and said nothing.
    EmptyOutput,
    /// It ended well, and said something else.
    WrongOutput {
        /// The digest of what it should have said.
        expected_sha256: String,
        /// Of what it said.
        actual_sha256: String,
        /// The beginning of that.
        said: String,
    },
    /// It did not come to its end in time.
    TimedOut {
        /// What was waited for.
        awaited: String,
        /// How long. Milliseconds.
        deadline_ms: u64,
    },
    /// Something of it was still there after its end.
    LeftBehind {
        /// What.
        what: String,
    },
    /// What it said of its own time or memory cannot be.
    Incredible {
        /// Why not.
        why: String,
    },
    /// A control that the bundle asks for is not in force.
    NotIsolated {
        /// Which controls, what was expected and what was found.
        broken: Vec<String>,
    },
}

impl fmt::Display for Cause {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongExit { ended, complaint } if complaint.is_empty() => {
                write!(out, "it ended with {ended}")
            }
            Self::WrongExit { ended, complaint } => write!(out, "it ended with {ended}: {complaint}"),
            Self::Declined { why } => write!(out, "it declined: {why}"),
            Self::EmptyOutput => out.write_str("it ended well and said nothing"),
            Self::WrongOutput { expected_sha256, actual_sha256, said } => {
                write!(out, "its output is wrong (sha256 {actual_sha256}, not {expected_sha256}): {said:?}")
            }
            Self::TimedOut { awaited, deadline_ms } => {
                write!(out, "it did not {awaited} within {deadline_ms} ms")
            }
            Self::LeftBehind { what } => write!(out, "it left something behind: {what}"),
            Self::Incredible { why } => write!(out, "its figure cannot be: {why}"),
            Self::NotIsolated { broken } => write!(out, "it is not isolated: {}", broken.join("; ")),
        }
    }
}

/// A run that ends early.
#[derive(Debug, Clone)]
pub enum Failure {
    /// A target cannot be believed.
    Refused(Refusal),
    /// Something else went wrong: usage, a missing program, the host.
    Error(Error),
    /// Somebody wanted it to end.
    Interrupted,
}

/// Who was refused, doing what, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The target's name.
    pub target: String,
    /// The metric's key, or "proof".
    pub while_measuring: String,
    /// Why.
    pub cause: Cause,
}

/// Exit code of a run whose samples cannot be believed.
pub const REFUSED: u8 = 3;
/// Of wrong usage.
pub const USAGE: u8 = 2;
/// Of everything else that is not a target's doing.
pub const OURS: u8 = 125;
/// Of a run that was interrupted: 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;

impl Failure {
    /// How the program ends.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => REFUSED,
            Self::Error(error) if error.kind == ErrorKind::Usage => USAGE,
            Self::Error(_) => OURS,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// The way out, if there is a known one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Refused(refusal) if refusal.while_measuring == "proof" => {
                Some("nothing of it was timed: it has to be right first; try the same by hand")
            }
            Self::Refused(_) => {
                Some("a wrong sample ends the run: results.json has what was measured before it")
            }
            Self::Error(error) => error.hint.as_deref(),
            Self::Interrupted => Some("what was finished before is kept"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(Refusal { target, while_measuring, cause }) => {
                write!(out, "refused: {target}: {while_measuring}: {cause}")
            }
            Self::Error(error) => write!(out, "{error}"),
            Self::Interrupted => out.write_str("interrupted"),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

/// A failure of the host, as an error with its subject.
pub fn host(what: &str, subject: impl fmt::Display, why: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Host, what, why).on(subject)
}
