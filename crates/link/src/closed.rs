//! Why a link is closed.

use agentkernel_core::{CauseOfDeath, Ended, Error, ErrorKind};

/// Who closed a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// This side let go of it.
    Released,
    /// The stream came to its end or failed.
    Ended,
    /// The guest agent said that it cannot go on.
    GaveUp,
    /// The guest broke the protocol. Nothing that it said is to be relied on, and its sandbox must go.
    Broken,
}

/// Why a link is closed, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Who closed it.
    pub reason: CloseReason,
    /// Why, for a person.
    pub why: String,
    /// What the boundary said about it, if it said anything.
    pub cause: Option<CauseOfDeath>,
}

impl Closed {
    pub(crate) fn new(reason: CloseReason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into(), cause: None }
    }

    pub(crate) fn broken(why: impl Into<String>) -> Self {
        Self::new(CloseReason::Broken, why)
    }

    pub(crate) fn ended(why: impl Into<String>) -> Self {
        Self::new(CloseReason::Ended, why)
    }

    /// Whether the guest broke the protocol.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.reason == CloseReason::Broken
    }

    /// The boundary knows better than the stream why the stream ended: it saw who was killed.
    #[must_use]
    pub(crate) fn explained(mut self, ended: &Ended) -> Self {
        let mut why = ended.cause.to_string().replace('_', " ");
        if !ended.detail.is_empty() {
            why = format!("{why}: {}", ended.detail);
        }
        if self.reason == CloseReason::GaveUp {
            why = format!("{why}; {}", self.why);
        }
        (self.why, self.cause) = (why, Some(ended.cause));
        self
    }

    /// The error of an operation that needed the link.
    #[must_use]
    pub fn error(&self, what: &str) -> Error {
        let kind = if self.is_broken() { ErrorKind::ProtocolBroken } else { ErrorKind::SandboxGone };
        Error::new(kind, what, &self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boundarys_word_replaces_the_streams_and_joins_the_guests() {
        let ended = Ended { cause: CauseOfDeath::OutOfMemory, detail: "1 process killed".into() };
        let closed = Closed::ended("the stream ended").explained(&ended);
        let error = closed.error("list the folder");
        assert_eq!(error.kind, ErrorKind::SandboxGone);
        assert_eq!(error.to_string(), "list the folder: out of memory: 1 process killed");
        let gave_up = Closed::new(CloseReason::GaveUp, "no more").explained(&ended);
        assert_eq!(gave_up.why, "out of memory: 1 process killed; no more");
    }
}
