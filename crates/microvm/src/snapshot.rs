//! Snapshots: machines that have come up and wait for what makes them themselves, kept as files.
//!
//! A snapshot is known by all that went into it: the description, the kernel, the VMM and its version, the processor. One
//! that was made of anything else has another name, and is never looked at. The machine that it was taken of has run no
//! command, and never does.
//!
//! A snapshot is one file, or two, as its VMM writes it. A file counts only with what is written down of it beside it, which is written last: its digest, and how the file system
//! described it when the digest was found to be right. While that description stays the same nobody has changed the file;
//! otherwise it is read again.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use agentkernel_core::SnapshotName;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::folder::{PrivateFolder, make_private};
use crate::kernel::hex;
use crate::sparse;

/// Snapshots that are kept: those that were used last. Each has some 70 MB.
const SNAPSHOTS_MAX: usize = 8;

/// Bytes that are read at once.
const BUFFER: usize = 1 << 16;

/// Where snapshots are kept.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotStore {
    folder: PathBuf,
    /// Whether they are made again where they are not there: then the oldest go, and those that are not whole.
    is_cache: bool,
}

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

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// What somebody calls it.
    pub(crate) fn named(name: &SnapshotName) -> Self {
        Self(name.to_string())
    }
}

/// What is written down of a snapshot: of each of its files.
type About = BTreeMap<String, AboutFile>;

/// What is written down of a file.
#[derive(Debug, Serialize, Deserialize)]
struct AboutFile {
    sha256: String,
    seen: Seen,
}

/// How the file system describes a file. Whoever writes to it changes the time of that (`mtime`), unless he hides it; who could do
/// that could write this down anew as well. (The time of change, `ctime`, is that of a new name, too: jails give it some.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    inode: u64,
    bytes: u64,
    written_ns: i128,
}

impl Seen {
    fn now(path: &Path) -> io::Result<Self> {
        let facts = fs::symlink_metadata(path)?;
        let written_ns = i128::from(facts.mtime()) * 1_000_000_000 + i128::from(facts.mtime_nsec());
        Ok(Self { inode: facts.ino(), bytes: facts.len(), written_ns })
    }
}

impl SnapshotStore {
    /// Those of machines that nobody has used.
    pub(crate) fn below(home: &Path) -> Self {
        Self { folder: home.join("snapshots"), is_cache: true }
    }

    /// Those that somebody has taken of a machine in use, until he removes them.
    pub(crate) fn of_users(home: &Path) -> Self {
        Self { folder: home.join("kept"), is_cache: false }
    }

    /// Those of machines that have run what they were to run once.
    pub(crate) fn warmed(home: &Path) -> Self {
        Self { folder: home.join("snapshots/warmed"), is_cache: true }
    }

    /// The names of all.
    pub(crate) fn names(&self) -> io::Result<Vec<String>> {
        let files = match fs::read_dir(&self.folder) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            files => files?,
        };
        let paths = files.flatten().map(|entry| entry.path());
        let abouts = paths.filter(|path| path.extension().is_some_and(|kind| kind == "json"));
        Ok(abouts.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
    }

    /// Whether there is one, whole or not.
    pub(crate) fn has(&self, key: &Key) -> bool {
        self.about(key).exists()
    }

    /// Where a file of one is.
    pub(crate) fn file(&self, key: &Key, name: &str) -> PathBuf {
        self.folder.join(format!("{}.{name}", key.0))
    }

    fn about(&self, key: &Key) -> PathBuf {
        self.folder.join(format!("{}.json", key.0))
    }

