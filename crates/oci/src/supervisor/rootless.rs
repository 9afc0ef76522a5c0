//! What a supervisor without root's rights does first.

use std::fs;
use std::io;
use std::path::Path;

use rustix::fs::CWD;
use rustix::mount::{
    MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, move_mount, open_tree, unmount,
};

use crate::sys;

/// Enters a user namespace in which the caller is root, and a mount namespace of its own.
pub(super) fn enter_namespaces(uid: u32, gid: u32) -> io::Result<()> {
    // A supervisor is a fork of an undumpable zygote: its /proc files would be root's.
    sys::prctl(libc::PR_SET_DUMPABLE, 1)?;
    sys::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS)?;
    // Without the right to drop groups nobody may write a group map (CVE-2014-8989).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Moves the process into a root folder of its own that holds /proc, /dev and nothing of the host's
/// control groups: libcontainer insists on entering a group wherever it sees a v1 hierarchy, and an
/// ordinary user may not. `at` becomes the place of the stage.
pub(super) fn enter_small_root(at: &Path) -> io::Result<()> {
    let clone =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let trees = [("proc", open_tree(CWD, "/proc", clone)?), ("dev", open_tree(CWD, "/dev", clone)?)];
    mount("agentkernel", at, "tmpfs", MountFlags::NOSUID, Some(c"mode=0755,size=1m"))?;
    for (name, tree) in &trees {
        let place = at.join(name);
        fs::create_dir(&place)?;
        move_mount(tree, c"", CWD, &place, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    }
    fs::create_dir_all(at.join("sys/fs/cgroup"))?;
    let stage = at.strip_prefix("/").map_err(io::Error::other)?;
    fs::create_dir_all(at.join(stage))?;
    std::env::set_current_dir(at)?;
    // The old root is stacked on the new one and then taken off, see pivot_root(2).
    rustix::process::pivot_root(".", ".")?;
    unmount(".", UnmountFlags::DETACH)?;
    std::env::set_current_dir("/")
}
