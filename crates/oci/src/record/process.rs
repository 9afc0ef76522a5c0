//! Processes of a sandbox on the host, as they are written down.

use std::io;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{kernel_file, sys};

/// How long a process that was killed may take to end.
const END_DEADLINE: Duration = Duration::from_secs(2);

/// A process that cannot be mistaken for another that got its PID later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// PID on the host.
    pub pid: i32,
    /// When it was started, in clock ticks since the host's boot (proc(5), field 22 of stat).
    pub start_ticks: u64,
}

impl Init {
    /// The process that has this PID now.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::with_state(pid).map(|(process, _)| process)
    }

    /// The same, and the letter of its state.
    fn with_state(pid: i32) -> Option<(Self, String)> {
        let stat = kernel_file::read_text(format!("/proc/{pid}/stat")).ok()?;
        // The second field is the name in parentheses, which may hold anything.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        let state = fields.next()?.to_owned();
        let start_ticks = fields.nth(18)?.parse().ok()?;
        Some((Self { pid, start_ticks }, state))
    }

    pub(super) fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Whether it does nothing any more. A zombie does not: its children have been told of its end, too.
    pub(super) fn has_ended(self) -> bool {
        Self::with_state(self.pid).is_none_or(|(process, state)| process != self || "ZX".contains(&state))
    }

    /// Kills it, and waits until it does nothing any more.
    pub(super) fn end(self) -> io::Result<()> {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else { return Ok(()) };
        let deadline = Instant::now() + END_DEADLINE;
        while !self.has_ended() {
            // It may end of itself between the look and the kill.
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("process {} does not die", self.pid)));
            }
            sys::pause(1);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_not_its_number() {
        let me = Init::of(i32::try_from(std::process::id()).expect("pid")).expect("alive");
        assert!(me.is_alive());
        assert!(!Init { start_ticks: me.start_ticks + 1, ..me }.is_alive());
    }
}
