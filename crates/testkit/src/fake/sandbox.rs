//! A fake sandbox: a temporary folder and the trees of processes that were started in it.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentkernel_core::{
    BackendKind, ByteSize, CauseOfDeath, Command, Ended, Error, ErrorKind, Files, Posture, Process,
    ProcessEvent, Resize, Result, Sandbox, SandboxName, SandboxUsage, SnapshotName, Stopped,
};
use async_trait::async_trait;
use tokio::task::{AbortHandle, spawn_blocking};

use super::TakenName;
use super::files::FakeFiles;
use super::house::House;
use super::process::{self, FakeProcess};

pub struct FakeSandbox {
    house: Arc<House>,
    lifetime: Mutex<Option<AbortHandle>>,
}

impl FakeSandbox {
    /// Makes the folder. Must be called in an async runtime, which ends the sandbox after `lifetime`.
    pub fn new(name: TakenName, lifetime: Option<Duration>) -> Result<Self> {
        let failed = |error: io::Error| Error::new(ErrorKind::Boot, "make the sandbox's folder", error);
        // Whatever gets away can be told by this name: it is in the HOME of every command.
        let prefix = format!("ak-fake-{}-", name.name);
        let root = tempfile::Builder::new().prefix(&prefix).tempdir().map_err(failed)?;
        let workspace = root.path().join("workspace");
        std::fs::create_dir(&workspace).map_err(failed)?;
        let files = FakeFiles::new(root.path()).map_err(failed)?;
        let house = Arc::new(House::new(name, root, files, workspace));
        house.set_remaining(lifetime);
        Ok(Self::of(house))
    }

    /// The holder of a sandbox that is there already.
    pub fn of(house: Arc<House>) -> Self {
        let sandbox = Self { house, lifetime: Mutex::default() };
        sandbox.watch_lifetime();
        sandbox
    }

    pub fn house(&self) -> &Arc<House> {
        &self.house
    }

    /// Runs the shortest command there is.
    pub async fn prove_exec(&self) -> Result<()> {
        let mut process = self.exec(&Command::new(["true"])).await?;
        while !matches!(process.next().await?, ProcessEvent::Exited(_)) {}
        Ok(())
    }

    /// Ends the sandbox when its time is up, as it is now.
    fn watch_lifetime(&self) {
        let task = self.house.remaining().map(|remaining| end_after(remaining, self.house.clone()));
        let mut lifetime = self.lifetime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = std::mem::replace(&mut *lifetime, task) {
            old.abort();
        }
    }
}

fn end_after(lifetime: Duration, house: Arc<House>) -> AbortHandle {
    let task = tokio::spawn(async move {
        tokio::time::sleep(lifetime).await;
        drop(spawn_blocking(move || house.tear_down(CauseOfDeath::Timeout)).await);
    });
    task.abort_handle()
}

#[async_trait]
impl Sandbox for FakeSandbox {
    fn name(&self) -> &SandboxName {
        self.house.name()
    }

    fn backend(&self) -> BackendKind {
        BackendKind::Fake
    }

    async fn exec(&self, command: &Command) -> Result<Box<dyn Process>> {
        self.house.runs().await;
        let workspace = self.house.workspace()?;
        let memory_max = *self.house.memory_max.lock().unwrap_or_else(PoisonError::into_inner);
        let (tree, wiring) = process::start(command.clone(), workspace, memory_max).await?;
        let tree = Arc::new(tree);
        self.house.keep(&tree);
        Ok(Box::new(FakeProcess::new(self.house.clone(), tree, wiring)?))
    }

    fn files(&self) -> &dyn Files {
        &self.house.files
    }

    async fn ping(&self) -> Result<Duration> {
        let begin = Instant::now();
        self.house.runs().await;
        self.house.workspace()?;
        Ok(begin.elapsed())
    }

    async fn posture(&self) -> Result<Posture> {
        Ok(Posture::default())
    }

    async fn resize(&self, to: &Resize) -> Result<()> {
        self.house.workspace()?;
        let memory_max = to.memory.value().map(ByteSize::get);
        *self.house.memory_max.lock().unwrap_or_else(PoisonError::into_inner) = memory_max;
        Ok(())
    }

    async fn ended(&self) -> Ended {
        let mut ended = self.house.ended.subscribe();
        let cause = ended.wait_for(Option::is_some).await.ok().and_then(|cause| *cause);
        Ended { cause: cause.unwrap_or(CauseOfDeath::BoundaryCrashed), detail: String::new() }
    }

    async fn pause(&self) -> Result<()> {
        self.house.workspace()?;
        self.house.pause(true);
        Ok(())
    }

    async fn resume(&self) -> Result<()> {
        self.house.workspace()?;
        self.house.pause(false);
        Ok(())
    }

    async fn snapshot(&self, name: &SnapshotName, about: &str) -> Result<()> {
        self.house.kept.keep(name, about, &self.house.workspace()?)
    }

    async fn persist(&self) -> Result<()> {
        self.house.workspace()?;
        self.house.survives.store(true, Ordering::Release);
        Ok(())
    }

    async fn set_lifetime(&self, lifetime: Duration) -> Result<()> {
        self.house.workspace()?;
        self.house.set_remaining(Some(lifetime));
        self.watch_lifetime();
        Ok(())
    }

    async fn usage(&self) -> Result<SandboxUsage> {
        self.house.workspace()?;
        Ok(self.house.usage())
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        let cause = *self.house.ended.borrow();
        let house = self.house.clone();
        let down = spawn_blocking(move || house.tear_down(CauseOfDeath::Killed)).await;
        down.map_err(|error| {
            Error::new(ErrorKind::Cleanup, "stop the sandbox", error).on(self.house.name())
        })?;
        Ok(Stopped { cause, out_of_memory_kills: 0, memory_peak_bytes: None })
    }
}

impl Drop for FakeSandbox {
    fn drop(&mut self) {
        let lifetime = self.lifetime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(lifetime) = lifetime {
            lifetime.abort();
        }
        if self.house.survives.load(Ordering::Acquire) {
            self.house.lose_holder();
        } else {
            self.house.tear_down(CauseOfDeath::Killed);
        }
    }
}
