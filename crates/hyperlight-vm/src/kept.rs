//! Snapshots of machines on disk, so that a module's next machine need not be booted.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentkernel_wasm::is_ours_alone;
use hyperlight_host::sandbox::snapshot::Snapshot;
use hyperlight_unikraft::{SNAPSHOT_KEY, load_snapshot, save_snapshot};
use sha2::{Digest as _, Sha256};

use crate::root::GUEST_WASM_BUILD;

/// Snapshots that are kept. The one that was used longest ago goes first.
const KEPT_MAX: usize = 16;

/// The place of one snapshot: a folder of the user's, in which nothing is ever changed. Everything that goes wrong with it costs
/// time and nothing else: the machine is booted.
pub struct Kept {
    folder: PathBuf,
}

impl Kept {
    /// Where the snapshot of a machine of this code, with so much memory, is or will be.
    pub fn of(cache: &Path, code: &[u8], memory_mib: usize) -> Self {
        let mut digest = Sha256::new();
        for part in [code, GUEST_WASM_BUILD.as_bytes(), SNAPSHOT_KEY.as_bytes(), processor().as_bytes()] {
            digest.update(Sha256::digest(part));
        }
        digest.update((memory_mib as u64).to_le_bytes());
        let name: String = digest.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { folder: cache.join("machines").join(name) }
    }

    /// The snapshot, if there is one and nobody but this user can have written it.
    pub fn load(&self) -> Option<Arc<Snapshot>> {
        let folders = self.folder.ancestors().take(3);
        if !folders.into_iter().all(|folder| fs::symlink_metadata(folder).is_ok_and(|facts| is_ours(&facts)))
        {
            return None;
        }
        let snapshot = load_snapshot(&self.folder).ok()?;
        // It was used now. If that cannot be noted, it goes sooner.
        drop(File::open(&self.folder).and_then(|folder| folder.set_modified(std::time::SystemTime::now())));
        Some(snapshot)
    }

    /// Keeps a snapshot, as a whole or not at all.
    pub fn save(&self, snapshot: &Snapshot) {
        let unfinished = self.folder.with_extension(format!("{}.new", std::process::id()));
        if self.try_save(snapshot, &unfinished).is_err() {
            drop(fs::remove_dir_all(&unfinished));
        }
    }

    /// Forgets it. If that cannot be, the next one finds out what this one did.
    pub fn discard(&self) {
        drop(fs::remove_dir_all(&self.folder));
    }

    fn try_save(&self, snapshot: &Snapshot, unfinished: &Path) -> io::Result<()> {
        let folder = self.folder.parent().ok_or(io::ErrorKind::NotFound)?;
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        DirBuilder::new().mode(0o700).create(unfinished)?;
        save_snapshot(snapshot, unfinished).map_err(io::Error::other)?;
        sync(unfinished)?;
        if fs::rename(unfinished, &self.folder).is_err() {
            // There is one already: of another that was as quick, or of no use.
            if self.load().is_some() || !is_ours(&fs::symlink_metadata(&self.folder)?) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            fs::remove_dir_all(&self.folder)?;
            fs::rename(unfinished, &self.folder)?;
        }
        prune(folder)
    }
}

fn is_ours(facts: &fs::Metadata) -> bool {
    facts.is_dir() && is_ours_alone(facts)
}

/// Everything in it is on the disk before it gets its name.
fn sync(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { sync(&path)? } else { File::open(path)?.sync_all()? }
    }
    Ok(())
}

/// Removes what was used longest ago. A machine that was made of it keeps what it has.
fn prune(folder: &Path) -> io::Result<()> {
    let used = |path: &Path| fs::metadata(path).and_then(|facts| facts.modified()).ok();
    let entries = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path()));
    let mut kept = entries.collect::<io::Result<Vec<_>>>()?;
    kept.sort_by_key(|path| std::cmp::Reverse(used(path)));
    kept.iter().skip(KEPT_MAX).try_for_each(fs::remove_dir_all)
}

/// The processor: a machine that has run on one may know of it what is wrong on another.
fn processor() -> String {
    let told = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let is_of_kind = |line: &&str| ["model name", "flags"].iter().any(|name| line.starts_with(name));
    told.lines().filter(is_of_kind).take(2).collect()
}
