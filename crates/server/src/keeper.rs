//! The keeper: the one task that has a sandbox, from its admission to its end.

mod background;
mod end;
mod table;

use std::sync::Arc;
use std::time::Duration;

use agentkernel_api::{
    self as api, CauseOfDeath, ErrorKind, EventKind, ProcessInfo, SandboxRequest, State, TimeoutRequest,
};
use agentkernel_core::{Process, ProcessControl, Result, Sandbox, SnapshotName};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::clock::{self, StoredDeadline};
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::fate::Fate;
use crate::guest::{House, Uses};
use crate::log::Log;
use crate::store::Row;

pub use table::{Ending, Known, Table};

/// How much longer than its deadline a sandbox may live where its daemon is not there to end it.
pub const LIFETIME_GRACE: Duration = Duration::from_secs(30);

/// What only the keeper may do.
pub enum Ask {
    /// Stop time.
    Pause(oneshot::Sender<Outcome<()>>),
    /// Let it go on.
    Resume(oneshot::Sender<Outcome<()>>),
    /// Keep it as it is, under this name, with these words of what it was asked to be.
    Snapshot {
        name: SnapshotName,
        about: Box<dyn FnOnce(SandboxRequest) -> String + Send>,
        reply: oneshot::Sender<Outcome<()>>,
    },
    /// Change the times of the sandbox.
    Times(TimeoutRequest, oneshot::Sender<Outcome<()>>),
    /// A command has been started, and its client listens to it.
    Started(ProcessInfo, Arc<dyn ProcessControl>),
    /// It has ended, or its client left it.
    Left(u32, Ending),
    /// A command has been started: listen to it from now on. It holds its place among the commands, if it has one.
    Keep(ProcessInfo, Box<dyn Process>, Option<OwnedSemaphorePermit>),
    /// Which commands are there?
    Processes(oneshot::Sender<Vec<ProcessInfo>>),
    /// The command of this PID.
    Process(u32, oneshot::Sender<Option<Known>>),
}

/// Everything of one sandbox.
pub struct Keeper {
    pub daemon: Arc<Daemon>,
    pub view: watch::Sender<api::Sandbox>,
    pub fate: Fate,
    pub request: SandboxRequest,
    pub asks: mpsc::UnboundedReceiver<Ask>,
    pub myself: mpsc::WeakUnboundedSender<Ask>,
    pub log: Arc<Log>,
    pub uses: Arc<Uses>,
    pub deadline: Option<Instant>,
    pub idle_timeout: Option<Duration>,
    pub table: Table,
}

impl Keeper {
    /// Attends to the sandbox until it is to end, and then takes it down.
    pub async fn keep(mut self, house: Arc<House>) {
        while self.fate.verdict().is_none() {
            self.attend(&house).await;
        }
        // What was said before the end is told before the end.
        while let Ok(ask) = self.asks.try_recv() {
            if matches!(ask, Ask::Started(..) | Ask::Left(..)) {
                self.answer(&house, ask).await;
            }
        }
        self.take_down(house).await;
    }

    /// Waits for the next thing to happen, and does what it needs.
    async fn attend(&mut self, house: &House) {
        let idle_at = self.idle_at();
        tokio::select! {
            biased;
            _ = self.fate.decided() => {}
            ask = self.asks.recv() => match ask {
                Some(ask) => self.answer(house, ask).await,
                None => self.fate.decide(CauseOfDeath::Shutdown, "nobody can reach it any more"),
            },
            ended = house.sandbox.ended() => {
                self.fate.suspect(crate::convert::cause(ended.cause), ended.detail);
            }
            () = reached(self.deadline) => {
                self.fate.decide(CauseOfDeath::Timeout, "its time was up");
            }
            () = reached(idle_at) => self.end_if_idle(),
            () = self.uses.left(), if self.idle_timeout.is_some() => {}
        }
    }

    /// When it will have been idle for too long, if nobody comes.
    fn idle_at(&self) -> Option<Instant> {
        let idle_timeout = self.idle_timeout.filter(|_| self.view.borrow().state == State::Running)?;
        Some(self.uses.idle_since()? + idle_timeout)
    }

    /// Somebody may have come in the last moment.
    fn end_if_idle(&self) {
        if self.idle_at().is_some_and(|idle_at| idle_at <= Instant::now()) {
            self.fate.decide(CauseOfDeath::Idle, "nobody used it for too long");
        }
    }

    /// An answer that nobody waits for any more is dropped.
    async fn answer(&mut self, house: &House, ask: Ask) {
        match ask {
            Ask::Pause(reply) => drop(reply.send(self.pause(house).await)),
            Ask::Resume(reply) => drop(reply.send(self.resume(house).await)),
            Ask::Snapshot { name, about, reply } => {
                let about = about(self.request.clone());
                drop(reply.send(self.snapshot(house, &name, &about).await));
            }
            Ask::Times(times, reply) => drop(reply.send(self.set_times(house, &times).await)),
            Ask::Started(info, control) => {
                self.tell(EventKind::Started, Some(info.pid));
                self.table.add(info, control, None);
            }
            Ask::Left(pid, ending) => {
                self.table.end(pid, ending);
                self.tell(EventKind::Exited, Some(pid));
            }
            Ask::Keep(info, process, place) => self.keep_process(info, process, place),
            Ask::Processes(reply) => drop(reply.send(self.table.infos())),
            Ask::Process(pid, reply) => drop(reply.send(self.table.find(pid))),
        }
    }

