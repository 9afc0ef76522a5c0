//! What shows whether the program lives that made a container: a file that it keeps locked, and that its containers are
//! labelled with. The kernel releases the lock however the program ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use super::cli::CREATE_DEADLINE;
use crate::files::make_private;

/// How the names of these files begin.
const PREFIX: &str = "holder-";

/// How long after it was begun a container may still appear: twice as long as is waited for it.
const LATEST: Duration = CREATE_DEADLINE.saturating_mul(2);

/// Times that a name is drawn: somebody who cleans up may take a new file for an old one.
const ATTEMPTS: u32 = 8;

/// The holder of containers, as long as this lives.
#[derive(Debug)]
pub(super) struct Holder {
    path: PathBuf,
    name: String,
    /// How much may be there that the next start must find: what is being made just now, and what could not be removed.
    leaves: AtomicUsize,
    lock: File,
}

impl Holder {
    /// Makes and locks a file in this folder.
    pub(super) fn take(folder: &Path) -> io::Result<Self> {
        make_private(folder)?;
        for _ in 0..ATTEMPTS {
            let name = format!("{PREFIX}{:016x}", random()?);
            let path = folder.join(&name);
            let file = File::create_new(&path)?;
            if file.try_lock().is_ok() && file.metadata()?.nlink() > 0 {
                return Ok(Self { path, name, leaves: AtomicUsize::new(0), lock: file });
            }
        }
        Err(io::Error::other("somebody takes every lock away"))
    }

    /// As a label.
    pub(super) fn label(&self) -> &str {
        &self.name
    }

    /// Something is about to be made, or could not be removed: the file stays, so that the next start knows that its
    /// holder is gone.
    pub(super) fn leave_something(&self) {
        // By its time, the file is left to whoever is late with a container of ours.
        self.lock.set_modified(SystemTime::now()).ok();
        self.leaves.fetch_add(1, Ordering::Relaxed);
    }

    /// What was about to be made is there, and is seen to; or it is not.
    pub(super) fn is_settled(&self) {
        self.leaves.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if self.leaves.load(Ordering::Relaxed) == 0 {
            // What is left of it would only be looked at once more.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// Whether the holder with this label is gone for certain. One whose file is not there may have another folder, or lost
/// it to somebody who tidies up.
pub(super) fn is_gone(folder: &Path, label: &str) -> bool {
    is_label(label) && File::open(folder.join(label)).is_ok_and(|file| file.try_lock().is_ok())
}

fn is_label(label: &str) -> bool {
    let digits = label.strip_prefix(PREFIX).unwrap_or_default();
    digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Removes the files of holders that are gone, are in no label, and will be in none any more: the program runs on that was
/// making a container when its holder was killed.
pub(super) fn tidy(folder: &Path, labels: &[&str]) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let age = entry.metadata().and_then(|facts| facts.modified()).map(|time| time.elapsed());
        let is_old = age.is_ok_and(|age| age.is_ok_and(|age| age > LATEST));
        if !is_label(&name) || labels.contains(&&*name) || !is_old {
            continue;
        }
        // Under its lock: a file that was made just now is not locked yet, and its maker looks whether it is still there.
        if let Ok(file) = File::open(entry.path())
            && !matches!(file.try_lock(), Err(TryLockError::WouldBlock | TryLockError::Error(_)))
        {
            fs::remove_file(entry.path()).ok();
        }
    }
}

/// Sixty-four bits that nobody can guess.
pub(super) fn random() -> io::Result<u64> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_gone_when_its_lock_is_and_not_when_its_file_is() {
        let home = tempfile::tempdir().expect("a folder");
        let folder = home.path().join("apple");
        let holder = Holder::take(&folder).expect("taken");
        let label = holder.label().to_owned();
        assert!(!is_gone(&folder, &label), "it lives");
        tidy(&folder, &[]);
        assert!(folder.join(&label).exists(), "what is locked stays");
        holder.leave_something();
        drop(holder);
        assert!(is_gone(&folder, &label));
        tidy(&folder, &[]);
        assert!(is_gone(&folder, &label), "its container may still come");
        let file = File::open(folder.join(&label)).expect("there");
        file.set_modified(SystemTime::now() - LATEST - Duration::from_secs(1)).expect("aged");
        tidy(&folder, &[&label]);
        assert!(folder.join(&label).exists(), "a container has it as its label");
        tidy(&folder, &[]);
        assert!(!folder.join(&label).exists() && !is_gone(&folder, &label), "who knows");
        fs::write(home.path().join("secret"), "x").expect("written");
        for wrong in ["", "..", "../secret", "holder-../../secret", "holder-000000000000000", "x"] {
            assert!(!is_gone(&folder, wrong), "{wrong:?}");
        }
    }

    #[test]
    fn a_holder_that_leaves_nothing_leaves_no_file() {
        let home = tempfile::tempdir().expect("a folder");
        drop(Holder::take(home.path()).expect("taken"));
        let holder = Holder::take(home.path()).expect("taken");
        holder.leave_something();
        holder.is_settled();
        drop(holder);
        assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 0);
    }
}
