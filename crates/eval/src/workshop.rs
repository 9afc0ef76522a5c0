//! The folder in which an interpreter is made: one at a time, and gone afterwards.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use agentkernel_core::Result;

use crate::tools::failed;

/// Held while somebody makes one.
const LOCK: &str = "lock";
const FOLDER: &str = "making";

/// A folder that nobody else uses or can look into. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct Workshop {
    path: PathBuf,
    /// Held as long as the folder is there.
    _lock: File,
}

impl Workshop {
    /// The one below `home`, emptied of what a setup that was killed has left.
    pub(crate) fn open(home: &Path) -> Result<Self> {
        let host = |why: io::Error| failed(why).on(home.display());
        private(home).map_err(host)?;
        let lock = File::create(home.join(LOCK)).map_err(host)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(failed("another setup is at work").on(home.display()).hint("wait for it"));
            }
            Err(TryLockError::Error(why)) => return Err(host(why)),
        }
        let path = home.join(FOLDER);
        match fs::remove_dir_all(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(host(why)),
            _ => {}
        }
        private(&path).map_err(host)?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // What cannot be removed now is by the next.
        fs::remove_dir_all(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_at_a_time_works_in_it_and_finds_it_empty() {
        let home = tempfile::tempdir().expect("a folder");
        let home = home.path().join("eval");
        fs::create_dir_all(home.join(FOLDER).join("left")).expect("made");
        let workshop = Workshop::open(&home).expect("opened");
        assert_eq!(fs::read_dir(workshop.path()).expect("listed").count(), 0);
        let why = Workshop::open(&home).expect_err("held");
        assert!(why.to_string().contains("another setup is at work"), "{why}");
        drop(workshop);
        assert!(!home.join(FOLDER).exists());
        Workshop::open(&home).expect("free again");
    }
}
