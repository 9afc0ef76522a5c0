//! Snapshots that somebody takes of a machine in use, and others continue.
//!
//! All of the machine is in its memory, for its disk is never written to: the memory is kept, and another name of the disk.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use agentkernel_core::{Error, ErrorKind, Result, SnapshotInfo, SnapshotName};
use serde::{Deserialize, Serialize};

use crate::backend::{Holdings, write_snapshot};
use crate::control::Control;
use crate::plan::firecracker::MEMORY;
use crate::plan::{VmPlan, VmmKind};
use crate::snapshot::{Key, NewSnapshot, SnapshotStore};
use crate::sparse;

/// What is known of it. It is guarded by its digest, as the machine's files are.
const ABOUT: &str = "about";

/// The disk, whose name among the images is its digest.
const ROOT: &str = "root";

const TAKE: &str = "take a snapshot of the sandbox";
const CONTINUE: &str = "continue from the snapshot";
const FIND: &str = "find the snapshot";

/// What a machine must have in common with one that continues from its snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fit {
    /// The VMM.
    pub(crate) program: PathBuf,
    pub(crate) version: String,
    /// What a guest may have seen of the processor.
    pub(crate) processor: String,
    /// What the VMM is told, but for names.
    pub(crate) words: String,
}

impl Fit {
    /// Why a machine of this fit cannot continue from a snapshot of that one.
    fn why_not(&self, kept: &Self) -> Option<String> {
        if kept.version != self.version || kept.program != self.program {
            let (theirs, ours) = (kept.program.display(), self.program.display());
            return Some(format!(
                "{theirs} {} has written it, and here is {ours} {}",
                kept.version, self.version
            ));
        }
        if kept.processor != self.processor {
            return Some("it was taken on another processor, or another microcode of it".into());
        }
        (kept.words != self.words).then(|| "it is one of a machine that was made with other words".into())
    }
}

/// What is written down.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    vmm: String,
    about: String,
    created_ms: u64,
    fit: Fit,
}

/// The snapshots of one home, of the machines of one VMM. A name is one machine's, whichever VMM's.
#[derive(Debug, Clone)]
pub(crate) struct KeptStore {
    store: SnapshotStore,
    vmm: VmmKind,
}

/// One that can be continued.
pub(crate) struct Found {
    /// The machine's.
    pub(crate) files: Vec<PathBuf>,
    pub(crate) root: PathBuf,
    about: About,
}

impl Found {
    /// Refuses a machine that would not be the same one.
    pub(crate) fn check(&self, name: &SnapshotName, fit: &Fit) -> Result<()> {
        match fit.why_not(&self.about.fit) {
            None => Ok(()),
            Some(why) => {
                let hint = format!("take it anew: agentkernel snapshot rm {name}");
                Err(Error::new(ErrorKind::NotSupported, CONTINUE, why).on(name).hint(hint))
            }
        }
    }
}

impl KeptStore {
    pub(crate) fn below(home: &Path, vmm: VmmKind) -> Self {
        Self { store: SnapshotStore::of_users(home), vmm }
    }

    /// Those of machines that have run what they were to run once: they are made anew where they are not there.
    pub(crate) fn warmed(home: &Path, vmm: VmmKind) -> Self {
        Self { store: SnapshotStore::warmed(home), vmm }
    }

