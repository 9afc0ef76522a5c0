//! A private folder for the files and sockets with which a machine begins. While it is held, its name is taken.

use std::ffi::OsStr;
use std::fs::{self, DirEntry, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};

/// How often others may come before us.
const TRIALS: usize = 1000;

/// A folder that nobody else can look into. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct PrivateFolder {
    path: PathBuf,
    /// Locked while its owner lives.
    _lock: File,
}

impl PrivateFolder {
    /// Makes the one of this name below `above`, which is made as well, and removes what owners that were killed have left
    /// there. [`io::ErrorKind::AlreadyExists`] while somebody holds that name.
    pub(crate) fn make(above: &Path, name: &str) -> io::Result<Self> {
        Self::make_after(above, name, &|_| Ok(()))
    }

    /// The same, where more than a folder is left of an owner that was killed, and is forgotten first.
    pub(crate) fn make_after(above: &Path, name: &str, forget: Forget<'_>) -> io::Result<Self> {
        make_private(above)?;
        let path = above.join(name);
        // One at a time clears up and makes: nobody sees a folder before its maker has locked it.
        let turn = File::open(above)?;
        turn.lock()?;
        fs::read_dir(above)?.flatten().for_each(|entry| reap(&entry, forget));
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        let lock = File::open(&path)?;
        lock.lock()?;
        Ok(Self { path, _lock: lock })
    }

    /// The same, once nobody holds that name any more. Blocks.
    pub(crate) fn make_in_turn(above: &Path, name: &str) -> io::Result<Self> {
        for _ in 0..TRIALS {
            match Self::make(above, name) {
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {}
                made => return made,
            }
            // Whoever holds it is waited for; somebody else may come before us then.
            match File::open(above.join(name)) {
                Ok(held) => held.lock()?,
                Err(why) if why.kind() == io::ErrorKind::NotFound => {}
                Err(why) => return Err(why),
            }
        }
        Err(io::Error::other(format!("{} is always held by others", above.join(name).display())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it, and all that is in it, to another user.
    pub(crate) fn give(&self, user: u32) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            chown(entry?.path(), Some(user), Some(user))?;
        }
        chown(&self.path, Some(user), Some(user))
    }

    /// Removes what is in it. The name stays taken.
    pub(crate) fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(entry.path())?;
            } else {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// What is not there need not be removed.
pub(crate) fn gone(why: &io::Error) -> io::Result<()> {
    if why.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(io::Error::from(why.kind())) }
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

/// What is done with the name of a folder that nobody holds, before it is removed. One of which that fails stays.
pub(crate) type Forget<'a> = &'a dyn Fn(&OsStr) -> io::Result<()>;

/// Removes a folder that nobody holds.
fn reap(entry: &DirEntry, forget: Forget<'_>) {
    let Ok(folder) = File::open(entry.path()) else { return };
    if folder.try_lock().is_ok() && forget(&entry.file_name()).is_ok() {
        fs::remove_dir_all(entry.path()).ok();
    }
    // Not earlier: whoever has it locked while its folder is there has it.
    drop(folder);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_private_and_goes_with_its_owner() {
        let home = tempfile::tempdir().expect("a folder");
        let above = home.path().join("microvm");
        let folder = PrivateFolder::make(&above, "one").expect("made");
        assert_eq!(fs::metadata(folder.path()).expect("there").mode() & 0o7777, 0o700);
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_name_is_taken_while_its_folder_is_held_and_not_when_its_owner_was_killed() {
        let home = tempfile::tempdir().expect("a folder");
        let above = home.path().join("microvm");
        for left in ["left", "other"] {
            fs::create_dir_all(above.join(left)).expect("made");
            fs::write(above.join(left).join("file"), "x").expect("written");
        }
        let folder = PrivateFolder::make(&above, "left").expect("made");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "what was left is gone");
        assert!(!above.join("other").exists(), "what nobody holds is gone");
        let taken = PrivateFolder::make(&above, "left").expect_err("taken");
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        fs::write(folder.path().join("file"), "x").expect("written");
        folder.clear().expect("cleared");
        assert!(PrivateFolder::make(&above, "left").is_err(), "an empty one is held as well");
        drop(folder);
        PrivateFolder::make(&above, "left").expect("free again");
    }

    #[test]
    fn who_makes_folders_while_others_clear_up_gets_them_all() {
        let home = tempfile::tempdir().expect("a folder");
        let above = &home.path().join("microvm");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..400 {
                        let folder = PrivateFolder::make(above, &format!("{thread}-{round}")).expect("made");
                        fs::write(folder.path().join("file"), "x").expect("it is there");
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(above).expect("listed").count(), 0);
    }
}
