//! Snapshots that somebody takes of a machine in use, and others continue.
//!
//! All of the machine is in its memory, for its disk is never written to: the memory is kept, and another name of the disk.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use agentkernel_core::{Error, ErrorKind, Result, SnapshotInfo, SnapshotName};
use serde::{Deserialize, Serialize};

use crate::control::Control;
use crate::plan::VmPlan;
use crate::snapshot::{Key, NewSnapshot, SnapshotStore};

/// The machine's memory, and its devices'.
const MEMORY: &str = "memory";

/// What is known of it.
const ABOUT: &str = "about";

/// Both are guarded by their digests.
const FILES: [&str; 2] = [MEMORY, ABOUT];

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
    about: String,
    created_ms: u64,
    fit: Fit,
}

/// The snapshots of one home.
#[derive(Debug, Clone)]
pub(crate) struct KeptStore(SnapshotStore);

/// One that can be continued.
pub(crate) struct Found {
    pub(crate) memory: PathBuf,
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
    pub(crate) fn below(home: &Path) -> Self {
        Self(SnapshotStore::of_users(home))
    }

    /// Whether the name is free.
    pub(crate) fn check_free(&self, name: &SnapshotName) -> Result<()> {
        if self.0.has(&Key::named(name)) {
            return Err(taken(name));
        }
        Ok(())
    }

    /// Writes the machine that this leads to down, which waits meanwhile, and goes on afterwards.
    pub(crate) async fn write(
        &self,
        name: &SnapshotName,
        plan: &VmPlan,
        control: &mut Control,
    ) -> Result<NewSnapshot> {
        let failed = |why: io::Error| Error::new(ErrorKind::Host, TAKE, why).on(name);
        let new = self.0.begin(&Key::named(name)).map_err(failed)?.ok_or_else(|| taken(name))?;
        // Now nobody else makes it.
        self.check_free(name)?;
        let written = control.write_snapshot(plan, &new.file(MEMORY)).await;
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
        let (store, key, about) = (self.0.clone(), Key::named(name), about.to_owned());
        let keep = move || {
            let about = About { about, created_ms: now_ms(), fit: of.fit };
            fs::write(new.file(ABOUT), serde_json::to_vec(&about)?)?;
            let root = store.file(&key, ROOT);
            match fs::hard_link(&of.root, &root) {
                // Of one whose maker was killed before it counted.
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
                    fs::remove_file(&root)?;
                    fs::hard_link(&of.root, &root)?;
                }
                linked => linked?,
            }
            new.keep(&FILES).inspect_err(|_| store.forget(&key))
        };
        let kept = tokio::task::spawn_blocking(keep).await.map_err(io::Error::other).flatten();
        kept.map(drop).map_err(|why| Error::new(ErrorKind::Host, TAKE, why).on(name))
    }

    /// The one of this name. Blocks.
    pub(crate) fn find(&self, name: &SnapshotName) -> Result<Found> {
        let key = Key::named(name);
        let failed = |why: io::Error| {
            let hint = format!("agentkernel snapshot rm {name}");
            Error::new(ErrorKind::Host, FIND, why).on(name).hint(hint)
        };
        let files = self.0.find(&key, &FILES).map_err(failed)?.ok_or_else(|| missing(name))?;
        let root = self.0.file(&key, ROOT);
        fs::symlink_metadata(&root).map_err(failed)?;
        let [memory, about] =
            <[PathBuf; 2]>::try_from(files).map_err(|_| failed(io::ErrorKind::NotFound.into()))?;
        let about =
            serde_json::from_slice(&fs::read(about).map_err(failed)?).map_err(|why| failed(why.into()))?;
        Ok(Found { memory, root, about })
    }

    /// All, the oldest first. One that nobody can read any more is told as that.
    pub(crate) fn list(&self) -> Result<Vec<SnapshotInfo>> {
        let names = self.0.names().map_err(|why| Error::new(ErrorKind::Host, "list the snapshots", why))?;
        let mut infos: Vec<_> =
            names.iter().filter_map(|name| name.parse().ok()).map(|name| self.info(name)).collect();
        infos.sort_by(|one, other| (one.created_ms, &one.name).cmp(&(other.created_ms, &other.name)));
        Ok(infos)
    }

    fn info(&self, name: SnapshotName) -> SnapshotInfo {
        let key = Key::named(&name);
        let bytes =
            |file: &str| fs::metadata(self.0.file(&key, file)).map_or(0, |facts| facts.blocks() * 512);
        let read = || serde_json::from_slice::<About>(&fs::read(self.0.file(&key, ABOUT)).ok()?).ok();
        let (about, created_ms) =
            read().map_or_else(Default::default, |about| (about.about, about.created_ms));
        // The disk is shared with all that were made of it.
        SnapshotInfo { bytes: FILES.map(bytes).iter().sum(), name, about, created_ms }
    }

    pub(crate) fn remove(&self, name: &SnapshotName) -> Result<()> {
        let key = Key::named(name);
        if !self.0.has(&key) {
            return Err(missing(name));
        }
        self.0.forget(&key);
        if self.0.has(&key) {
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
