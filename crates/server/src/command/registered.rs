//! That a command runs, and whether the agent that runs it is still there when nobody listens any more.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_api::{CauseOfDeath, CommandResult, ProcessInfo, State};
use agentkernel_core::ProcessControl;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::guest::{Guest, Visit};
use crate::keeper;

/// How long a guest agent may take to answer when a command outlived its time.
pub const AGENT_DEADLINE: Duration = Duration::from_secs(1);

/// The same when its client left a command, which is no sign that anything is wrong: a busy host may answer late.
const LEFT_AGENT_DEADLINE: Duration = Duration::from_secs(10);

/// A guest whose agent does not answer any more is of no use, and may be hostile: it ends. While time stands still in
/// it, it cannot answer.
pub async fn check_agent(visit: &Visit, deadline: Duration) {
    let guest = visit.guest();
    let answer = tokio::select! {
        answer = timeout(deadline, visit.sandbox().ping()) => answer,
        _ = guest.fate.decided() => return,
    };
    if !matches!(answer, Ok(Ok(_))) && guest.view.borrow().state == State::Running {
        guest.fate.suspect(CauseOfDeath::BoundaryCrashed, "the guest agent does not answer");
    }
}

/// That the keeper knows of a command; when it is dropped, the command is told to be lost, and its agent, which is to
/// kill it, is asked for a sign of life.
pub struct Registered {
    guest: Guest,
    pid: u32,
    ending: keeper::Ending,
}

impl Registered {
    pub fn new(visit: &Visit, info: &ProcessInfo, control: Arc<dyn ProcessControl>) -> Self {
        let guest = visit.guest().clone();
        drop(guest.keeper.send(keeper::Ask::Started(info.clone(), control)));
        Self { guest, pid: info.pid, ending: None }
    }

    pub fn exited(mut self, mut result: CommandResult) {
        result.sandbox = String::new();
        self.ending = Some(result);
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if self.ending.is_none()
            && let Ok(runtime) = Handle::try_current()
        {
            let guest = self.guest.clone();
            runtime.spawn(async move {
                if let Ok(visit) = guest.enter() {
                    check_agent(&visit, LEFT_AGENT_DEADLINE).await;
                }
            });
        }
        // A keeper that has gone needs no telling.
        drop(self.guest.keeper.send(keeper::Ask::Left(self.pid, self.ending.take())));
    }
}
