//! A run that is over, wherever it was run.

use agentkernel_api::Origin;
use agentkernel_core::{CauseOfDeath, ExitStatus, Exited, Phases, Stopped, Usage};
use agentkernel_runtime::{Ending, OutputCount, RunReport};

/// All that is known about a run that is over.
#[derive(Debug)]
pub struct Done {
    /// What it ran in, and why; `None` if nobody asked the daemon.
    pub choice: Option<(String, String)>,
    /// What made its sandbox weaker than its backend's name promises.
    pub warning: Option<String>,
    /// Name of the sandbox that was.
    pub name: String,
    /// What ended it.
    pub ending: Ending,
    /// Why its sandbox ended.
    pub cause: CauseOfDeath,
    /// How much it said.
    pub output: OutputCount,
    /// Where the time went.
    pub phases: Phases,
    /// What was seen when the sandbox was stopped; `None` if it never came up, or the daemon stops it later.
    pub stopped: Option<Stopped>,
    /// Which way was taken.
    pub way: Way,
}

/// Who ran it, and in what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The daemon, or else we ourselves.
    pub by_daemon: bool,
    /// Whether the sandbox was there before it was asked for; `None` if there was none.
    pub origin: Option<Origin>,
}

impl Way {
    /// Who ran it.
    pub fn who(self) -> &'static str {
        if self.by_daemon { "daemon" } else { "in-process" }
    }

    /// In what.
    pub fn origin(self) -> Option<&'static str> {
        self.origin.map(|origin| match origin {
            Origin::Warm => "warm",
            Origin::Cold => "cold",
            Origin::Restored => "restored",
        })
    }
}

impl From<RunReport> for Done {
    fn from(report: RunReport) -> Self {
        let origin = report.stopped.map(|_| Origin::Cold);
        Self {
            choice: Some((report.choice.backend.to_string(), report.choice.reason)),
            warning: None,
            name: report.name.to_string(),
            ending: report.ending,
            cause: report.cause,
            output: report.output,
            phases: report.phases,
            stopped: report.stopped,
            way: Way { by_daemon: false, origin },
        }
    }
}

impl Done {
    /// How the command ended, if it was seen.
    pub fn status(&self) -> Option<ExitStatus> {
        self.exited().map(|exited| exited.status)
    }

    /// What the command used, if it was seen.
    pub fn usage(&self) -> Option<Usage> {
        self.exited().map(|exited| exited.usage)
    }

    /// Whether the command's time was up.
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
