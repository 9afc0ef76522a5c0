//! Stdin into a file, as a whole or not at all.

use std::fs::{File, OpenOptions, Permissions, remove_file, rename};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use agentkernel_protocol::FileError;
use rustix::fs::{AtFlags, CWD, linkat};
use rustix::process::getpid;
use rustix::stdio::stdin;

use super::{During, copy, refusal, standard};
use crate::sys;

/// Writes a new file beside `path` and puts it in its place when it is whole. Whatever fails, nothing
/// is left of it.
pub fn write(path: &Path, mode: u32) -> Result<(), FileError> {
    let (Some(_), Some(folder)) = (path.file_name(), path.parent()) else {
        return refusal("write", path, "the path names no file");
    };
    // Unique in this sandbox: of two workers with the same PID, one ended before the other began.
    let name = format!(".agentkernel-{}-{}", getpid().as_raw_pid(), sys::monotonic_ns());
    let temporary = folder.join(name);
    let result = write_beside(folder, &temporary, mode).during("write", path);
    let result = result.and_then(|()| rename(&temporary, path).during("replace", path));
    if result.is_err() {
        remove_file(&temporary).ok(); // the first error is the one that matters
    }
    result
}

/// Writes all of stdin into a file that has no name until it is whole, so that a worker which is killed
/// leaves nothing. A file system that cannot do that gets a named one from the beginning.
fn write_beside(folder: &Path, temporary: &Path, mode: u32) -> io::Result<()> {
    let unnamed = OpenOptions::new().write(true).mode(0o600).custom_flags(libc::O_TMPFILE).open(folder);
    match unnamed {
        Ok(file) => {
            fill(&file, mode)?;
            let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
            Ok(linkat(CWD, itself, CWD, temporary, AtFlags::SYMLINK_FOLLOW)?)
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            fill(&OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?, mode)
        }
        Err(error) => Err(error),
    }
}

fn fill(mut file: &File, mode: u32) -> io::Result<()> {
    copy(&mut standard(stdin())?, &mut file)?;
    // Not by the mode at creation, which the umask would change.
    file.set_permissions(Permissions::from_mode(mode & 0o7777))
}
