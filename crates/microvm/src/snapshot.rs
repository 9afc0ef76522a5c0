//! Snapshots: machines that have come up and wait for what makes them themselves, kept as files.
//!
//! A snapshot is known by all that went into it: the description, the kernel, the VMM and its version, the processor. One
//! that was made of anything else has another name, and is never looked at. The machine that it was taken of has run no
//! command, and never does.
//!
//! A file counts only with what is written down of it beside it, which is written last: its digest, and how the file system
//! described it when the digest was found to be right. While that description stays the same nobody has changed the file;
//! otherwise it is read again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::folder::{PrivateFolder, make_private};
use crate::kernel::hex;

/// Snapshots that are kept: those that were used last. Each has some 70 MB.
const SNAPSHOTS_MAX: usize = 8;

/// Where snapshots are kept.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotStore(PathBuf);

/// A snapshot's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// The name of what is made of exactly this.
    pub(crate) fn of<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut digest = Sha256::new();
        for part in parts {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        Self(hex(&digest.finalize()))
    }
}

/// What is written down of a snapshot.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    sha256: String,
    seen: Seen,
}

/// How the file system describes a file. Nobody can change the file without the time of its last change (`ctime`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    bytes: u64,
    changed_ns: i128,
}

impl Seen {
    fn now(path: &Path) -> io::Result<Self> {
        let facts = fs::symlink_metadata(path)?;
        let changed_ns = i128::from(facts.ctime()) * 1_000_000_000 + i128::from(facts.ctime_nsec());
        Ok(Self { inode: facts.ino(), bytes: facts.len(), changed_ns })
    }
}

impl SnapshotStore {
    pub(crate) fn below(home: &Path) -> Self {
        Self(home.join("snapshots"))
    }

    fn file(&self, key: &Key) -> PathBuf {
        self.0.join(format!("{}.state", key.0))
    }

    fn about(&self, key: &Key) -> PathBuf {
        self.0.join(format!("{}.json", key.0))
    }

    /// The snapshot's file, if there is one and it is what it was. One that is not is removed, and the error says why.
    pub(crate) fn find(&self, key: &Key) -> io::Result<Option<PathBuf>> {
        let (file, about) = (self.file(key), self.about(key));
        let known = match fs::read(&about) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            known => known,
        };
        let checked = known.and_then(|known| {
            let known: About = serde_json::from_slice(&known)?;
            if Seen::now(&file)? != known.seen {
                if digest(&file)? != known.sha256 {
                    return Err(io::Error::other("its content is not what was written"));
                }
                self.write_down(key, known.sha256)?;
            }
            // It is not forgotten before others, then.
            File::open(&about)?.set_modified(SystemTime::now())
        });
        match checked {
            Ok(()) => Ok(Some(file)),
            Err(why) => {
                self.forget(key);
                Err(why)
            }
        }
    }

    /// Begins to make one; `None` while somebody else is at it.
    pub(crate) fn begin(&self, key: &Key) -> io::Result<Option<NewSnapshot>> {
        make_private(&self.0)?;
        let folder = match PrivateFolder::make(&self.0.join("new"), &key.0) {
            Ok(folder) => folder,
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(why) => return Err(why),
        };
        File::options().write(true).create_new(true).mode(0o600).open(folder.path().join("state"))?;
        Ok(Some(NewSnapshot { store: self.clone(), key: key.clone(), folder }))
    }

    /// Removes one, whatever is left of it.
    pub(crate) fn forget(&self, key: &Key) {
        // Without what is written down of it, the file does not count.
        fs::remove_file(self.about(key)).ok();
        fs::remove_file(self.file(key)).ok();
    }

    fn write_down(&self, key: &Key, sha256: String) -> io::Result<()> {
        let about = About { sha256, seen: Seen::now(&self.file(key))? };
        let (path, new) =
            (self.about(key), self.about(key).with_extension(format!("new-{}", std::process::id())));
        let written = fs::write(&new, serde_json::to_vec(&about)?).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            fs::remove_file(&new).ok();
        }
        written
    }

    /// Removes those that were not used for longest. A machine that is being made of one holds it open.
    fn forget_old(&self) {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten().map(|entry| entry.path());
        let used = |path: &PathBuf| fs::metadata(path).and_then(|facts| facts.modified()).ok();
        let abouts = files.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
        let mut abouts: Vec<_> = abouts.map(|path| (used(&path), path)).collect();
        abouts.sort();
        for (_, about) in abouts.iter().rev().skip(SNAPSHOTS_MAX) {
            let key = about.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            self.forget(&Key(key));
        }
    }
}

