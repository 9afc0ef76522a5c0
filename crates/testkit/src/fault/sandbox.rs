//! A sandbox that lies.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentkernel_core::{
    Backend, BackendKind, CauseOfDeath, Command, Ended, Error, ErrorKind, Files, HostSocket, Posture,
    Process, Resize, Result, Sandbox, SandboxName, SandboxSpec, SandboxUsage, SnapshotName, Stopped,
};
use async_trait::async_trait;
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore};

use super::files::FaultyFiles;
use super::process::{FaultyProcess, bent};
use super::{Fault, Inner, Left, Memory, lock, spec};
use crate::random_u64;

pub struct FaultySandbox {
    name: SandboxName,
    spec: SandboxSpec,
    fault: Fault,
    /// Holds the sandbox behind.
    files: FaultyFiles,
    backend: Arc<dyn Backend>,
    memory: Arc<Memory>,
    shared: Arc<Shared>,
    /// A sandbox behind for the time after this one.
    spare: OnceCell<Box<dyn Sandbox>>,
    _turn: Option<OwnedSemaphorePermit>,
}

/// What the liar's sandbox and its processes both know.
pub struct Shared {
    pub stopped: AtomicBool,
    /// Commands whose end has not been told.
    pub live: AtomicUsize,
    /// Whose turn it is to run.
    pub turn: Arc<Semaphore>,
    /// Commands that nobody kills, before the sandbox is gone.
    pub left: Mutex<Vec<Box<dyn Process>>>,
    has_refused: AtomicBool,
}

impl FaultySandbox {
    pub fn new(
        inner: Inner,
        spec: SandboxSpec,
        fault: Fault,
        backend: Arc<dyn Backend>,
        memory: Arc<Memory>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let name = match fault {
            Fault::WrongName => SandboxName::from_random(random_u64()),
            _ => spec.name().clone(),
        };
        let shared = Shared {
            stopped: AtomicBool::new(false),
            live: AtomicUsize::new(0),
            turn: Arc::new(Semaphore::new(1)),
            left: Mutex::default(),
            has_refused: AtomicBool::new(false),
        };
        let files = FaultyFiles { inner: Some(inner), fault };
        let (shared, spare) = (Arc::new(shared), OnceCell::new());
        Self { name, spec, fault, files, backend, memory, shared, spare, _turn: turn }
    }

    fn inner(&self) -> &dyn Sandbox {
        self.files.inner()
    }

    /// Starts a command of the sandbox behind, or something else where that is the fault.
    async fn start(&self, command: &Command) -> Result<Box<dyn Process>> {
        let error = match self.inner().exec(command).await {
            Ok(process) => return Ok(process),
            Err(error) => error,
        };
        match (self.fault, error.kind) {
            (Fault::MissingProgramRuns, ErrorKind::CommandNotFound) => {
                self.inner().exec(&Command::new(["/bin/sh", "-c", "exit 127"])).await
            }
            (Fault::WrongKindOfRefusal, ErrorKind::CommandNotExecutable) => {
                Err(Error { kind: ErrorKind::CommandNotFound, ..error })
            }
            (Fault::MissingFolderIsIgnored, ErrorKind::CommandRefused) => {
                self.inner().exec(&Command { cwd: None, ..command.clone() }).await
            }
            (Fault::CommandsAfterTheEnd, ErrorKind::SandboxGone) => self.spare().await?.exec(command).await,
            _ => Err(error),
        }
    }

    async fn spare(&self) -> Result<&dyn Sandbox> {
        let boot = || async {
            let other = spec::renamed(&self.spec, SandboxName::from_random(random_u64()))?;
            Ok(self.backend.boot(&other).await?.sandbox)
        };
        Ok(&**self.spare.get_or_try_init(boot).await?)
    }
}

#[async_trait]
impl Sandbox for FaultySandbox {
    fn name(&self) -> &SandboxName {
        &self.name
    }

    fn backend(&self) -> BackendKind {
        self.inner().backend()
    }

    async fn exec(&self, command: &Command) -> Result<Box<dyn Process>> {
        if self.fault == Fault::BootTooEarly && !self.shared.has_refused.swap(true, Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::CommandRefused, "run the command", "not ready yet"));
        }
        let turn = match self.fault {
            Fault::OneAtATime => self.shared.turn.clone().acquire_owned().await.ok(),
            _ => None,
        };
        let process = self.start(&bent(command, self.fault)).await?;
        let watcher = match self.fault {
            Fault::WaitForTheGroup => Some(self.inner().exec(&while_group_lives(process.pid())).await?),
            _ => None,
        };
        let shared = self.shared.clone();
        Ok(Box::new(FaultyProcess::new(process, self.fault, command.timeout, shared, watcher, turn)))
    }

    fn files(&self) -> &dyn Files {
        &self.files
    }

    async fn ping(&self) -> Result<Duration> {
        if self.fault == Fault::PingFails {
            return Err(Error::new(ErrorKind::Timeout, "ping the sandbox", "no answer"));
        }
        self.inner().ping().await
    }

    async fn posture(&self) -> Result<Posture> {
        self.inner().posture().await
    }

    async fn resize(&self, to: &Resize) -> Result<()> {
        if self.fault == Fault::NewLimitsAreLost { Ok(()) } else { self.inner().resize(to).await }
    }

    async fn open_socket(&self, socket: &HostSocket) -> Result<()> {
        self.inner().open_socket(socket).await
    }

    async fn pause(&self) -> Result<()> {
        if self.fault == Fault::PauseIsLost { Ok(()) } else { self.inner().pause().await }
    }

    async fn persist(&self) -> Result<()> {
        if self.fault == Fault::PersistIsLost { Ok(()) } else { self.inner().persist().await }
    }

    async fn snapshot(&self, name: &SnapshotName, about: &str) -> Result<()> {
        self.inner().snapshot(name, about).await
    }

    async fn resume(&self) -> Result<()> {
        self.inner().resume().await
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.inner().set_lifetime(lifetime).await
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        self.inner().usage().await
    }

    async fn ended(&self) -> Ended {
        let ended = self.inner().ended().await;
        if self.fault == Fault::WrongCause { Ended { cause: CauseOfDeath::Exited, ..ended } } else { ended }
    }

    async fn stop(mut self: Box<Self>) -> Result<Stopped> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let nothing = Stopped { cause: None, out_of_memory_kills: 0, memory_peak_bytes: None };
        let Some(inner) = self.files.inner.take() else { return Ok(nothing) };
        match self.fault {
            Fault::StopLeavesProcesses => lock(&self.memory.left).push(Left::Sandbox(inner)),
            Fault::ReuseAfterStop => {
                lock(&self.memory.parked).insert(self.spec.name().clone(), inner);
            }
            // Where another liar holds it as well, it lives on.
            _ => {
                if let Some(inner) = Arc::into_inner(inner) {
                    let stopped = inner.stop().await;
                    return if self.fault == Fault::StopFails { Err(failed_on_purpose()) } else { stopped };
                }
            }
        }
        Ok(nothing)
    }
}

impl Drop for FaultySandbox {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        if self.fault == Fault::DropLeavesProcesses {
            lock(&self.memory.left).extend(self.files.inner.take().map(Left::Sandbox));
        }
    }
}

fn failed_on_purpose() -> Error {
    Error::new(ErrorKind::Cleanup, "stop the sandbox", "failed on purpose")
}

/// Ends when no process of the group is left.
fn while_group_lives(group: u32) -> Command {
    let script = format!("while kill -s 0 -- -{group} 2>/dev/null; do sleep 0.02; done");
    Command::new(["/bin/sh", "-c", &script])
}