    async fn pause(&self, house: &House) -> Outcome<()> {
        match self.view.borrow().state {
            State::Paused => return Ok(()),
            State::Running => {}
            _ => return Err(Failure::gone(&self.view.borrow())),
        }
        self.undisturbed(house.sandbox.pause()).await?;
        self.enter(State::Paused).await
    }

    async fn resume(&self, house: &House) -> Outcome<()> {
        if self.view.borrow().state == State::Running {
            return Ok(());
        }
        self.undisturbed(house.sandbox.resume()).await?;
        // Time in which it stood still is no idle time.
        drop(self.uses.begin());
        self.enter(State::Running).await
    }

    /// However long that takes: one that stops waiting for a sandbox that is held still ends it.
    async fn snapshot(&self, house: &House, name: &SnapshotName, about: &str) -> Outcome<()> {
        if self.view.borrow().state == State::Paused {
            let failure = Failure::new(ErrorKind::Conflict, "take a snapshot of the sandbox", "it is paused");
            return Err(failure.on(&self.view.borrow().name).hint("resume it first"));
        }
        tokio::select! {
            biased;
            kept = house.sandbox.snapshot(name, about) => kept.map_err(Failure::from),
            _ = self.fate.decided() => Err(Failure::gone(&self.view.borrow())),
            () = reached(self.deadline) => Err(Failure::gone(&self.view.borrow())),
        }
    }

    /// Waits for the sandbox, but neither for ever nor beyond its end.
    async fn undisturbed<T>(&self, work: impl Future<Output = Result<T>>) -> Outcome<T> {
        let deadline = self.daemon.limits().change_deadline;
        tokio::select! {
            biased;
            done = work => done.map_err(Failure::from),
            _ = self.fate.decided() => Err(Failure::gone(&self.view.borrow())),
            () = reached(self.deadline) => Err(Failure::gone(&self.view.borrow())),
            () = tokio::time::sleep(deadline) => {
                let why = format!("it did not happen within {} s", deadline.as_secs());
                Err(Failure::new(ErrorKind::Timeout, "change the sandbox", why))
            }
        }
    }

    async fn set_times(&mut self, house: &House, times: &TimeoutRequest) -> Outcome<()> {
        if let Some(timeout) = crate::convert::time("timeout_ms", times.timeout_ms)? {
            self.undisturbed(set_lifetime(&*house.sandbox, timeout)).await?;
            self.deadline = Some(Instant::now() + timeout);
        }
        if let Some(idle) = crate::convert::time("idle_timeout_ms", times.idle_timeout_ms)? {
            self.idle_timeout = Some(idle);
        }
        let deadline_ms = self.deadline.map(clock::wall_ms_at);
        let idle_timeout_ms = self.idle_timeout.map(clock::milliseconds);
        self.view.send_modify(|sandbox| {
            (sandbox.deadline_ms, sandbox.idle_timeout_ms) = (deadline_ms, idle_timeout_ms);
        });
        self.tell(EventKind::Timeout, None);
        self.write_down().await
    }

    /// Goes on to this state.
    pub async fn enter(&self, state: State) -> Outcome<()> {
        self.view.send_modify(|sandbox| sandbox.state = state);
        self.tell(EventKind::State, None);
        self.write_down().await
    }

    /// What is made for one run is written down when it has ended: it does not outlive the daemon.
    pub async fn write_down(&self) -> Outcome<()> {
        let sandbox = self.view.borrow().clone();
        self.write(sandbox).await
    }

    async fn write(&self, sandbox: api::Sandbox) -> Outcome<()> {
        if sandbox.run && sandbox.state != State::Ended {
            return Ok(());
        }
        let remaining = |deadline: Instant| deadline.saturating_duration_since(Instant::now());
        let deadline = self.deadline.map(remaining).map(StoredDeadline::after);
        self.daemon.store.put(Row { sandbox, request: self.request.clone(), deadline }).await
    }

    fn tell(&self, kind: EventKind, pid: Option<u32>) {
        self.daemon.state.tell(&self.view.borrow(), kind, pid);
    }
}

/// Has the sandbox end by itself some time after its deadline, where nobody else would end it. A backend that cannot
/// do that does not let its sandboxes outlive the daemon either.
pub async fn set_lifetime(sandbox: &dyn Sandbox, remaining: Duration) -> Result<()> {
    match sandbox.set_lifetime(remaining + LIFETIME_GRACE).await {
        Err(error) if error.kind == agentkernel_core::ErrorKind::NotSupported => Ok(()),
        other => other,
    }
}

/// Waits for this moment; for ever if there is none.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
