//! What has to be torn down when a fake sandbox ends, and what outlives the one that holds it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentkernel_core::{CauseOfDeath, Error, ErrorKind, Result, SandboxName, SandboxUsage, SignalTarget};
use tempfile::TempDir;
use tokio::sync::watch;

use super::TakenName;
use super::files::FakeFiles;
use super::kept::Kept;
use super::process::Left;
use super::tree::Tree;

const SIGCONT: u8 = 18;
const SIGSTOP: u8 = 19;

/// A sandbox apart from whoever holds it.
#[derive(Debug)]
pub struct House {
    name: SandboxName,
    pub files: FakeFiles,
    /// Where snapshots of it are kept.
    pub kept: Arc<Kept>,
    /// `None` once it has been torn down.
    inside: Mutex<Option<Inside>>,
    pub ended: watch::Sender<Option<CauseOfDeath>>,
    pub paused: watch::Sender<bool>,
    /// When its time is up.
    pub deadline: Mutex<Option<Instant>>,
    /// What each further command may have of memory, in bytes, once somebody has said so.
    pub memory_max: Mutex<Option<u64>>,
    /// It was made to outlive its holder.
    pub survives: AtomicBool,
    /// Its holder is as good as dead.
    lost: AtomicBool,
    /// Its commands, if their holder is.
    left: Mutex<Vec<Left>>,
}

#[derive(Debug)]
struct Inside {
    trees: Vec<Arc<Tree>>,
    workspace: PathBuf,
    /// Its root folder and its name, held until the end.
    _root: TempDir,
    _name: TakenName,
}

impl House {
    pub fn new(name: TakenName, root: TempDir, files: FakeFiles, workspace: PathBuf) -> Self {
        let (own_name, kept) = (name.name.clone(), name.names.kept.clone());
        let inside = Inside { trees: Vec::new(), workspace, _root: root, _name: name };
        Self {
            name: own_name,
            files,
            kept,
            inside: Mutex::new(Some(inside)),
            ended: watch::channel(None).0,
            paused: watch::channel(false).0,
            deadline: Mutex::default(),
            memory_max: Mutex::default(),
            survives: AtomicBool::new(false),
            lost: AtomicBool::new(false),
            left: Mutex::default(),
        }
    }

    pub fn name(&self) -> &SandboxName {
        &self.name
    }

    fn inside(&self) -> MutexGuard<'_, Option<Inside>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where commands run, or why they cannot.
    pub fn workspace(&self) -> Result<PathBuf> {
        let gone = || Error::new(ErrorKind::SandboxGone, "run the command", "the sandbox has ended");
        self.inside().as_ref().map(|inside| inside.workspace.clone()).ok_or_else(gone)
    }

    /// Waits while time stands still.
    pub async fn runs(&self) {
        // The sender is part of `self`, and cannot be gone.
        drop(self.paused.subscribe().wait_for(|paused| !paused).await);
    }

    /// Makes a tree one of those that end with the sandbox.
    pub fn keep(&self, tree: &Arc<Tree>) {
        match &mut *self.inside() {
            Some(inside) => inside.trees.push(tree.clone()),
            None => tree.kill(), // it came up while the sandbox went down
        }
    }

    /// Stops the time of every command, or lets it go on.
    pub fn pause(&self, paused: bool) {
        let number = if paused { SIGSTOP } else { SIGCONT };
        self.paused.send_replace(paused);
        if let Some(inside) = &*self.inside() {
            inside.trees.iter().for_each(|tree| tree.signal(number, SignalTarget::Group));
        }
    }

    /// What can be told without a boundary: how many commands run.
    pub fn usage(&self) -> SandboxUsage {
        let count = |inside: &Inside| inside.trees.iter().filter(|tree| tree.has_exited().is_none()).count();
        let pids = self.inside().as_ref().map(|inside| count(inside) as u64);
        SandboxUsage { pids, ..SandboxUsage::default() }
    }

    /// Kills everything and waits, blocking, until nothing is left. The first cause is the cause.
    pub fn tear_down(&self, cause: CauseOfDeath) {
        let inside = self.inside().take();
        if let Some(inside) = inside {
            inside.trees.iter().for_each(|tree| tree.kill());
            inside.trees.iter().for_each(|tree| tree.join());
            drop(inside);
            self.left().clear();
            self.ended.send_replace(Some(cause));
        }
    }

    pub fn lose_holder(&self) {
        self.lost.store(true, Ordering::Release);
    }

    /// Whether it lives on though nobody holds it.
    pub fn is_left(&self) -> bool {
        self.survives.load(Ordering::Acquire) && self.lost.load(Ordering::Acquire)
    }

    /// Keeps a command whose holder is gone. It holds this house in turn, and so is not kept once that is torn down.
    pub fn leave(&self, command: Left) {
        let inside = self.inside();
        if inside.is_some() {
            self.left().push(command);
        }
    }

    fn left(&self) -> MutexGuard<'_, Vec<Left>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody holds it again; these are its commands.
    pub fn take_back(&self) -> Vec<Left> {
        self.lost.store(false, Ordering::Release);
        std::mem::take(&mut *self.left())
    }

    /// How long it may still live.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = *self.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }

    /// Gives it so much time from now on.
    pub fn set_remaining(&self, remaining: Option<Duration>) {
        let deadline = remaining.map(|remaining| Instant::now() + remaining);
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = deadline;
    }
}
