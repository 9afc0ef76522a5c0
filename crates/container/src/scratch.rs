//! A folder for what a program leaves behind, removed with whoever has it, or after him.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// How the names of such folders begin.
const PREFIX: &str = "agentkernel-scratch-";

/// The file in it that is locked while somebody has it.
const LOCK: &str = "held";

/// A folder of ours alone.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Scratch {
    /// Makes one, with a name that nobody can have taken before.
    pub(crate) fn new(below: &Path) -> io::Result<Self> {
        let mut bits = [0; 8];
        File::open("/dev/urandom")?.read_exact(&mut bits)?;
        let path = below.join(format!("{PREFIX}{:016x}", u64::from_le_bytes(bits)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::create_new(path.join(LOCK))?;
        lock.try_lock()?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes those of this user whose owner was killed. What fails is left for the next time.
    pub(crate) fn sweep(below: &Path) {
        let ours = rustix::process::geteuid().as_raw();
        for entry in fs::read_dir(below).into_iter().flatten().flatten() {
            let is_named = entry.file_name().to_string_lossy().starts_with(PREFIX);
            let is_ours =
                fs::symlink_metadata(entry.path()).is_ok_and(|facts| facts.is_dir() && facts.uid() == ours);
            // One that is just being made has no lock yet.
            if is_named
                && is_ours
                && let Ok(lock) = File::open(entry.path().join(LOCK))
                && lock.try_lock().is_ok()
            {
                fs::remove_dir_all(entry.path()).ok();
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What fails is found by the next sweep.
        fs::remove_dir_all(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_owner_and_what_a_killed_one_left_with_the_next() {
        let below = tempfile::tempdir().expect("a folder");
        let held = Scratch::new(below.path()).expect("made");
        let mode = fs::metadata(held.path()).expect("there").mode() & 0o777;
        // Of one whose owner was killed there is everything but the lock.
        let left = below.path().join(format!("{PREFIX}left"));
        fs::create_dir(&left).expect("made");
        for name in [LOCK, "archive"] {
            fs::write(left.join(name), "x").expect("written");
        }
        fs::create_dir(below.path().join(format!("{PREFIX}new"))).expect("being made");
        fs::create_dir(below.path().join("other")).expect("somebody else's");
        Scratch::sweep(below.path());
        assert!(held.path().exists() && !left.exists() && mode == 0o700);
        drop(held);
        assert_eq!(fs::read_dir(below.path()).expect("listed").count(), 2);
    }
}