    /// The snapshot's files of these names, if there is one and they are what they were. The error says why they are not; what
    /// is made again is then removed.
    pub(crate) fn find(&self, key: &Key, names: &[&str]) -> io::Result<Option<Vec<PathBuf>>> {
        let about = match fs::read(self.about(key)) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            about => about,
        };
        match about.and_then(|about| self.check(key, names, serde_json::from_slice(&about)?)) {
            Ok(files) => Ok(Some(files)),
            Err(why) => {
                if self.is_cache {
                    self.forget(key);
                }
                Err(why)
            }
        }
    }

    fn check(&self, key: &Key, names: &[&str], mut about: About) -> io::Result<Vec<PathBuf>> {
        let (mut files, mut is_news) = (Vec::new(), false);
        for name in names {
            let file = self.file(key, name);
            let known = about.get_mut(*name).ok_or_else(|| io::Error::other("a file of it is not known"))?;
            let now = Seen::now(&file)?;
            if now != known.seen {
                if digest(&file)? != known.sha256 {
                    return Err(io::Error::other("its content is not what was written"));
                }
                (known.seen, is_news) = (now, true);
            }
            files.push(file);
        }
        if is_news {
            self.write_down(key, &about)?;
        }
        // It is not forgotten before others, then.
        File::open(self.about(key))?.set_modified(SystemTime::now())?;
        Ok(files)
    }

    /// Begins to make one; `None` while somebody else is at it.
    pub(crate) fn begin(&self, key: &Key) -> io::Result<Option<NewSnapshot>> {
        make_private(&self.folder)?;
        let folder = match PrivateFolder::make(&self.folder.join("new"), &key.0) {
            Ok(folder) => folder,
            Err(why) if why.kind() == io::ErrorKind::AlreadyExists => return Ok(None),
            Err(why) => return Err(why),
        };
        Ok(Some(NewSnapshot { store: self.clone(), key: key.clone(), folder }))
    }

    /// Removes one, whatever is left of it.
    pub(crate) fn forget(&self, key: &Key) {
        // Without what is written down of it, a file does not count.
        fs::remove_file(self.about(key)).ok();
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let is_of_it = |path: &PathBuf| path.file_stem().is_some_and(|stem| stem == key.0.as_str());
        files.filter(is_of_it).for_each(|file| drop(fs::remove_file(file)));
    }

    fn write_down(&self, key: &Key, about: &About) -> io::Result<()> {
        let (path, new) =
            (self.about(key), self.about(key).with_extension(format!("new-{}", std::process::id())));
        let written = fs::write(&new, serde_json::to_vec(about)?).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            fs::remove_file(&new).ok();
        }
        written
    }

    /// Removes those that were not used for longest. A machine that is being made of one holds it open.
    fn forget_old(&self) {
        if !self.is_cache {
            return;
        }
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten().map(|entry| entry.path());
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
    /// Where a file of it is to be.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Its files are whole: from now on they are found, where is returned.
    pub(crate) fn keep(self, names: &[&str]) -> io::Result<Vec<PathBuf>> {
        let (mut about, mut files) = (About::new(), Vec::new());
        for name in names {
            let (from, to) = (self.file(name), self.store.file(&self.key, name));
            let file = File::open(&from)?;
            // A VMM of root's, which may have made it, is another user; from now on nobody but us can change it.
            chown(
                &from,
                Some(rustix::process::geteuid().as_raw()),
                Some(rustix::process::getegid().as_raw()),
            )?;
            file.set_permissions(fs::Permissions::from_mode(0o444))?;
            file.sync_all()?;
            let sha256 = digest(&from)?;
            // What is written down of the old one does not fit the new one: if we end here, it is not found.
            fs::rename(from, &to)?;
            about.insert((*name).to_owned(), AboutFile { sha256, seen: Seen::now(&to)? });
            files.push(to);
        }
        self.store.write_down(&self.key, &about)?;
        self.store.forget_old();
        Ok(files)
    }
}

/// The digest of a file: of its length, and of its data with their places. Holes are data of nobody's, and take no time.
fn digest(path: &Path) -> io::Result<String> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut digest = Sha256::new();
    digest.update(length.to_le_bytes());
    let (mut at, mut buffer) = (0, vec![0; BUFFER]);
    while let Some(part) = sparse::data(&file, at, length)? {
        at = part.start;
        while at < part.end {
            let most = usize::try_from(part.end - at).map_or(BUFFER, |left| left.min(BUFFER));
            let count = file.read_at(&mut buffer[..most], at)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            digest.update(at.to_le_bytes());
            digest.update(&buffer[..count]);
            at += count as u64;
        }
    }
    Ok(hex(&digest.finalize()))
}

#[cfg(test)]
mod tests;
