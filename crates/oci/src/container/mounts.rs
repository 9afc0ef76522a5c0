//! The container's mounts: from the staged root folder to the finished, restricted root.
//!
//! Everything is mounted after the process has left the host's root behind: a link in the image, wherever it
//! leads, then leads to somewhere in the sandbox. What comes from outside has been opened before.

use std::fs;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::fs::{CWD, FileType, fstat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags,
    fsconfig_create, fsmount, fsopen, mount, mount_bind, mount_bind_recursive, mount_remount, move_mount,
    open_tree, unmount,
};

use super::config::{Config, Mount, MountKind};
use super::identity::Owners;
use super::{Failure, at, during, exists, stage};
use crate::bundle::DEVICES;
use crate::sys;

/// What is mounted from outside, as detached mounts.
pub(super) struct Sources {
    binds: Vec<OwnedFd>,
    devices: Vec<OwnedFd>,
    proc: Option<OwnedFd>,
}

impl Sources {
    /// Opens the staged folders and the host's devices, and makes the container's own /proc.
    pub(super) fn open(config: &Config) -> Result<Self, Failure> {
        let binds = config.mounts.iter().filter(|mount| mount.kind == MountKind::Bind);
        let binds = binds.map(open_bind).collect::<io::Result<_>>().map_err(during("open a mount"))?;
        let devices = DEVICES.iter().map(|name| open_device(name)).collect::<io::Result<_>>();
        let proc = config.mounts.iter().find(|mount| mount.kind == MountKind::Proc);
        let proc = proc.map(new_proc).transpose().map_err(during("make /proc"))?;
        Ok(Self { binds, devices: devices.map_err(during("open a device"))?, proc })
    }
}

const CLONE: OpenTreeFlags = OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC);

fn open_bind(bind: &Mount) -> io::Result<OwnedFd> {
    let source = Path::new(&bind.source);
    let tree = open_tree(CWD, source, CLONE | OpenTreeFlags::AT_RECURSIVE).map_err(at(source))?;
    sys::mount_setattr_recursive(tree.as_fd(), attributes(&bind.options), None)?;
    Ok(tree)
}

fn attributes(options: &[String]) -> u64 {
    let known = options.iter().filter_map(|option| match option.as_str() {
        "ro" => Some(libc::MOUNT_ATTR_RDONLY),
        "nosuid" => Some(libc::MOUNT_ATTR_NOSUID),
        "nodev" => Some(libc::MOUNT_ATTR_NODEV),
        "noexec" => Some(libc::MOUNT_ATTR_NOEXEC),
        _ => None, // rbind and rw are so already, and no other one is let through
    });
    known.fold(0, |all, one| all | one)
}

/// A /proc of the new PID namespace. Without root the kernel makes one only where a complete one can be seen: as
/// long as the old root is there.
fn new_proc(proc: &Mount) -> io::Result<OwnedFd> {
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(context.as_fd())?;
    let tree = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    sys::mount_setattr_recursive(tree.as_fd(), attributes(&proc.options), None)?;
    Ok(tree)
}

fn open_device(name: &str) -> io::Result<OwnedFd> {
    let path = Path::new("/dev").join(name);
    let tree = open_tree(CWD, &path, CLONE).map_err(at(&path))?;
    sys::mount_setattr_recursive(tree.as_fd(), libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC, None)?;
    Ok(tree)
}

/// Makes this folder the root, and lets go of the old one.
pub(super) fn enter(rootfs: &Path) -> Result<(), Failure> {
    let enter = || -> io::Result<()> {
        mount_bind_recursive(rootfs, rootfs)?; // only a mount can become the root
        std::env::set_current_dir(rootfs)?;
        // The old root is stacked on the new one and then taken off, see pivot_root(2).
        rustix::process::pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        std::env::set_current_dir("/")
    };
    enter().map_err(during("enter the root folder"))
}

/// Mounts what the configuration asks for, in its order, and fills /dev.
pub(super) fn make(config: &Config, sources: &Sources, owners: &Owners) -> Result<(), Failure> {
    let mut binds = sources.binds.iter();
    for entry in &config.mounts {
        let target = Path::new(&entry.destination);
        let mounted = match (entry.kind, binds.as_slice(), &sources.proc) {
            (MountKind::Bind, [tree, ..], _) => {
                binds.next();
                attach(tree, target, owners)
            }
            (MountKind::Proc, _, Some(proc)) => {
                let onto = move_mount(proc, c"", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
                onto.map_err(io::Error::from)
            }
            _ => mount_kernel(entry, target, owners),
        };
        mounted.map_err(during(&format!("mount {}", entry.destination)))?;
    }
    fill_dev(&sources.devices).map_err(during("fill /dev"))
}

fn attach(tree: &OwnedFd, target: &Path, owners: &Owners) -> io::Result<()> {
    let is_dir = FileType::from_raw_mode(fstat(tree)?.st_mode).is_dir();
    // What is missing on the way in a writable place becomes the user's.
    sys::as_file_system_user(owners.uid, owners.gid, || {
        stage::make_mount_point(Path::new("/"), target, is_dir).map_err(io::Error::other)
    })?;
    let place = sys::open_in_root(CWD, target)?;
    let both = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, c"", &place, c"", both)?)
}

