//! Files of ours on the host, beside the records of other sandboxes.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentkernel_hardening::seccomp::{self, Unknown};
use sha2::{Digest as _, Sha256};

/// Makes the folder, or checks that an existing one is a real folder of ours: in /tmp anybody could have made it first.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let facts = fs::symlink_metadata(path)?;
    let ours = rustix::process::geteuid().as_raw();
    if !facts.is_dir() || facts.uid() != ours {
        return Err(io::Error::other(format!("it is not a folder of user {ours}")));
    }
    Ok(())
}

/// Held while one of them is written: another of our boots may need the same just then. Another program writes beside it
/// under a name of its own.
pub(crate) fn one_at_a_time() -> MutexGuard<'static, ()> {
    static WRITING: Mutex<()> = Mutex::new(());
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The system call filter as a file, for an engine that takes it as nothing else. Its name says what is in it, so that it
/// is written once.
pub(crate) fn filter(folder: &Path) -> io::Result<PathBuf> {
    let text = seccomp::profile(Unknown::Errno).to_string();
    let digest: String = Sha256::digest(&text).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("seccomp-{digest}.json"));
    let is_there = || fs::read(&path).is_ok_and(|there| there == text.as_bytes());
    if is_there() {
        return Ok(path);
    }
    let _writing = one_at_a_time();
    if is_there() {
        return Ok(path);
    }
    make_private(folder)?;
    let new = folder.join(format!("seccomp-{digest}.{}", std::process::id()));
    fs::write(&new, &text)?;
    fs::rename(&new, &path)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_somebody_changed_is_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = filter(folder.path()).expect("written");
        let text = fs::read(&path).expect("there");
        fs::write(&path, "{}").expect("changed");
        assert_eq!(filter(folder.path()).expect("written"), path);
        assert_eq!(fs::read(&path).expect("there"), text);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn many_who_need_it_at_once_all_get_it() {
        for _ in 0..20 {
            let folder = tempfile::tempdir().expect("a folder");
            let results: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| filter(folder.path()))).collect();
                threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
            });
            assert!(results.iter().all(Result::is_ok), "{results:?}");
            assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
        }
    }
}
