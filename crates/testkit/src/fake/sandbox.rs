//! A fake sandbox: a temporary folder and the trees of processes that were started in it.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentkernel_core::{
    BackendKind, ByteSize, CauseOfDeath, Command, Ended, Error, ErrorKind, Files, Posture, Process,
    ProcessEvent, Resize, Result, Sandbox, SandboxName, Stopped,
};
use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::{AbortHandle, spawn_blocking};

use super::TakenName;
use super::files::FakeFiles;
use super::process::{self, FakeProcess};
use super::tree::Tree;

pub struct FakeSandbox {
    name: SandboxName,
    files: FakeFiles,
    house: Arc<House>,
    /// What each further command may have of memory, in bytes, once somebody has said so.
    memory_max: Mutex<Option<u64>>,
    lifetime: Option<AbortHandle>,
}

/// What has to be torn down.
struct House {
    /// `None` once it has been torn down.
    inside: Mutex<Option<Inside>>,
    ended: watch::Sender<Option<CauseOfDeath>>,
}

struct Inside {
    trees: Vec<Arc<Tree>>,
    workspace: PathBuf,
    /// Its root folder and its name, held until the end.
    _root: TempDir,
    _name: TakenName,
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
        let sandbox_name = name.name.clone();
        let inside = Inside { trees: Vec::new(), workspace, _root: root, _name: name };
        let house = Arc::new(House { inside: Mutex::new(Some(inside)), ended: watch::channel(None).0 });
        let lifetime = lifetime.map(|lifetime| end_after(lifetime, house.clone()));
        Ok(Self { name: sandbox_name, files, house, memory_max: Mutex::default(), lifetime })
    }

    /// Runs the shortest command there is.
    pub async fn prove_exec(&self) -> Result<()> {
        let mut process = self.exec(&Command::new(["true"])).await?;
        while !matches!(process.next().await?, ProcessEvent::Exited(_)) {}
        Ok(())
    }
}

fn end_after(lifetime: Duration, house: Arc<House>) -> AbortHandle {
    let task = tokio::spawn(async move {
        tokio::time::sleep(lifetime).await;
        drop(spawn_blocking(move || house.tear_down(CauseOfDeath::Timeout)).await);
    });
    task.abort_handle()
}

impl House {
    fn inside(&self) -> MutexGuard<'_, Option<Inside>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where commands run, or why they cannot.
    fn workspace(&self) -> Result<PathBuf> {
        let gone = || Error::new(ErrorKind::SandboxGone, "run the command", "the sandbox has ended");
        self.inside().as_ref().map(|inside| inside.workspace.clone()).ok_or_else(gone)
    }

    /// Makes a tree one of those that end with the sandbox.
    fn keep(&self, tree: &Arc<Tree>) {
        match &mut *self.inside() {
            Some(inside) => inside.trees.push(tree.clone()),
            None => tree.kill(), // it came up while the sandbox went down
        }
    }

    /// Kills everything and waits, blocking, until nothing is left. The first cause is the cause.
    fn tear_down(&self, cause: CauseOfDeath) {
        let inside = self.inside().take();
        if let Some(inside) = inside {
            inside.trees.iter().for_each(|tree| tree.kill());
            inside.trees.iter().for_each(|tree| tree.join());
            drop(inside);
            self.ended.send_replace(Some(cause));
        }
    }
}

#[async_trait]
impl Sandbox for FakeSandbox {
    fn name(&self) -> &SandboxName {
        &self.name
    }

    fn backend(&self) -> BackendKind {
        BackendKind::Fake
    }

    async fn exec(&self, command: &Command) -> Result<Box<dyn Process>> {
        let workspace = self.house.workspace()?;
        let memory_max = *self.memory_max.lock().unwrap_or_else(PoisonError::into_inner);
        let (tree, wiring) = process::start(command.clone(), workspace, memory_max).await?;
        let tree = Arc::new(tree);
        self.house.keep(&tree);
        Ok(Box::new(FakeProcess::new(tree, wiring)?))
    }

    fn files(&self) -> &dyn Files {
        &self.files
    }

    async fn ping(&self) -> Result<Duration> {
        let begin = Instant::now();
        self.house.workspace()?;
        Ok(begin.elapsed())
    }

    async fn posture(&self) -> Result<Posture> {
        Ok(Posture::default())
    }

    async fn resize(&self, to: &Resize) -> Result<()> {
        self.house.workspace()?;
        let memory_max = to.memory.value().map(ByteSize::get);
        *self.memory_max.lock().unwrap_or_else(PoisonError::into_inner) = memory_max;
        Ok(())
    }

    async fn ended(&self) -> Ended {
        let mut ended = self.house.ended.subscribe();
        let cause = ended.wait_for(Option::is_some).await.ok().and_then(|cause| *cause);
        Ended { cause: cause.unwrap_or(CauseOfDeath::BoundaryCrashed), detail: String::new() }
    }

    async fn stop(self: Box<Self>) -> Result<Stopped> {
        let cause = *self.house.ended.borrow();
        let house = self.house.clone();
        let down = spawn_blocking(move || house.tear_down(CauseOfDeath::Killed)).await;
        down.map_err(|error| Error::new(ErrorKind::Cleanup, "stop the sandbox", error).on(&self.name))?;
        Ok(Stopped { cause, out_of_memory_kills: 0, memory_peak_bytes: None })
    }
}

impl Drop for FakeSandbox {
    fn drop(&mut self) {
        if let Some(lifetime) = &self.lifetime {
            lifetime.abort();
        }
        self.house.tear_down(CauseOfDeath::Killed);
    }
}
