//! The commands of one sandbox: those that run, and the last ones that ended.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use agentkernel_api::{CommandResult, ProcessInfo, ProcessState};
use agentkernel_core::ProcessControl;
use tokio::sync::watch;

/// How a command ended, as far as somebody saw it.
pub type Ending = Option<CommandResult>;

/// A command that is known.
#[derive(Clone)]
pub struct Known {
    /// What is told of it.
    pub info: ProcessInfo,
    /// The way to talk to it.
    pub control: Arc<dyn ProcessControl>,
    /// Its end, if it runs in the background: `Some` once it has ended, after its last output is in the log.
    pub end: Option<watch::Receiver<Option<Ending>>>,
}

/// All of them, by PID. A PID belongs to the last command that had it.
pub struct Table {
    known: BTreeMap<u32, Known>,
    /// PIDs of those that have ended, the oldest first.
    ended: VecDeque<u32>,
    ended_max: usize,
}

impl Table {
    pub fn new(ended_max: usize) -> Self {
        Self { known: BTreeMap::new(), ended: VecDeque::new(), ended_max }
    }

    pub fn add(
        &mut self,
        info: ProcessInfo,
        control: Arc<dyn ProcessControl>,
        end: Option<watch::Receiver<Option<Ending>>>,
    ) {
        self.ended.retain(|pid| *pid != info.pid);
        self.known.insert(info.pid, Known { info, control, end });
    }

    pub fn end(&mut self, pid: u32, ending: Ending) {
        let Some(known) = self.known.get_mut(&pid) else { return };
        known.info.state = if ending.is_some() { ProcessState::Exited } else { ProcessState::Lost };
        known.info.result = ending;
        self.ended.push_back(pid);
        while self.ended.len() > self.ended_max
            && let Some(oldest) = self.ended.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub fn find(&self, pid: u32) -> Option<Known> {
        self.known.get(&pid).cloned()
    }

    pub fn infos(&self) -> Vec<ProcessInfo> {
        self.known.values().map(|known| known.info.clone()).collect()
    }
}
