//! What the helper gives up: before it makes a machine what only the making could misuse, and once there is one all that is left.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use agentkernel_hardening::seccomp::SeccompFilters;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};
use rustix::process::{chroot, fchdir};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities, set_no_new_privs};

use crate::sys;

/// What commands in a sandbox may call and the helper does not: it starts nothing and talks to nobody but on its streams.
const NEVER: &[&str] = &[
    "execve",
    "execveat",
    "fork",
    "vfork",
    "socket",
    "socketpair",
    "connect",
    "bind",
    "listen",
    "accept",
    "accept4",
    "kill",
    "tkill",
    "chroot",
    "setuid",
    "setgid",
    "setresuid",
    "setresgid",
    "setgroups",
    "mknod",
    "mknodat",
    "chmod",
    "fchmod",
    "chown",
    "fchown",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
];

/// Where the helper goes once there is a machine: an empty root that cannot be written to, as a user that is nobody's. Nothing
/// of it can be had any more once rights are given up, and so it is made first.
pub struct Refuge {
    place: Option<(OwnedFd, u32)>,
}

impl Refuge {
    /// For this user. Where there is none, the helper stays where and who it is.
    pub fn of(user: Option<u32>) -> io::Result<Self> {
        let place = user.map(|user| Ok::<_, io::Error>((empty()?, user))).transpose()?;
        Ok(Self { place })
    }

    /// Gives up every capability but those that it takes to go there, and every way to get one. What KVM needs is its device
    /// alone.
    pub fn give_up_privileges(&self) -> io::Result<()> {
        set_no_new_privs(true)?;
        let needed = CapabilitySet::SYS_CHROOT | CapabilitySet::SETUID | CapabilitySet::SETGID;
        keep(if self.place.is_some() { needed } else { CapabilitySet::empty() })
    }

    /// Goes there. From now on there are no files, no other programs and no rights, in any thread: KVM's device, the machine
    /// and our streams are open already.
    pub fn withdraw(self) -> io::Result<()> {
        let filters = SeccompFilters::compile_and_deny(NEVER).map_err(io::Error::other)?;
        if let Some((root, user)) = self.place {
            fchdir(&root)?;
            chroot(".")?;
            drop(root);
            sys::become_user(user)?;
        }
        keep(CapabilitySet::empty())?;
        filters.install_in_all_threads().map_err(io::Error::other)
    }
}

fn keep(capabilities: CapabilitySet) -> io::Result<()> {
    let none = CapabilitySet::empty();
    let sets = CapabilitySets { effective: capabilities, permitted: capabilities, inheritable: none };
    Ok(set_capabilities(None, sets)?)
}

/// A file system of nobody else's with nothing in it. It has no place among the others.
fn empty() -> io::Result<OwnedFd> {
    let making = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(making.as_fd(), "size", "4k")?;
    fsconfig_set_string(making.as_fd(), "nr_inodes", "1")?;
    fsconfig_set_string(making.as_fd(), "mode", "0555")?;
    fsconfig_create(making.as_fd())?;
    let walls = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(making.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, walls)?)
}
