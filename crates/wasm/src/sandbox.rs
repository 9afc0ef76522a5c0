//! A sandbox: a module, its limits, and the commands that run in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use agentkernel_core::{
    BackendKind, Call, CauseOfDeath, Command, Ended, Error, ErrorKind, Files, NoFiles, Posture, Process,
    Result, Returned, Sandbox, SandboxName, SandboxSpec, SandboxUsage, Stopped,
};
use async_trait::async_trait;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::guest::Purse;
use crate::machine::Machine;
use crate::program::Program;
use crate::refusals::Wanted;
use crate::{call, process, trial};

/// A sandbox of one module. Dropping it ends its commands.
pub(crate) struct WasmSandbox {
    name: SandboxName,
    house: Arc<House>,
    /// Ends it when its time is up.
    timer: std::sync::Mutex<Option<AbortHandle>>,
}

/// What its commands share.
pub(crate) struct House {
    pub(crate) machine: Arc<Machine>,
    pub(crate) program: Arc<Program>,
    pub(crate) purse: Arc<Purse>,
    pub(crate) processors: Arc<Semaphore>,
    pub(crate) used_ns: Arc<AtomicU64>,
    wanted: Wanted,
    next_pid: AtomicU32,
    inhabitants: watch::Sender<usize>,
    /// Why it ended.
    end: watch::Sender<Option<Ended>>,
}

/// A command that runs in it.
pub(crate) struct Inhabitant {
    house: Arc<House>,
    pub(crate) pid: u32,
}

impl House {
    /// Lets one more command in.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Inhabitant> {
        self.check_open()?;
        let most = self.wanted.commands;
        let is_in = self.inhabitants.send_if_modified(|count| {
            let has_room = *count < most;
            *count += usize::from(has_room);
            has_room
        });
        if !is_in {
            let why = format!("{most} commands run in it, which is its limit of processes");
            return Err(Error::new(ErrorKind::CommandRefused, "start the command", why));
        }
        let pid = self.next_pid.fetch_add(1, Ordering::Relaxed);
        Ok(Inhabitant { house: Arc::clone(self), pid })
    }

    fn check_open(&self) -> Result<()> {
        match &*self.end.borrow() {
            None => Ok(()),
            Some(ended) => Err(Error::new(ErrorKind::SandboxGone, "use the sandbox", &ended.detail)),
        }
    }

    /// Waits until it has ended, and says how.
    pub(crate) async fn ended(&self) -> Ended {
        let mut end = self.end.subscribe();
        let ended = end.wait_for(Option::is_some).await.ok().and_then(|ended| ended.clone());
        ended.unwrap_or(Ended { cause: CauseOfDeath::Killed, detail: "it was stopped".into() })
    }

    fn close(&self, cause: CauseOfDeath, detail: &str) {
        self.end.send_if_modified(|end| {
            let is_first = end.is_none();
            end.get_or_insert_with(|| Ended { cause, detail: detail.to_owned() });
            is_first
        });
    }
}

impl Drop for Inhabitant {
    fn drop(&mut self) {
        self.house.inhabitants.send_modify(|count| *count -= 1);
    }
}

impl WasmSandbox {
    pub(crate) fn new(
        spec: &SandboxSpec,
        wanted: Wanted,
        machine: &Arc<Machine>,
        program: Arc<Program>,
    ) -> Self {
        let house = House {
            machine: Arc::clone(machine),
            program,
            purse: Purse::new(wanted.memory_bytes),
            processors: Arc::new(Semaphore::new(wanted.processors.min(Semaphore::MAX_PERMITS))),
            used_ns: Arc::default(),
            wanted,
            next_pid: AtomicU32::new(1),
            inhabitants: watch::channel(0).0,
            end: watch::channel(None).0,
        };
        let sandbox =
            Self { name: spec.name().clone(), house: Arc::new(house), timer: std::sync::Mutex::default() };
        if let Some(lifetime) = spec.lifetime() {
            sandbox.live_for(lifetime);
        }
        sandbox
    }

    fn live_for(&self, lifetime: Duration) {
        let house = Arc::clone(&self.house);
        let timer = tokio::spawn(async move {
            sleep(lifetime).await;
            house.close(CauseOfDeath::Timeout, "its time was up");
        });
        self.set_timer(Some(timer.abort_handle()));
    }

    fn set_timer(&self, timer: Option<AbortHandle>) {
        // Nothing that is done under the lock can panic halfway.
        let mut slot = self.timer.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(before) = std::mem::replace(&mut *slot, timer) {
            before.abort();
        }
    }
}

impl Drop for WasmSandbox {
    fn drop(&mut self) {
        self.set_timer(None);
        self.house.close(CauseOfDeath::Killed, "it was stopped");
    }
}

#[async_trait]
impl Sandbox for WasmSandbox {
    fn name(&self) -> &SandboxName {
        &self.name
    }

    fn backend(&self) -> BackendKind {
        BackendKind::Wasm
    }

    async fn exec(&self, command: &Command) -> Result<Box<dyn Process>> {
        let started = process::start(&self.house, command).await;
        started.map(|process| Box::new(process) as Box<dyn Process>).map_err(|why| match why.kind {
            ErrorKind::CommandNotExecutable => why.on(self.house.wanted.file.path().display()),
            _ => why,
        })
    }

    async fn call(&self, call: &Call) -> Result<Returned> {
        self.house.check_open()?;
        tokio::select! {
            biased;
            returned = call::call(&self.house, call) => returned,
            ended = self.house.ended() => {
                Err(Error::new(ErrorKind::SandboxGone, "call the function", ended.detail).on(&call.function))
            }
        }
    }

    fn files(&self) -> &dyn Files {
        &NoFiles("a Wasm module has no files")
    }

    async fn ping(&self) -> Result<Duration> {
        // There is no agent that could be silent: what answers is this process.
        let began = Instant::now();
        self.house.check_open()?;
        Ok(began.elapsed())
    }

    async fn posture(&self) -> Result<Posture> {
        self.house.check_open()?;
        trial::posture(&self.house.machine, self.house.wanted.memory_bytes).await
    }

    async fn ended(&self) -> Ended {
        self.house.ended().await
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.live_for(lifetime);
        Ok(())
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        let house = &self.house;
        Ok(SandboxUsage {
            memory_bytes: Some(house.purse.used_bytes()),
            memory_peak_bytes: Some(house.purse.peak_bytes()),
            cpu: Some(Duration::from_nanos(house.used_ns.load(Ordering::Relaxed))),
            pids: Some(*house.inhabitants.borrow() as u64),
        })
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        let cause = self.house.end.borrow().as_ref().map(|ended| ended.cause);
        self.house.close(CauseOfDeath::Killed, "it was stopped");
        let mut inhabitants = self.house.inhabitants.subscribe();
        // The sender is in the house, which is here: it cannot be gone.
        drop(inhabitants.wait_for(|count| *count == 0).await);
        let purse = &self.house.purse;
        Ok(Stopped { cause, out_of_memory_kills: purse.kills(), memory_peak_bytes: Some(purse.peak_bytes()) })
    }
}
