//! How the agent ends: everything it started goes first.

use agentkernel_protocol::{ProtocolError, ToHost};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::getpid;

use super::Agent;
use crate::{sys, tree};

/// How long the end waits for killed processes to be gone.
const LAST_WAIT_NS: u64 = 2_000_000_000;

/// How long the end waits for the host to take the last frames.
const LAST_WORDS_S: i64 = 1;

/// Why the agent ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The host closed the stream, or asked for it.
    Asked,
    /// The host did not greet in time.
    Silence,
    /// The host is another version; this is what it is told.
    Mismatch(String),
    /// The host broke a rule of the protocol.
    Violation(String),
    /// A file system could not be mounted.
    Mount(String),
}

impl End {
    pub(super) fn violation(reason: impl Into<String>) -> Self {
        Self::Violation(reason.into())
    }

    fn code(&self) -> i32 {
        match self {
            Self::Asked => 0,
            Self::Silence => 3,
            Self::Mismatch(_) => 4,
            Self::Violation(_) => 5,
            Self::Mount(_) => 6,
        }
    }

    fn reason(self) -> Option<String> {
        match self {
            Self::Asked | Self::Silence => None,
            Self::Mismatch(reason) | Self::Violation(reason) | Self::Mount(reason) => Some(reason),
        }
    }
}

impl From<ProtocolError> for End {
    fn from(error: ProtocolError) -> Self {
        Self::violation(error.to_string())
    }
}

impl Agent {
    /// Kills everything, and tells the host why if it is the host's fault.
    pub(super) fn end(mut self, end: End) -> i32 {
        self.keeper = None; // a child that ends with this, and by nothing else
        let code = end.code();
        let reason = end.reason();
        let has_reason = reason.is_some();
        if let Some(reason) = reason {
            self.stream.send(0, &ToHost::Fault(reason));
        }
        self.stream.flush().ok();
        self.kill_everything();
        if has_reason {
            self.stream.finish(LAST_WORDS_S);
        }
        code
    }

    fn kill_everything(&self) {
        let end_ns = sys::monotonic_ns().saturating_add(LAST_WAIT_NS);
        loop {
            let own = getpid();
            if own.is_init() {
                sys::kill(-1, libc::SIGKILL);
            } else {
                tree::kill_below(own.as_raw_pid());
            }
            sys::drain_signals(&self.children);
            let childless = loop {
                match sys::reap() {
                    sys::Reaping::One(_) => {}
                    sys::Reaping::Running => break false,
                    sys::Reaping::Childless => break true,
                }
            };
            if childless || sys::monotonic_ns() >= end_ns {
                return;
            }
            let mut children = [PollFd::new(&self.children, PollFlags::IN)];
            poll(&mut children, Some(&sys::time_left(end_ns))).ok();
        }
    }
}
