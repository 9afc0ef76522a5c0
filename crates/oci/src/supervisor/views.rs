//! The two views of a supervisor: the host's mounts, and its own.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The mount namespace that the caller is in now.
pub(super) fn here() -> io::Result<File> {
    File::open("/proc/self/ns/mnt")
}

/// Goes into a mount namespace, and to its root.
pub(super) fn go(namespace: impl AsFd) -> io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Mount)).map_err(Into::into)
}

/// Does something in another mount namespace, and comes back.
pub(super) fn during<T>(namespace: &File, work: impl FnOnce() -> T) -> io::Result<T> {
    let back = here()?;
    go(namespace)?;
    let result = work();
    go(&back)?;
    Ok(result)
}