    /// The files of one whose content is guarded: the machine's, and what is known of it.
    fn files(&self) -> Vec<&'static str> {
        self.vmm.snapshot_files().iter().copied().chain([ABOUT]).collect()
    }

    /// What is written down of one. Nobody has looked whether it is what was written.
    fn about(&self, key: &Key) -> Option<About> {
        serde_json::from_slice(&fs::read(self.store.file(key, ABOUT)).ok()?).ok()
    }

    /// Whether there is one of this name, of a machine of this VMM.
    fn has(&self, key: &Key) -> bool {
        let is_of_it = |about: Option<About>| match about {
            Some(about) => about.vmm == self.vmm.program(),
            // One that nobody can read any more is known by its files.
            None => self.vmm.snapshot_files().contains(&MEMORY) == self.store.file(key, MEMORY).exists(),
        };
        self.store.has(key) && is_of_it(self.about(key))
    }

    /// Whether the name is free.
    pub(crate) fn check_free(&self, name: &SnapshotName) -> Result<()> {
        if self.store.has(&Key::named(name)) {
            return Err(taken(name));
        }
        Ok(())
    }

    /// Writes the machine that this leads to down, which waits meanwhile, and goes on afterwards.
    pub(crate) async fn write(
        &self,
        name: &SnapshotName,
        of: (&VmPlan, &Holdings),
        control: &mut Control,
    ) -> Result<NewSnapshot> {
        let failed = |why: io::Error| Error::new(ErrorKind::Host, TAKE, why).on(name);
        let new = self.store.begin(&Key::named(name)).map_err(failed)?.ok_or_else(|| taken(name))?;
        // Now nobody else makes it.
        self.check_free(name)?;
        let written = write_snapshot(control, of.0, of.1, &new).await;
        // A machine whose memory was written stands still.
        let resumed = control.resume().await;
        written.and(resumed).map_err(failed)?;
        Ok(new)
    }

    /// Has it count: from now on it is found.
    pub(crate) async fn keep(
        &self,
        new: NewSnapshot,
        name: &SnapshotName,
        about: &str,
        of: Kept,
    ) -> Result<()> {
        let (kept_in, key, about) = (self.clone(), Key::named(name), about.to_owned());
        let keep = move || kept_in.keep_now(new, &key, about, of);
        let kept = tokio::task::spawn_blocking(keep).await.map_err(io::Error::other).flatten();
        kept.map_err(|why| Error::new(ErrorKind::Host, TAKE, why).on(name))
    }

    fn keep_now(&self, new: NewSnapshot, key: &Key, about: String, of: Kept) -> io::Result<()> {
        if let Some(base) = of.base {
            let memory = File::options().read(true).write(true).open(new.file(MEMORY))?;
            sparse::fill_holes(&memory, &base)?;
        }
        let about = About { vmm: self.vmm.program().into(), about, created_ms: now_ms(), fit: of.fit };
        fs::write(new.file(ABOUT), serde_json::to_vec(&about)?)?;
        let root = self.store.file(key, ROOT);
        match fs::hard_link(&of.root, &root) {
            // Of one whose maker was killed before it counted.
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&root)?;
                fs::hard_link(&of.root, &root)?;
            }
            linked => linked?,
        }
        new.keep(&self.files()).map(drop).inspect_err(|_| self.store.forget(key))
    }

    /// The one of this name. Blocks.
    pub(crate) fn find(&self, name: &SnapshotName) -> Result<Found> {
        let key = Key::named(name);
        let failed = |why: io::Error| {
            let hint = format!("agentkernel snapshot rm {name}");
            Error::new(ErrorKind::Host, FIND, why).on(name).hint(hint)
        };
        if !self.has(&key) {
            return Err(missing(name));
        }
        let files = self.store.find(&key, &self.files()).map_err(failed)?.ok_or_else(|| missing(name))?;
        let root = self.store.file(&key, ROOT);
        fs::symlink_metadata(&root).map_err(failed)?;
        let (about, files) = files.split_last().ok_or_else(|| missing(name))?;
        let about = fs::read(about).and_then(|about| Ok(serde_json::from_slice(&about)?)).map_err(failed)?;
        Ok(Found { files: files.to_vec(), root, about })
    }

    /// All, the oldest first. One that nobody can read any more is told as that.
    pub(crate) fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let names =
            self.store.names().map_err(|why| Error::new(ErrorKind::Host, "list the snapshots", why))?;
        let names = names.iter().filter_map(|name| name.parse().ok());
        let ours = names.filter(|name| self.has(&Key::named(name)));
        let mut infos: Vec<_> = ours.map(|name| self.info(name)).collect();
        infos.sort_by(|one, other| (one.created_ms, &one.name).cmp(&(other.created_ms, &other.name)));
        Ok(infos)
    }

    fn info(&self, name: SnapshotName) -> SnapshotInfo {
        let key = Key::named(&name);
        let bytes =
            |file: &str| fs::metadata(self.store.file(&key, file)).map_or(0, |facts| facts.blocks() * 512);
        let about = self.about(&key);
        let (about, created_ms) =
            about.map_or_else(Default::default, |about| (about.about, about.created_ms));
        // The disk is shared with all that were made of it.
        SnapshotInfo { bytes: self.files().into_iter().map(bytes).sum(), name, about, created_ms }
    }

    pub(crate) fn remove(&self, name: &SnapshotName) -> Result<()> {
        let key = Key::named(name);
        if !self.has(&key) {
            return Err(missing(name));
        }
        self.store.forget(&key);
        if self.store.has(&key) {
            let why = "its files cannot be removed";
            return Err(Error::new(ErrorKind::Cleanup, "remove the snapshot", why).on(name));
        }
        Ok(())
    }
}

/// What is kept beside a machine's memory.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) fit: Fit,
    pub(crate) root: PathBuf,
    /// The memory that it continues from, if its own has only what was touched since.
    pub(crate) base: Option<Arc<File>>,
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

fn taken(name: &SnapshotName) -> Error {
    Error::new(ErrorKind::NameTaken, TAKE, "there is a snapshot of this name")
        .on(name)
        .hint(format!("choose another name, or remove it: agentkernel snapshot rm {name}"))
}

fn missing(name: &SnapshotName) -> Error {
    Error::new(ErrorKind::NoSuchSnapshot, FIND, "there is none of this name")
        .on(name)
        .hint("agentkernel snapshot ls shows those that there are")
}

#[cfg(test)]
mod tests;
