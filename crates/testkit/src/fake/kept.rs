//! Snapshots of the fake: copies of a workspace. Its commands are processes of the host, and cannot be kept.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentkernel_core::{Error, ErrorKind, Evidence, Result, SnapshotInfo, SnapshotName};
use tempfile::TempDir;

use crate::random_u64;

/// All of one backend.
#[derive(Debug, Default)]
pub struct Kept(Mutex<BTreeMap<SnapshotName, (SnapshotInfo, TempDir)>>);

impl Kept {
    fn all(&self) -> MutexGuard<'_, BTreeMap<SnapshotName, (SnapshotInfo, TempDir)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn list(&self) -> Vec<SnapshotInfo> {
        let mut infos: Vec<_> = self.all().values().map(|(info, _)| info.clone()).collect();
        infos.sort_by_key(|info| info.created_ms);
        infos
    }

    pub fn keep(&self, name: &SnapshotName, about: &str, workspace: &Path) -> Result<()> {
        let failed =
            |why: io::Error| Error::new(ErrorKind::Host, "take a snapshot of the sandbox", why).on(name);
        let mut all = self.all();
        if all.contains_key(name) {
            let why = "there is a snapshot of this name";
            return Err(Error::new(ErrorKind::NameTaken, "take a snapshot of the sandbox", why).on(name));
        }
        let folder = tempfile::tempdir().map_err(failed)?;
        copy(workspace, folder.path()).map_err(|why| match why.kind() {
            // Its folder went while it was copied.
            io::ErrorKind::NotFound => {
                Error::new(ErrorKind::SandboxGone, "take a snapshot of the sandbox", "it has ended").on(name)
            }
            _ => failed(why),
        })?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let created_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        let info = SnapshotInfo { name: name.clone(), about: about.to_owned(), created_ms, bytes: 4096 };
        all.insert(name.clone(), (info, folder));
        Ok(())
    }

    pub fn check(&self, name: &SnapshotName) -> Result<()> {
        self.all().get(name).map(drop).ok_or_else(|| missing(name))
    }

    pub fn fill(&self, name: &SnapshotName, workspace: &Path) -> Result<()> {
        let all = self.all();
        let (_, folder) = all.get(name).ok_or_else(|| missing(name))?;
        let failed = |why: io::Error| Error::new(ErrorKind::Host, "continue from the snapshot", why).on(name);
        copy(folder.path(), workspace).map_err(failed)
    }

    pub fn remove(&self, name: &SnapshotName) -> Result<()> {
        self.all().remove(name).map(drop).ok_or_else(|| missing(name))
    }
}

fn missing(name: &SnapshotName) -> Error {
    Error::new(ErrorKind::NoSuchSnapshot, "find the snapshot", "there is none of this name").on(name)
}

/// Files, folders and links. What goes away meanwhile, as the hidden file of a write that ends, is not there.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let copied = copy_entry(&entry, &to.join(entry.file_name()));
        copied.or_else(|why| if why.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(why) })?;
    }
    Ok(())
}

fn copy_entry(entry: &DirEntry, target: &Path) -> io::Result<()> {
    let kind = entry.file_type()?;
    if kind.is_symlink() {
        return symlink(fs::read_link(entry.path())?, target);
    }
    if kind.is_dir() {
        fs::create_dir(target)?;
        return copy(&entry.path(), target);
    }
    fs::copy(entry.path(), target).map(drop)
}

/// What a guest would show.
pub fn evidence() -> Evidence {
    let random = || format!("{:016x}", random_u64());
    Evidence { boot_id: random(), random_sample: random() + &random(), clock_error: Duration::ZERO }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_nowhere_are_kept_and_a_workspace_that_is_gone_is_told() {
        let (kept, workspace) = (Kept::default(), tempfile::tempdir().expect("a folder"));
        fs::create_dir(workspace.path().join("folder")).expect("made");
        symlink("nowhere", workspace.path().join("folder/link")).expect("linked");
        let name = |name: &str| name.parse::<SnapshotName>().expect("a name");
        kept.keep(&name("one"), "about", workspace.path()).expect("kept");
        let again = tempfile::tempdir().expect("a folder");
        kept.fill(&name("one"), again.path()).expect("filled");
        assert_eq!(fs::read_link(again.path().join("folder/link")).expect("a link"), Path::new("nowhere"));
        workspace.close().expect("removed");
        let gone = kept.keep(&name("two"), "about", Path::new("/nonexistent")).expect_err("it is gone");
        assert_eq!(gone.kind, ErrorKind::SandboxGone);
    }
}
