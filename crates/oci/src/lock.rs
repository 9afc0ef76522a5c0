//! A file that is owned by whoever holds its lock, and that is gone when nobody does.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, flock, open, unlinkat};
use rustix::io::Errno;

use crate::sys;

/// A locked file. The lock belongs to the open file, so it can be handed to another process; it is
/// released when the last of them closes it, however that process ends.
#[derive(Debug)]
pub(crate) struct LockFile {
    path: PathBuf,
    /// The folder it is in: a supervisor removes the file when its own mount namespace no longer
    /// shows the path.
    folder: OwnedFd,
    file: File,
}

impl LockFile {
    /// Takes the lock, creating the file if needed; `None` while somebody else holds it.
    pub(crate) fn acquire(path: &Path) -> io::Result<Option<Self>> {
        let folder = open_folder(path)?;
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(libc::O_CLOEXEC | libc::O_NOFOLLOW)
                .open(path)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
            // Its last owner may have removed the file between our open and our lock: then we have
            // locked a file that has no name any more, and the next comer would lock another.
            if is_still_at(&file, path)? {
                return Ok(Some(Self { path: path.to_owned(), folder, file }));
            }
        }
    }

    /// Takes the lock, trying so many times, a millisecond apart; so many more while the file is empty: an owner has written
    /// to it, and who holds an empty one has just come, or only looks whether it has an owner.
    pub(crate) fn acquire_soon(path: &Path, attempts: u32, while_empty: u32) -> io::Result<Option<Self>> {
        let mut attempt = 1;
        loop {
            if let Some(lock) = Self::acquire(path)? {
                return Ok(Some(lock));
            }
            let is_empty = std::fs::metadata(path).map_or(true, |facts| facts.len() == 0);
            if attempt >= if is_empty { while_empty } else { attempts } {
                return Ok(None);
            }
            sys::pause(1);
            attempt += 1;
        }
    }

    /// What an earlier owner wrote: not empty only if he ended without [`LockFile::remove`].
    pub(crate) fn content(&mut self) -> io::Result<Vec<u8>> {
        let mut content = Vec::new();
        self.file.rewind()?;
        // A record is some hundred bytes; whatever is larger is not ours.
        (&self.file).take(64 * 1024).read_to_end(&mut content)?;
        Ok(content)
    }

    /// Replaces the content.
    ///
    /// The file is never cut down to nothing on the way: what is written after that, ext4 puts on the disk when the file
    /// is closed (`auto_da_alloc`, ext4(5)), and whoever has removed it waits for the disk: 0.3 ms measured, and 8 on a
    /// busy one.
    pub(crate) fn write(&mut self, content: &[u8]) -> io::Result<()> {
        self.file.rewind()?;
        self.file.write_all(content)?;
        let length = content.len() as u64;
        if self.file.metadata()?.len() > length { self.file.set_len(length) } else { Ok(()) }
    }

    /// Removes the file and releases the lock, in this order.
    pub(crate) fn remove(self) -> io::Result<()> {
        let name = self.path.file_name().unwrap_or_default();
        unlinkat(&self.folder, name, AtFlags::empty())
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }

    /// Whether somebody has removed the file. A failure to look is no answer.
    pub(crate) fn is_removed(&self) -> bool {
        self.file.metadata().is_ok_and(|facts| facts.nlink() == 0)
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Takes over a lock that another process acquired and handed over.
    pub(crate) fn adopt(path: PathBuf, fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { folder: open_folder(&path)?, path, file: fd.into() })
    }
}

impl AsFd for LockFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(folder, flags, Mode::empty())
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))
}

fn is_still_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_has_one_owner_and_leaves_no_file() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("a");
        let mut first = LockFile::acquire(&path).expect("io").expect("free");
        first.write(b"mine").expect("write");
        assert!(LockFile::acquire(&path).expect("io").is_none());
        drop(first);
        let mut second = LockFile::acquire(&path).expect("io").expect("released by drop");
        assert_eq!(second.content().expect("read"), b"mine", "an unclean end is visible");
        second.remove().expect("remove");
        assert!(!path.exists());
    }

    #[test]
    fn who_only_looks_takes_no_name_away_however_long_it_takes_him() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("a");
        let looks = LockFile::acquire(&path).expect("io").expect("free");
        let leaves = std::thread::spawn(move || {
            sys::pause(150);
            drop(looks);
        });
        let mut owner = LockFile::acquire_soon(&path, 25, 60_000).expect("io").expect("it is nobody's");
        leaves.join().expect("it ended");
        owner.write(b"mine").expect("write");
        assert!(LockFile::acquire_soon(&path, 25, 60_000).expect("io").is_none(), "now it is somebody's");
    }

    #[test]
    fn nothing_is_left_of_a_longer_content() {
        let folder = tempfile::tempdir().expect("temp dir");
        let mut lock = LockFile::acquire(&folder.path().join("a")).expect("io").expect("free");
        for content in ["long", "longer", "s", ""] {
            lock.write(content.as_bytes()).expect("write");
            assert_eq!(lock.content().expect("read"), content.as_bytes());
        }
    }

    #[test]
    fn a_file_that_somebody_removes_is_noticed() {
        let folder = tempfile::tempdir().expect("temp dir");
        let lock = LockFile::acquire(&folder.path().join("a")).expect("io").expect("free");
        assert!(!lock.is_removed());
        drop(folder);
        assert!(lock.is_removed());
    }

    #[test]
    fn a_lock_outlives_its_first_owner_when_it_was_handed_over() {
        let folder = tempfile::tempdir().expect("temp dir");
        let path = folder.path().join("a");
        let first = LockFile::acquire(&path).expect("io").expect("free");
        let copy = first.as_fd().try_clone_to_owned().expect("dup");
        drop(first);
        assert!(LockFile::acquire(&path).expect("io").is_none(), "the copy holds it");
        LockFile::adopt(path.clone(), copy).expect("adopt").remove().expect("remove");
        assert!(LockFile::acquire(&path).expect("io").is_some());
    }
}
