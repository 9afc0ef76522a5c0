//! What is said on stderr about a command that is over, beyond its exit code.

use std::io;
use std::time::Duration;

use agentkernel_core::{CauseOfDeath, Error, ErrorKind};
use agentkernel_runtime::{Ending, OutputCount};

use crate::errors;

/// A command that is over.
pub struct Over<'a> {
    /// Its name.
    pub program: String,
    /// Its time, if it had a limit.
    pub timeout: Option<Duration>,
    /// The memory of its sandbox, where that is known.
    pub memory: Option<String>,
    /// What ended it.
    pub ending: &'a Ending,
    /// Why its sandbox ended, or the command itself.
    pub cause: CauseOfDeath,
    /// How much it said.
    pub output: OutputCount,
}

impl Over<'_> {
    /// Says whatever the exit code alone does not.
    pub fn print(&self) {
        for notice in self.notices() {
            errors::say_error(&notice);
        }
    }

    fn notices(&self) -> Vec<Error> {
        let mut notices = Vec::new();
        if self.output.is_truncated() {
            let why = format!("it wrote {} bytes", self.output.total);
            let what = format!("output was cut at {}", self.output.limit);
            notices.push(
                Error::new(ErrorKind::Host, what, why).on(&self.program).hint(
                    "let more pass with --output-limit, or write to a file in a folder mounted with -v",
                ),
            );
        }
        notices.extend(self.end());
        notices
    }

    /// Why the command did not end by itself. Ctrl-C, and a reader that went away, need not be told.
    fn end(&self) -> Option<Error> {
        let error =
            |why: String| Error::new(ErrorKind::SandboxGone, "run the command", why).on(&self.program);
        match (self.cause, self.ending) {
            (CauseOfDeath::Timeout, _) => {
                let within = self.timeout.map_or_else(|| "in time".into(), |time| format!("within {time:?}"));
                Some(error(format!("timeout: it did not end {within}")).hint("give it more with --timeout"))
            }
            (CauseOfDeath::OutOfMemory, _) => {
                let limit = self
                    .memory
                    .as_ref()
                    .map_or_else(|| "its sandbox has".into(), |limit| format!("its limit of {limit}"));
                let why = format!("out_of_memory: it used more than {limit}");
                Some(error(why).hint("give it more with --memory"))
            }
            (_, Ending::OutputFailed(why)) if why.kind() != io::ErrorKind::BrokenPipe => {
                let what = "pass the command's output on";
                Some(Error::new(ErrorKind::Host, what, why).hint("the command was killed"))
            }
            (cause, Ending::SandboxEnded(ended)) => {
                Some(error(format!("its sandbox ended: {cause}: {}", ended.detail)))
            }
            _ => None,
        }
    }
}
