//! How a run ended: a pure judgement of what was seen.

use std::io;

use agentkernel_core::{
    ByteSize, CauseOfDeath, Ended, ExitStatus, Exited, Phases, SandboxName, Stopped, Usage,
};

use super::RunRequest;
use crate::choice::Choice;

/// What ended a run.
#[derive(Debug)]
pub enum Ending {
    /// The command ended, or the guest agent ended it in time.
    Exited(Exited),
    /// Its time was up, and the host took the sandbox down.
    TimedOut,
    /// It was asked to end by this signal, and the host took the sandbox down.
    Signalled(u8),
    /// Its output could not be written.
    OutputFailed(io::Error),
    /// The sandbox ended under it.
    SandboxEnded(Ended),
}

/// The output of a command, in bytes, stdout and stderr together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputCount {
    /// How much is passed on.
    pub limit: ByteSize,
    /// How much there was.
    pub total: u64,
}

impl OutputCount {
    /// Nothing yet.
    #[must_use]
    pub fn new(limit: ByteSize) -> Self {
        Self { limit, total: 0 }
    }

    /// Counts `length` more bytes, and says how many of them are within the limit.
    pub(super) fn admit(&mut self, length: usize) -> usize {
        let room = self.limit.get().saturating_sub(self.total);
        self.total = self.total.saturating_add(length as u64);
        usize::try_from(room).map_or(length, |room| room.min(length))
    }

    /// Whether output was cut.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.total > self.limit.get()
    }
}

/// All that is known about a run that is over.
#[derive(Debug)]
pub struct RunReport {
    /// What it ran in, and why.
    pub choice: Choice,
    /// Name of the sandbox that was.
    pub name: SandboxName,
    /// What ended it.
    pub ending: Ending,
    /// Why its sandbox ended.
    pub cause: CauseOfDeath,
    /// How much it said.
    pub output: OutputCount,
    /// Where the time went.
    pub phases: Phases,
    /// What was seen when the sandbox was stopped; `None` if it never came up.
    pub stopped: Option<Stopped>,
}

impl RunReport {
    pub(super) fn new(
        choice: Choice,
        name: SandboxName,
        ending: Ending,
        output: OutputCount,
        phases: Phases,
        stopped: Stopped,
    ) -> Self {
        let cause = cause_of_death(&ending, &stopped);
        Self { choice, name, ending, cause, output, phases, stopped: Some(stopped) }
    }

    /// How the command ended, if it was seen.
    #[must_use]
    pub fn status(&self) -> Option<ExitStatus> {
        self.exited().map(|exited| exited.status)
    }

    /// What the command used, if it was seen.
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.exited().map(|exited| exited.usage)
    }

    /// Whether the command's time was up.
    #[must_use]
    pub fn timed_out(&self) -> bool {
        self.cause == CauseOfDeath::Timeout
    }

    fn exited(&self) -> Option<&Exited> {
        match &self.ending {
            Ending::Exited(exited) => Some(exited),
            _ => None,
        }
    }
}

/// The report of a run that was asked to end before its sandbox had come up.
pub(super) fn not_begun(request: &RunRequest, choice: Choice, number: u8) -> RunReport {
    RunReport {
        choice,
        name: request.spec.name().clone(),
        ending: Ending::Signalled(number),
        cause: CauseOfDeath::Killed,
        output: OutputCount::new(request.output_limit),
        phases: Phases { total: request.began.elapsed(), ..Phases::default() },
        stopped: None,
    }
}

/// The one cause. What the boundary saw before it was asked to stop comes first where it explains the
/// end; a boundary that was killed by us has nothing to explain.
fn cause_of_death(ending: &Ending, stopped: &Stopped) -> CauseOfDeath {
    match ending {
        Ending::TimedOut => CauseOfDeath::Timeout,
        Ending::Signalled(_) | Ending::OutputFailed(_) => CauseOfDeath::Killed,
        Ending::SandboxEnded(ended) if stopped.out_of_memory_kills > 0 => match ended.cause {
            CauseOfDeath::Timeout => CauseOfDeath::Timeout,
            _ => CauseOfDeath::OutOfMemory,
        },
        Ending::SandboxEnded(ended) => stopped.cause.unwrap_or(ended.cause),
        Ending::Exited(exited) if exited.timed_out => CauseOfDeath::Timeout,
        Ending::Exited(exited) if was_killed(exited.status) && stopped.out_of_memory_kills > 0 => {
            CauseOfDeath::OutOfMemory
        }
        Ending::Exited(_) => CauseOfDeath::Exited,
    }
}

/// Whether the command, or the child whose status a shell passed on, died by SIGKILL.
fn was_killed(status: ExitStatus) -> bool {
    const SIGKILL: u8 = 9;
    matches!(status, ExitStatus::Signal(SIGKILL)) || status == ExitStatus::Code(128 + SIGKILL)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exited(status: ExitStatus, timed_out: bool) -> Ending {
        Ending::Exited(Exited { status, timed_out, usage: Usage::default() })
    }

    fn stopped(out_of_memory_kills: u64) -> Stopped {
        Stopped { cause: None, out_of_memory_kills, memory_peak_bytes: None }
    }

    #[test]
    fn a_command_that_was_killed_where_memory_ran_out_died_of_it() {
        for status in [ExitStatus::Signal(9), ExitStatus::Code(137)] {
            assert_eq!(cause_of_death(&exited(status, false), &stopped(1)), CauseOfDeath::OutOfMemory);
            assert_eq!(cause_of_death(&exited(status, false), &stopped(0)), CauseOfDeath::Exited);
        }
        // It lost a child and went on.
        assert_eq!(cause_of_death(&exited(ExitStatus::Code(0), false), &stopped(1)), CauseOfDeath::Exited);
    }

    #[test]
    fn a_deadline_is_the_cause_whatever_the_signal_was() {
        let ending = exited(ExitStatus::Signal(9), true);
        assert_eq!(cause_of_death(&ending, &stopped(1)), CauseOfDeath::Timeout);
        assert_eq!(cause_of_death(&Ending::TimedOut, &stopped(0)), CauseOfDeath::Timeout);
    }

    #[test]
    fn a_sandbox_that_ended_under_the_command_says_why() {
        let ended = |cause| Ending::SandboxEnded(Ended { cause, detail: String::new() });
        let crashed = ended(CauseOfDeath::BoundaryCrashed);
        assert_eq!(cause_of_death(&crashed, &stopped(0)), CauseOfDeath::BoundaryCrashed);
        assert_eq!(cause_of_death(&crashed, &stopped(1)), CauseOfDeath::OutOfMemory);
        assert_eq!(cause_of_death(&ended(CauseOfDeath::Timeout), &stopped(1)), CauseOfDeath::Timeout);
    }

    #[test]
    fn output_is_admitted_up_to_its_limit_and_counted_beyond() {
        let mut count = OutputCount::new(ByteSize::bytes(10).expect("not zero"));
        assert_eq!((count.admit(4), count.admit(6), count.is_truncated()), (4, 6, false));
        assert_eq!((count.admit(5), count.total, count.is_truncated()), (0, 15, true));
        let mut count = OutputCount::new(ByteSize::bytes(10).expect("not zero"));
        assert_eq!((count.admit(25), count.total), (10, 25));
    }
}