/// Mounts a file system of the kernel's.
fn mount_kernel(entry: &Mount, target: &Path, owners: &Owners) -> io::Result<()> {
    if !exists(target) {
        fs::create_dir(target)?; // below /dev
    }
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    if entry.kind == MountKind::Tmpfs {
        // Root's, inside; what the configuration says comes later and counts.
        data.push(format!("uid={},gid={}", owners.uid_of(0), owners.gid_of(0)));
    }
    for option in &entry.options {
        match option.split_once('=') {
            Some(("uid", id)) => data.push(format!("uid={}", owners.uid_of(number(id)?))),
            Some(("gid", id)) => data.push(format!("gid={}", owners.gid_of(number(id)?))),
            Some(_) => data.push(option.clone()),
            None => match flag(option) {
                Some(flag) => flags |= flag,
                None => data.push(option.clone()), // the file system knows it, or refuses
            },
        }
    }
    let data = std::ffi::CString::new(data.join(",")).map_err(io::Error::other)?;
    let kind = entry.kind.name();
    Ok(mount(&*entry.source, target, kind, flags, Some(data.as_c_str()))?)
}

fn number(id: &str) -> io::Result<u32> {
    id.parse().map_err(|_| io::Error::other(format!("{id:?} is no id")))
}

fn flag(option: &str) -> Option<MountFlags> {
    Some(match option {
        "nosuid" => MountFlags::NOSUID,
        "nodev" => MountFlags::NODEV,
        "noexec" => MountFlags::NOEXEC,
        "strictatime" => MountFlags::STRICTATIME,
        "ro" => MountFlags::RDONLY,
        _ => return None,
    })
}

/// Links that programs expect in /dev.
const DEV_LINKS: [(&str, &str); 5] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
    ("pts/ptmx", "/dev/ptmx"),
];

fn fill_dev(devices: &[OwnedFd]) -> io::Result<()> {
    for (name, device) in DEVICES.iter().zip(devices) {
        let path = Path::new("/dev").join(name);
        fs::write(&path, "")?;
        move_mount(device, c"", CWD, &path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(at(&path))?;
    }
    DEV_LINKS.iter().try_for_each(|(target, link)| symlink(target, link))
}

/// What nothing may be changed or executed through.
const LOCKED: MountFlags =
    MountFlags::RDONLY.union(MountFlags::NOSUID).union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Hides what is to be hidden, and makes read-only what is to be read-only; the root last.
pub(super) fn restrict(config: &Config) -> Result<(), Failure> {
    for path in &config.linux.readonly_paths {
        let mounted = config.mounts.iter().any(|mount| mount.destination == *path);
        make_read_only(Path::new(path), mounted).map_err(during(&format!("make {path} read-only")))?;
    }
    for path in &config.linux.masked_paths {
        hide(Path::new(path)).map_err(during(&format!("hide {path}")))?;
    }
    let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    if config.root.readonly {
        flags |= MountFlags::RDONLY;
    }
    mount_remount("/", flags, c"").map_err(during("make the root read-only"))
}

fn make_read_only(path: &Path, mounted: bool) -> io::Result<()> {
    if !exists(path) {
        return Ok(()); // this kernel has no such file
    }
    if !mounted {
        mount_bind_recursive(path, path)?;
    }
    Ok(mount_remount(path, MountFlags::BIND | LOCKED, c"")?)
}

/// Covers a file with /dev/null, a folder with an empty one. It is looked at first: a mount that the kernel made and
/// cannot put on a folder costs an RCU grace period (70 µs measured).
fn hide(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()), // this kernel has no such file
        Err(error) => Err(error),
        Ok(facts) if facts.is_dir() => {
            Ok(mount("tmpfs", path, "tmpfs", LOCKED, Some(c"size=0,nr_inodes=1"))?)
        }
        Ok(_) => Ok(mount_bind("/dev/null", path)?),
    }
}
