//! How a sandbox is taken down, and what it died of.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_api::{CauseOfDeath, EventKind, State};
use agentkernel_core::{Error, ErrorKind, Result, Stopped};
use tokio::time::{Instant, timeout, timeout_at};

use super::Keeper;
use crate::clock;
use crate::convert;
use crate::fate::Verdict;
use crate::guest::House;

/// How long those who use a sandbox may take to notice that it ends.
const LEAVE_DEADLINE: Duration = Duration::from_secs(5);

impl Keeper {
    /// Takes the sandbox down. When it returns, nothing of it is left, or the log says what may be.
    pub async fn take_down(self, house: Arc<House>) {
        let verdict = self.fate.decided().await;
        self.view.send_modify(|sandbox| {
            sandbox.state = State::Stopping;
            (sandbox.cause, sandbox.detail) = (Some(verdict.cause), Some(verdict.detail.clone()));
        });
        self.tell(EventKind::State, None);
        self.let_others_go_first(&verdict).await;
        let began = Instant::now();
        let stopped = self.stop(house).await;
        let (cause, detail) = cause_of_death(&verdict, stopped.as_ref().ok());
        self.note(&stopped, cause);
        let mut sandbox = self.view.borrow().clone();
        sandbox.state = State::Ended;
        sandbox.ended_ms = Some(clock::wall_ms());
        if let Ok(stopped) = &stopped {
            sandbox.memory_peak_bytes = stopped.memory_peak_bytes;
            sandbox.out_of_memory_kills = Some(stopped.out_of_memory_kills);
        }
        (sandbox.cause, sandbox.detail) = (Some(cause), Some(detail));
        sandbox.phases.stop_ns = Some(clock::nanoseconds(began.elapsed()));
        // Before it is told: whoever then forgets it must not have it written down once more.
        if let Err(failure) = self.write(sandbox.clone()).await {
            tracing::error!(error = %failure.error, "the end of a sandbox could not be written down");
        }
        self.view.send_replace(sandbox);
        let id = self.view.borrow().id.clone();
        self.daemon.state.ended(&id);
    }

    /// Where the command of a run has ended by itself and was answered, nobody waits for what is done next, and there is
    /// nothing to end but what the command left behind: it can wait until a crowd of commands is through, if there is room.
    async fn let_others_go_first(&self, verdict: &Verdict) {
        let is_over = self.view.borrow().run && verdict.cause == CauseOfDeath::Exited && !verdict.suspect;
        if is_over && self.daemon.state.is_roomy().await.unwrap_or(false) {
            self.daemon.rush.quiet().await;
        }
    }

    fn note(&self, stopped: &Result<Stopped>, cause: CauseOfDeath) {
        let id = &self.view.borrow().id;
        self.daemon.metrics.ended(cause);
        match stopped {
            Ok(_) => tracing::info!(sandbox = %id, %cause, "ended"),
            Err(error) => {
                self.daemon.metrics.stop_failed();
                tracing::error!(sandbox = %id, %cause, %error, "something of the sandbox may be left");
            }
        }
    }

    /// Gets the sandbox back from those who use it, and stops it.
    async fn stop(&self, mut house: Arc<House>) -> Result<Stopped> {
        let deadline = Instant::now() + LEAVE_DEADLINE;
        let alone = loop {
            match Arc::try_unwrap(house) {
                Ok(alone) => break alone,
                Err(shared) => house = shared,
            }
            if timeout_at(deadline, self.uses.left()).await.is_err() {
                // Whoever is last drops it, which kills everything inside, unless it outlives that.
                drop(house.sandbox.set_lifetime(Duration::from_millis(1)).await);
                return Err(Error::new(ErrorKind::Cleanup, "stop the sandbox", "something still uses it"));
            }
        };
        let deadline = self.daemon.limits().stop_deadline;
        timeout(deadline, alone.sandbox.stop()).await.unwrap_or_else(|_| {
            let why = format!("it did not end within {} s", deadline.as_secs());
            Err(Error::new(ErrorKind::Cleanup, "stop the sandbox", why))
        })
    }
}

/// The one cause. What the boundary saw counts where the end was not ordered; a pure function.
fn cause_of_death(verdict: &Verdict, stopped: Option<&Stopped>) -> (CauseOfDeath, String) {
    let ordered = (verdict.cause, verdict.detail.clone());
    let Some(stopped) = stopped.filter(|_| verdict.suspect) else { return ordered };
    if stopped.out_of_memory_kills > 0 && verdict.cause != CauseOfDeath::Timeout {
        let detail = format!("the kernel killed {} for want of memory", stopped.out_of_memory_kills);
        return (CauseOfDeath::OutOfMemory, detail);
    }
    match stopped.cause {
        Some(cause) if verdict.cause != CauseOfDeath::Exited => {
            (convert::cause(cause), verdict.detail.clone())
        }
        _ => ordered,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(cause: CauseOfDeath, suspect: bool) -> Verdict {
        Verdict { cause, detail: "as told".into(), suspect }
    }

    fn stopped(cause: Option<agentkernel_core::CauseOfDeath>, out_of_memory_kills: u64) -> Stopped {
        Stopped { cause, out_of_memory_kills, memory_peak_bytes: None }
    }

    #[test]
    fn an_end_that_was_ordered_keeps_its_cause() {
        for cause in CauseOfDeath::ALL {
            let seen = stopped(Some(agentkernel_core::CauseOfDeath::BoundaryCrashed), 3);
            assert_eq!(cause_of_death(&verdict(cause, false), Some(&seen)).0, cause);
        }
    }

    #[test]
    fn an_end_that_came_by_itself_has_the_cause_that_the_boundary_saw() {
        let crashed = verdict(CauseOfDeath::BoundaryCrashed, true);
        let pressure = stopped(Some(agentkernel_core::CauseOfDeath::HostPressure), 0);
        assert_eq!(cause_of_death(&crashed, Some(&pressure)).0, CauseOfDeath::HostPressure);
        assert_eq!(cause_of_death(&crashed, Some(&stopped(None, 1))).0, CauseOfDeath::OutOfMemory);
        assert_eq!(cause_of_death(&crashed, None).0, CauseOfDeath::BoundaryCrashed);
        let timeout = verdict(CauseOfDeath::Timeout, true);
        assert_eq!(cause_of_death(&timeout, Some(&stopped(None, 1))).0, CauseOfDeath::Timeout);
    }

    #[test]
    fn a_command_that_was_killed_where_memory_ran_out_died_of_it() {
        let exited = verdict(CauseOfDeath::Exited, true);
        assert_eq!(cause_of_death(&exited, Some(&stopped(None, 1))).0, CauseOfDeath::OutOfMemory);
        assert_eq!(cause_of_death(&exited, Some(&stopped(None, 0))).0, CauseOfDeath::Exited);
    }
}
