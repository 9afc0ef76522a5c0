//! What shows whether the program lives that made a container: a file that it keeps locked, and that its containers are
//! labelled with. The kernel releases the lock however the program ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::files::make_private;

/// How the names of these files begin.
const PREFIX: &str = "holder-";

/// Times that a name is drawn: somebody who cleans up may take a new file for an old one.
const ATTEMPTS: u32 = 8;

/// The holder of containers, as long as this lives.
#[derive(Debug)]
pub(super) struct Holder {
    path: PathBuf,
    name: String,
    /// Whether something is left that the next start must find.
    leaves: AtomicBool,
    _lock: File,
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
                return Ok(Self { path, name, leaves: AtomicBool::new(false), _lock: file });
            }
        }
        Err(io::Error::other("somebody takes every lock away"))
    }

    /// As a label.
    pub(super) fn label(&self) -> &str {
        &self.name
    }

    /// A container could not be removed: the file stays, so that the next start knows that its holder is gone.
    pub(super) fn leave_something(&self) {
        self.leaves.store(true, Ordering::Relaxed);
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        if !self.leaves.load(Ordering::Relaxed) {
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

/// Removes the files of holders that are gone and are in no label any more.
pub(super) fn tidy(folder: &Path, labels: &[&str]) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !is_label(&name) || labels.contains(&&*name) {
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
        assert_eq!(fs::read_dir(home.path()).expect("listed").count(), 0);
    }
}