/// A snapshot that is being made. Dropping it leaves the one that was there as it was.
#[derive(Debug)]
pub(crate) struct NewSnapshot {
    store: SnapshotStore,
    key: Key,
    folder: PrivateFolder,
}

impl NewSnapshot {
    /// The file into which the VMM writes.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// It is whole: from now on it is found.
    pub(crate) fn keep(self) -> io::Result<()> {
        let (from, to) = (self.file(), self.store.file(&self.key));
        File::open(&from)?.sync_all()?;
        let sha256 = digest(&from)?;
        // What is written down of the old one does not fit the new one: if we end here, it is not found.
        fs::rename(from, to)?;
        self.store.write_down(&self.key, sha256)?;
        self.store.forget_old();
        Ok(())
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut digest = Sha256::new();
    io::copy(&mut File::open(path)?, &mut digest)?;
    Ok(hex(&digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key::of([&[number][..], b"x"])
    }

    fn make(store: &SnapshotStore, key: &Key, content: &[u8]) {
        let new = store.begin(key).expect("begun").expect("alone");
        fs::write(new.file(), content).expect("written");
        new.keep().expect("kept");
    }

    #[test]
    fn it_is_found_when_it_is_whole_and_a_broken_attempt_leaves_the_old_one() {
        let home = tempfile::tempdir().expect("a folder");
        let store = SnapshotStore::below(home.path());
        assert_eq!(store.find(&key(1)).expect("looked"), None);
        let new = store.begin(&key(1)).expect("begun").expect("alone");
        assert!(store.begin(&key(1)).expect("begun").is_none(), "somebody else is at it");
        fs::write(new.file(), "half").expect("written");
        drop(new);
        assert_eq!(store.find(&key(1)).expect("looked"), None);
        make(&store, &key(1), b"whole");
        let file = store.find(&key(1)).expect("looked").expect("found");
        drop(store.begin(&key(1)).expect("begun").expect("alone"));
        assert_eq!(fs::read(&file).expect("read"), b"whole");
        assert_eq!(store.find(&key(2)).expect("looked"), None, "another is another");
        assert_eq!(fs::read_dir(home.path().join("snapshots/new")).expect("listed").count(), 0);
    }

    #[test]
    fn one_that_was_changed_or_cut_off_is_removed_and_told() {
        let home = tempfile::tempdir().expect("a folder");
        let store = SnapshotStore::below(home.path());
        for change in [&b"wHole"[..], b"who", b""] {
            make(&store, &key(1), b"whole");
            let file = store.find(&key(1)).expect("looked").expect("found");
            fs::write(&file, change).expect("written");
            let why = store.find(&key(1)).expect_err("noticed").to_string();
            assert!(why.contains("not what was written"), "{why}");
            assert!(!file.exists() && store.find(&key(1)).expect("looked").is_none());
        }
        make(&store, &key(1), b"whole");
        fs::remove_file(store.file(&key(1))).expect("removed");
        assert!(store.find(&key(1)).is_err() && store.find(&key(1)).expect("looked").is_none());
        make(&store, &key(1), b"whole");
        fs::write(store.about(&key(1)), "{").expect("written");
        assert!(store.find(&key(1)).is_err());
    }

    #[test]
    fn one_whose_description_alone_has_changed_is_read_again_and_stays() {
        let home = tempfile::tempdir().expect("a folder");
        let store = SnapshotStore::below(home.path());
        make(&store, &key(1), b"whole");
        let file = store.file(&key(1));
        let before = fs::read(store.about(&key(1))).expect("read");
        fs::rename(&file, file.with_extension("aside")).expect("renamed");
        fs::copy(file.with_extension("aside"), &file).expect("copied");
        assert_eq!(store.find(&key(1)).expect("looked"), Some(file));
        assert_ne!(fs::read(store.about(&key(1))).expect("read"), before);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let home = tempfile::tempdir().expect("a folder");
        let store = SnapshotStore::below(home.path());
        for number in 0..10 {
            make(&store, &key(number), &[number]);
            assert!(store.find(&key(0)).expect("looked").is_some(), "the first one is used all the time");
        }
        let found: Vec<bool> =
            (0..10).map(|number| store.find(&key(number)).expect("looked").is_some()).collect();
        assert_eq!(found.iter().filter(|found| **found).count(), SNAPSHOTS_MAX, "{found:?}");
        assert!(found[0] && !found[1] && !found[2], "{found:?}");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(Key::of([&b"ab"[..], b"c"]), Key::of([&b"a"[..], b"bc"]));
    }
}
