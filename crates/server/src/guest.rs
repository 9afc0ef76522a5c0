//! The way to use a sandbox while it lives.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use agentkernel_api::{ErrorKind, ProcessInfo, ProcessState, State, Word};
use agentkernel_core::{Process, Result, Sandbox, SandboxSpec};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::clock;
use crate::failure::{Failure, Outcome};
use crate::fate::{Fate, Verdict};
use crate::keeper;
use crate::log::Log;
use crate::state::View;

/// How long whatever is under way in a sandbox may take to fail, once the sandbox has ended by itself.
const LAST_ERROR: Duration = Duration::from_millis(100);

/// The sandbox itself, with what does not change while it lives. Its keeper holds it, and each visit.
pub struct House {
    /// It.
    pub sandbox: Box<dyn Sandbox>,
    /// What it was made to be.
    pub spec: SandboxSpec,
    /// Variables of every command in it.
    pub env: BTreeMap<String, Word>,
}

/// The way in.
#[derive(Clone)]
pub struct Guest {
    /// What is told of it.
    pub view: View,
    /// The order to end.
    pub fate: Fate,
    /// What only its keeper may do. Not bounded, for what is on it is: whoever asks waits for the answer, and each
    /// command is told of twice.
    pub keeper: mpsc::UnboundedSender<keeper::Ask>,
    /// What its background commands said.
    pub log: Arc<Log>,
    /// Who uses it.
    pub uses: Arc<Uses>,
    /// Places for commands.
    pub processes: Arc<Semaphore>,
    /// It, as long as its keeper holds it.
    pub house: Weak<House>,
}

impl Guest {
    /// Begins to use the sandbox.
    pub fn enter(&self) -> Outcome<Visit> {
        let sandbox = self.view.borrow().clone();
        match sandbox.state {
            State::Running => {}
            State::Creating | State::Paused => {
                let failure = Failure::new(ErrorKind::Conflict, "use the sandbox", "it is paused");
                return Err(failure.on(sandbox.name).hint("resume it first"));
            }
            State::Stopping | State::Ended => return Err(Failure::gone(&sandbox)),
        }
        let house = self.house.upgrade().ok_or_else(|| Failure::gone(&sandbox))?;
        let visit = Visit { house: Some(house), guest: self.clone(), _in_use: self.uses.begin() };
        if self.fate.verdict().is_some() {
            return Err(visit.gone());
        }
        Ok(visit)
    }

    /// Asks its keeper; it may end meanwhile.
    pub async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> keeper::Ask) -> Outcome<T> {
        let (reply, answer) = oneshot::channel();
        drop(self.keeper.send(ask(reply)));
        answer.await.map_err(|_| Failure::gone(&self.view.borrow()))
    }

    /// Has commands kept that nobody of now has started.
    pub fn keep_all(&self, commands: Vec<Box<dyn Process>>) {
        for process in commands {
            let info = ProcessInfo {
                pid: process.pid(),
                argv: Vec::new(),
                state: ProcessState::Running,
                background: true,
                started_ms: clock::wall_ms(),
                result: None,
            };
            drop(self.keeper.send(keeper::Ask::Keep(info, process, None)));
        }
    }
}

/// A use of a sandbox, which keeps it from being idle, and its keeper from stopping it.
pub struct Visit {
    /// `None` only while it is being dropped.
    house: Option<Arc<House>>,
    guest: Guest,
    /// Dropped after the house, so that the keeper, once it is told, has it alone.
    _in_use: InUse,
}

impl Visit {
    /// The sandbox with all that does not change.
    pub fn house(&self) -> &House {
        // Taken by `drop` alone; a visit cannot be used after that.
        self.house.as_deref().unwrap_or_else(|| unreachable!("a visit has its house until it is dropped"))
    }

    /// The sandbox.
    pub fn sandbox(&self) -> &dyn Sandbox {
        &*self.house().sandbox
    }

    /// The way in that it came by.
    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    /// Does something with the sandbox, unless it is to end first.
    pub async fn attempt<T>(&self, work: impl Future<Output = Result<T>>) -> Outcome<T> {
        let mut work = pin!(work);
        let verdict = tokio::select! {
            biased;
            done = &mut work => return done.map_err(Failure::from),
            verdict = self.guest.fate.decided() => verdict,
        };
        Err(broken(&verdict, work).await.unwrap_or_else(|| self.gone()))
    }

    /// What is told to whoever came too late.
    pub fn gone(&self) -> Failure {
        let mut sandbox = self.guest.view.borrow().clone();
        if let (None, Some(verdict)) = (sandbox.cause, self.guest.fate.verdict()) {
            (sandbox.cause, sandbox.detail) = (Some(verdict.cause), Some(verdict.detail));
        }
        Failure::gone(&sandbox)
    }
}

/// Who uses a sandbox hears of nonsense at the same moment as its keeper, and a little more of it: that it was nonsense.
pub async fn broken<T>(verdict: &Verdict, work: impl Future<Output = Result<T>>) -> Option<Failure> {
    if !verdict.suspect {
        return None;
    }
    let error = timeout(LAST_ERROR, work).await.ok()?.err()?;
    (error.kind == agentkernel_core::ErrorKind::ProtocolBroken).then(|| error.into())
}

impl Drop for Visit {
    fn drop(&mut self) {
        drop(self.house.take());
    }
}

/// Who uses a sandbox, and when somebody last did.
pub struct Uses {
    count: AtomicUsize,
    began: Instant,
    last_ms: AtomicU64,
    changed: Notify,
}

impl Uses {
    /// Nobody yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            count: AtomicUsize::new(0),
            began: Instant::now(),
            last_ms: AtomicU64::new(0),
            changed: Notify::new(),
        })
    }

    /// One more, until the value is dropped.
    pub fn begin(self: &Arc<Self>) -> InUse {
        self.count.fetch_add(1, Ordering::AcqRel);
        InUse { uses: self.clone() }
    }

    /// Since when nobody has used it; `None` while somebody does.
    pub fn idle_since(&self) -> Option<Instant> {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Acquire));
        (self.count.load(Ordering::Acquire) == 0).then(|| self.began + last)
    }

    /// Waits until somebody has left, now or since the last call.
    pub async fn left(&self) {
        self.changed.notified().await;
    }
}

/// That a sandbox is in use.
pub struct InUse {
    uses: Arc<Uses>,
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.uses.last_ms.store(clock::milliseconds(self.uses.began.elapsed()), Ordering::Release);
        self.uses.count.fetch_sub(1, Ordering::AcqRel);
        self.uses.changed.notify_one();
    }
}
