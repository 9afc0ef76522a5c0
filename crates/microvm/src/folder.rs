//! A private folder for the files and sockets with which a machine begins, gone once it has begun.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How old a folder without an owner must be: one that was made just now is not locked yet.
const AGE_MIN: Duration = Duration::from_secs(60);

/// A folder that nobody else can look into. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct PrivateFolder {
    path: PathBuf,
    /// Locked while its owner lives.
    _lock: File,
}

impl PrivateFolder {
    /// Makes one below `above`, which is made as well, and removes what owners that were killed have left there.
    pub(crate) fn make(above: &Path) -> io::Result<Self> {
        make_private(above)?;
        reap(above);
        let mut bytes = [0; 8];
        rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
        let path = above.join(format!("{:016x}", u64::from_ne_bytes(bytes)));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::open(&path)?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // What cannot be removed now is by the next who makes one.
        fs::remove_dir_all(&self.path).ok();
    }
}

/// Makes a folder of mode 0700, or checks that an existing one is a real folder of ours.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let facts = fs::symlink_metadata(path)?;
    if facts.is_dir() && facts.uid() == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    Err(io::Error::other(format!("{} is not a folder of ours; remove it", path.display())))
}

fn reap(above: &Path) {
    for entry in fs::read_dir(above).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|facts| facts.modified()).map(|time| time.elapsed());
        let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > AGE_MIN));
        if is_old && File::open(entry.path()).is_ok_and(|folder| folder.try_lock().is_ok()) {
            fs::remove_dir_all(entry.path()).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn it_is_private_goes_with_its_owner_and_is_reaped_where_that_was_killed() {
        let home = tempfile::tempdir().expect("a folder");
        let above = home.path().join("microvm");
        let folder = PrivateFolder::make(&above).expect("made");
        assert_eq!(fs::metadata(folder.path()).expect("there").mode() & 0o7777, 0o700);
        fs::create_dir(above.join("left")).expect("made");
        File::open(above.join("left"))
            .expect("opened")
            .set_modified(SystemTime::now() - AGE_MIN * 2)
            .expect("aged");
        File::open(folder.path())
            .expect("opened")
            .set_modified(SystemTime::now() - AGE_MIN * 2)
            .expect("aged");
        fs::create_dir(above.join("new")).expect("made");
        let other = PrivateFolder::make(&above).expect("made");
        assert!(folder.path().exists() && above.join("new").exists(), "who lives, or may");
        assert!(!above.join("left").exists());
        let path = other.path().to_owned();
        drop(other);
        assert!(!path.exists());
    }
}
