//! Backends that break one rule on purpose, so that the suite is seen to notice.
//!
//! [`FaultyBackend`] stands between the suite and any backend, and lies at the doors. Whatever it does
//! not lie about goes to the backend behind it.

mod control;
mod expectation;
mod files;
mod process;
mod sandbox;
mod spec;
mod table;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentkernel_core::{
    Adopted, Availability, Backend, BackendKind, Booted, Capabilities, Command, Error, ErrorKind, Process,
    Restored, Result, Sandbox, SandboxName, SandboxSpec, SnapshotInfo, SnapshotName,
};
use async_trait::async_trait;
use tokio::sync::Semaphore;

pub use expectation::Expectation;
pub use table::{EXPECTATIONS, Fault};

use crate::random_u64;
use sandbox::FaultySandbox;

/// A sandbox of the backend behind, which several liars may hold.
type Inner = Arc<Box<dyn Sandbox>>;

/// A backend with one fault.
pub struct FaultyBackend {
    inner: Arc<dyn Backend>,
    fault: Fault,
    memory: Arc<Memory>,
    /// Its sandboxes end with their holder.
    mortal: bool,
}

/// What the liar remembers between sandboxes.
struct Memory {
    /// Sandboxes that are said to be stopped.
    parked: Mutex<BTreeMap<SandboxName, Inner>>,
    /// The first sandbox of all.
    first: Mutex<Option<Inner>>,
    /// Whose turn it is to live.
    turn: Arc<Semaphore>,
    /// What nobody stops, before the liar itself is gone.
    left: Mutex<Vec<Left>>,
}

/// Something that is left behind.
#[expect(dead_code, reason = "held, and never looked at")]
enum Left {
    Sandbox(Inner),
    Process(Box<dyn Process>),
    File(File),
}

/// A sandbox of the backend behind, and the times of its boot.
struct Up {
    inner: Inner,
    boot: Duration,
    ready: Duration,
}

impl From<Booted> for Up {
    fn from(booted: Booted) -> Self {
        Self { inner: Arc::new(booted.sandbox), boot: booted.boot, ready: booted.ready }
    }
}

impl FaultyBackend {
    /// The backend `inner`, except for one fault.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, fault: Fault) -> Self {
        let (parked, first, left) = (Mutex::default(), Mutex::default(), Mutex::default());
        let memory = Memory { parked, first, turn: Arc::new(Semaphore::new(1)), left };
        Self { inner, fault, memory: Arc::new(memory), mortal: false }
    }

    /// The same for sandboxes that cannot be got back, and say so.
    #[must_use]
    pub fn mortal(self) -> Self {
        Self { mortal: true, ..self }
    }

    /// A sandbox of the backend behind: a new one, or one from before where that is the fault.
    async fn up(&self, spec: &SandboxSpec) -> Result<Up> {
        let used = match self.fault {
            Fault::ReuseAfterStop => lock(&self.memory.parked).remove(spec.name()),
            Fault::SharedSandbox => lock(&self.memory.first).clone(),
            _ => None,
        };
        if let Some(inner) = used {
            let moment = Duration::from_micros(1);
            return Ok(Up { inner, boot: moment, ready: moment });
        }
        let up = match (self.inner.boot(spec).await, self.fault) {
            (Err(error), Fault::NameTakenTwice) if error.kind == ErrorKind::NameTaken => {
                let other = spec::renamed(spec, SandboxName::from_random(random_u64()))?;
                Up::from(self.inner.boot(&other).await?)
            }
            (booted, _) => Up::from(booted?),
        };
        if matches!(self.fault, Fault::SharedSandbox | Fault::TwoHolders) {
            *lock(&self.memory.first) = Some(up.inner.clone());
        }
        Ok(up)
    }

    /// A failure to boot that leaves what it has made.
    async fn fail_and_leave(&self, spec: &SandboxSpec) -> Result<Booted> {
        let inner = Up::from(self.inner.boot(&spec::without_mounts(spec)?).await?).inner;
        let process = inner.exec(&Command::new(["sleep", "1000"])).await?;
        lock(&self.memory.left).push(Left::Process(process));
        lock(&self.memory.left).push(Left::Sandbox(inner));
        Err(Error::new(ErrorKind::Boot, "start the sandbox", "the mount's source does not exist"))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Backend for FaultyBackend {
    fn kind(&self) -> BackendKind {
        self.inner.kind()
    }

    fn capabilities(&self) -> Capabilities {
        let can = self.inner.capabilities();
        Capabilities { adopt: can.adopt && !self.mortal, ..can }
    }

    async fn probe(&self) -> Availability {
        if self.fault == Fault::ProbeLies {
            return Availability::Unavailable { needs: "nothing".into(), hint: "believe it".into() };
        }
        self.inner.probe().await
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        if self.fault == Fault::FailedBootLeaves && !spec.mounts().is_empty() {
            return self.fail_and_leave(spec).await;
        }
        let turn = match self.fault {
            Fault::OneSandboxAtATime => self.memory.turn.clone().acquire_owned().await.ok(),
            _ => None,
        };
        if self.fault == Fault::LeaksDescriptor {
            lock(&self.memory.left).extend(File::open("/dev/null").map(Left::File));
        }
        let bent = spec::bent(spec, self.fault)?;
        let mut up = self.up(&bent).await?;
        if self.fault == Fault::PersistsAlways {
            up.inner.persist().await?;
        }
        if self.fault == Fault::WrongTimes {
            up.boot += Duration::from_secs(3600);
        }
        let backend = self.inner.clone();
        let sandbox = FaultySandbox::new(up.inner, bent, self.fault, backend, self.memory.clone(), turn);
        Ok(Booted { sandbox: Box::new(sandbox), boot: up.boot, ready: up.ready })
    }

    async fn adopt(&self, spec: &SandboxSpec) -> Result<Adopted> {
        let second = match self.fault {
            Fault::TwoHolders => lock(&self.memory.first).take(),
            _ => None,
        };
        let (inner, mut commands) = match second {
            Some(inner) => (inner, Vec::new()),
            None => {
                let adopted = self.inner.adopt(spec).await?;
                (Arc::new(adopted.sandbox), adopted.commands)
            }
        };
        match self.fault {
            Fault::CommandsAreLost => commands.clear(),
            Fault::AdoptionResumes => inner.resume().await?,
            _ => {}
        }
        let (backend, memory) = (self.inner.clone(), self.memory.clone());
        let sandbox = FaultySandbox::new(inner, spec.clone(), self.fault, backend, memory, None);
        Ok(Adopted { sandbox: Box::new(sandbox), commands })
    }

    async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        self.inner.snapshots().await
    }

    async fn restore(&self, spec: &SandboxSpec, from: &SnapshotName) -> Result<Restored> {
        let restored = self.inner.restore(spec, from).await?;
        let inner = match self.fault {
            Fault::SnapshotIsEmpty => {
                restored.sandbox.stop().await?;
                Arc::new(self.inner.boot(spec).await?.sandbox)
            }
            _ => Arc::new(restored.sandbox),
        };
        let (backend, memory) = (self.inner.clone(), self.memory.clone());
        let sandbox = FaultySandbox::new(inner, spec.clone(), self.fault, backend, memory, None);
        Ok(Restored { sandbox: Box::new(sandbox), ..restored })
    }

    async fn remove_snapshot(&self, name: &SnapshotName) -> Result<()> {
        if self.fault == Fault::SnapshotsStay { Ok(()) } else { self.inner.remove_snapshot(name).await }
    }
}
