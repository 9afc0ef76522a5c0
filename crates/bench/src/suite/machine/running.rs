//! One program of a sample: started, waited for, and judged.

use std::io;
use std::time::{Duration, Instant};

use super::course::{Says, Step};
use super::{Machine, Site};
use crate::refusal::{Cause, Failure, Refusal, host};
use crate::sandbox::client::{Client, Ended};
use crate::sandbox::verdict::{Run, judge};
use crate::suite::interrupt::First;
use crate::workload::{Flood, Work};

/// How long a program that is to end may take before it is killed.
pub const GRACE: Duration = Duration::from_secs(10);

/// Who does what, for messages.
#[derive(Debug, Clone, Copy)]
pub struct Doing<'a> {
    /// The target's name.
    pub target: &'a str,
    /// The benchmark's key.
    pub what: &'static str,
}

impl Doing<'_> {
    /// The target is not to be believed.
    pub fn refused(&self, cause: Cause) -> Failure {
        let (target, while_measuring) = (self.target.to_owned(), self.what.to_owned());
        Failure::Refused(Refusal { target, while_measuring, cause })
    }

    /// Something is wrong that is not the target's doing.
    pub fn failed(&self, why: io::Error) -> Failure {
        Failure::Error(host("run the target", self.target, why))
    }

    /// Refused if it has left anything.
    pub fn left_nothing(&self, left: &[String]) -> Result<(), Failure> {
        if left.is_empty() { Ok(()) } else { Err(self.refused(Cause::LeftBehind { what: left.join(", ") })) }
    }

    /// It has not done something in time.
    pub fn late(&self, awaited: &str, site: &Site) -> Failure {
        let deadline_ms = u64::try_from(site.deadline.as_millis()).unwrap_or(u64::MAX);
        self.refused(Cause::TimedOut { awaited: awaited.into(), deadline_ms })
    }
}

/// What must be said as judges have it.
pub fn work(says: &Says) -> Work {
    let says = match says {
        Says::Line(line) => Some(format!("{line}\n")),
        Says::Flood => Some(format!("{}\n", Flood::right())),
        Says::Anything => None,
    };
    Work { words: Vec::new(), says, waits: false, is_timed: false }
}

/// Whether it did what it should.
pub fn verdict(says: &Says, run: &Run) -> Result<(), Cause> {
    match judge(&work(says), run) {
        Err(Cause::EmptyOutput) if *says == Says::Anything => Ok(()),
        judged => judged,
    }
}

/// Asks it to end, so that it can clean up; what does not is killed.
pub fn end(client: &mut Client) -> io::Result<()> {
    client.terminate()?;
    if client.wait(GRACE)?.is_none() {
        client.kill()?;
    }
    Ok(())
}

impl Machine {
    /// Runs a step to its end. Nothing is judged.
    pub(super) fn run(
        &self,
        doing: Doing<'_>,
        step: &Step,
        by_daemon: bool,
    ) -> Result<(Run, Instant), Failure> {
        let failed = |why| doing.failed(why);
        let mut client = self.site.start(&step.words, by_daemon, step.says == Says::Flood).map_err(failed)?;
        let started = client.started();
        let first = self.interrupt.wait(Some(client.process()), self.site.deadline).map_err(failed)?;
        let wall = started.elapsed();
        if first != First::Ended {
            end(&mut client).map_err(failed)?;
        }
        match first {
            First::Interrupted => Err(Failure::Interrupted),
            First::Deadline => Err(doing.late("end", &self.site)),
            First::Ended => {
                let ended = client.wait(GRACE).map_err(failed)?;
                let status = ended.ok_or_else(|| failed(io::ErrorKind::TimedOut.into()))?.status;
                let (stdout, stderr) = client.output();
                Ok((Run { ended: Ended { status, wall }, stdout, stderr }, started))
            }
        }
    }

    /// Runs a step that must be right, and gives what it said.
    pub(super) fn done(&self, doing: Doing<'_>, step: &Step, by_daemon: bool) -> Result<Vec<u8>, Failure> {
        let (run, _) = self.run(doing, step, by_daemon)?;
        verdict(&step.says, &run).map_err(|cause| doing.refused(cause))?;
        Ok(run.stdout)
    }

    /// Starts a program that stays, and hears the token.
    pub(super) fn stay(
        &self,
        doing: Doing<'_>,
        words: &[String],
        by_daemon: bool,
    ) -> Result<Client, Failure> {
        let mut client = self.site.start_open(words, by_daemon).map_err(|why| doing.failed(why))?;
        let line = client.first_line(self.site.deadline);
        if line.as_ref() == Some(&self.site.token) {
            return Ok(client);
        }
        // Whoever has said his last before the deadline has ended, or is about to.
        let is_late = client.started().elapsed() >= self.site.deadline;
        let patience = if is_late { Duration::ZERO } else { GRACE };
        let ended = client.wait(patience).map_err(|why| doing.failed(why))?;
        let Some(ended) = ended else {
            end(&mut client).map_err(|why| doing.failed(why))?;
            return Err(doing.late("say that it waits", &self.site));
        };
        let (stdout, stderr) = client.output();
        let judged = judge(&work(&Says::Line(self.site.token.clone())), &Run { ended, stdout, stderr });
        Err(doing.refused(judged.err().unwrap_or(Cause::EmptyOutput)))
    }

    /// Runs a step that takes something down, also after an interruption; that it fails is no failure.
    pub(super) fn take_down(&self, doing: Doing<'_>, step: &Step, by_daemon: bool) -> Result<(), Failure> {
        let failed = |why| doing.failed(why);
        let mut client = self.site.start(&step.words, by_daemon, false).map_err(failed)?;
        if client.wait(self.site.deadline).map_err(failed)?.is_none() {
            end(&mut client).map_err(failed)?;
        }
        Ok(())
    }
}
