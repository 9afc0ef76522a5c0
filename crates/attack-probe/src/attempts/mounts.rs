//! Mounts, roots, device nodes and file handles: the ways to another file system.
//!
//! Where it is possible, the arguments are such that the kernel refuses them after it has checked the
//! permission. That refusal is then the proof, and nothing is changed.

use std::ffi::CString;

use crate::attempt::{Attempt, Control, Outcome, answer};
use crate::sys::{self, Reply, call};

/// A path that nobody has.
const ABSENT: &std::ffi::CStr = c"/attack-probe-absent";

/// A flag that no version of these calls knows.
const UNKNOWN_FLAG: u32 = 0x4000_0000;

pub const ATTEMPTS: &[Attempt] = &[
    // ENOENT: the source is looked up after CAP_SYS_ADMIN has been checked.
    Attempt::new("mount-bind", Control::Host, "bind mount (of an absent source onto /)", |_| {
        call!(libc::SYS_mount, ABSENT, c"/", 0, libc::MS_BIND as i64, 0).into()
    })
    .granted(&[libc::ENOENT]),
    // ENODEV: the kind of file system is looked up after CAP_SYS_ADMIN has been checked.
    Attempt::new("mount-new", Control::Host, "new mount (of an unknown file system onto /)", |_| {
        call!(libc::SYS_mount, c"none", c"/", c"attack-probe-fs", 0, 0).into()
    })
    .granted(&[libc::ENODEV]),
    Attempt::new("mount-tmpfs", Control::Namespaces, "mount a tmpfs onto a writable directory", |_| {
        mount_tmpfs()
    })
    .refused(&[libc::ENODEV]),
    // EINVAL: / is not the root of a mount, said after the permission check.
    Attempt::new("mount-remount-rw", Control::Namespaces, "remount / for writing", |_| {
        let flags = (libc::MS_REMOUNT | libc::MS_BIND) as i64;
        call!(libc::SYS_mount, 0, c"/", 0, flags, 0).into()
    })
    .granted(&[libc::EINVAL]),
    // EINVAL: the path is no mount, said after CAP_SYS_ADMIN has been checked.
    Attempt::new("umount", Control::Host, "unmount (a path that is no mount)", |_| {
        call!(libc::SYS_umount2, c"/proc/self", libc::MNT_DETACH).into()
    })
    .granted(&[libc::EINVAL]),
    // ENOENT: the paths are looked up after CAP_SYS_ADMIN has been checked.
    Attempt::new("pivot-root", Control::Host, "change the root mount (to an absent path)", |_| {
        call!(libc::SYS_pivot_root, ABSENT, ABSENT).into()
    })
    .granted(&[libc::ENOENT]),
    Attempt::new("chroot", Control::Host, "change the root directory", |_| {
        call!(libc::SYS_chroot, c"/").into()
    }),
    Attempt::new("fsopen", Control::Host, "begin a mount with the new interface", |_| {
        call!(libc::SYS_fsopen, c"tmpfs", 1).into()
    })
    .granted(&[libc::ENODEV]),
    Attempt::new("open-tree", Control::Host, "clone the tree of mounts at /", |_| {
        const OPEN_TREE_CLONE: i32 = 1;
        call!(libc::SYS_open_tree, libc::AT_FDCWD, c"/", OPEN_TREE_CLONE | libc::O_CLOEXEC).into()
    }),
    // EINVAL: unknown flags are refused after CAP_SYS_ADMIN has been checked.
    Attempt::new("move-mount", Control::Host, "move a mount (with unknown flags)", |_| {
        call!(libc::SYS_move_mount, -1, c"", -1, c"", UNKNOWN_FLAG).into()
    })
    .granted(&[libc::EINVAL]),
    Attempt::new("mount-setattr", Control::Namespaces, "make / writable with mount_setattr", |_| {
        // struct mount_attr: attr_set, attr_clr (MOUNT_ATTR_RDONLY), propagation, userns_fd.
        let mut attributes = [0; 32];
        attributes[8] = 1;
        call!(libc::SYS_mount_setattr, libc::AT_FDCWD, c"/", 0, &mut attributes, 32).into()
    })
    .granted(&[libc::EINVAL]),
    Attempt::new("mknod-char", Control::Host, "make a character device (1:1, memory)", |_| {
        make_node(libc::S_IFCHR, 1, 1)
    }),
    Attempt::new("mknod-block", Control::Host, "make a block device (7:0)", |_| {
        make_node(libc::S_IFBLK, 7, 0)
    }),
    // ESTALE: handles are decoded after CAP_DAC_READ_SEARCH has been checked.
    Attempt::new("open-by-handle-at", Control::Host, "open inode 2 of / by a forged handle", |_| {
        open_by_handle()
    })
    .granted(&[libc::ESTALE])
    .refused(&[libc::EOPNOTSUPP]),
];

/// Directories in which the sandbox's user may write, most likely first.
const SCRATCH: &[&str] = &["/tmp", "/workspace", "/dev/shm", "/var/tmp", "."];

/// A path in the first directory where something can be made.
fn scratch_path() -> Result<CString, String> {
    let name = format!(".attack-probe-{}", sys::own_pid());
    for directory in SCRATCH {
        let path = format!("{directory}/{name}");
        if std::fs::create_dir(&path).is_ok() {
            let _empty = std::fs::remove_dir(&path);
            return CString::new(path).map_err(|error| error.to_string());
        }
    }
    Err(format!("nothing can be made in any of {}", SCRATCH.join(", ")))
}

fn mount_tmpfs() -> Outcome {
    let path = match scratch_path() {
        Ok(path) => path,
        Err(why) => return Outcome::error(why),
    };
    if let Err(errno) = call!(libc::SYS_mkdirat, libc::AT_FDCWD, path.as_c_str(), 0o700) {
        return Outcome::error(format!("no directory to mount on: errno {errno}"));
    }
    let reply = call!(libc::SYS_mount, c"none", path.as_c_str(), c"tmpfs", 0, 0);
    if reply.is_ok() {
        let _gone_with_the_namespace = call!(libc::SYS_umount2, path.as_c_str(), libc::MNT_DETACH);
    }
    let _leaves_no_trace = call!(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_c_str(), libc::AT_REMOVEDIR);
    reply.into()
}

fn make_node(kind: u32, major: u32, minor: u32) -> Outcome {
    let path = match scratch_path() {
        Ok(path) => path,
        Err(why) => return Outcome::error(why),
    };
    let device = i64::from(major << 8 | minor);
    let reply = call!(libc::SYS_mknodat, libc::AT_FDCWD, path.as_c_str(), kind | 0o600, device);
    if reply.is_ok() {
        let _leaves_no_trace = call!(libc::SYS_unlinkat, libc::AT_FDCWD, path.as_c_str(), 0);
    }
    Outcome::Answers(vec![(path.to_string_lossy().into_owned(), answer(reply))])
}

fn open_by_handle() -> Outcome {
    let root = match call!(libc::SYS_openat, libc::AT_FDCWD, c"/", libc::O_RDONLY | libc::O_DIRECTORY) {
        Ok(root) => root,
        Err(errno) => return Outcome::error(format!("/ cannot be opened: errno {errno}")),
    };
    // First the true handle of /, if the kernel gives it, then a forged one: inode 2, generation 0.
    let mut handle = [0; 136];
    let mut mount_id = [0; 4];
    handle[..4].copy_from_slice(&128_u32.to_ne_bytes());
    let honest = call!(libc::SYS_name_to_handle_at, libc::AT_FDCWD, c"/", &mut handle, &mut mount_id, 0);
    if honest.is_err() {
        handle = forged_handle();
    }
    let open = |handle: &mut [u8; 136]| -> Reply {
        call!(libc::SYS_open_by_handle_at, root, handle, libc::O_RDONLY)
    };
    let of_root = open(&mut handle);
    let forged = open(&mut forged_handle());
    Outcome::Answers(vec![("of /".into(), answer(of_root)), ("forged".into(), answer(forged))])
}

/// struct file_handle: handle_bytes, handle_type (FILEID_INO32_GEN), inode, generation.
fn forged_handle() -> [u8; 136] {
    let mut handle = [0; 136];
    for (at, value) in [8_u32, 1, 2, 0].into_iter().enumerate() {
        handle[at * 4..at * 4 + 4].copy_from_slice(&value.to_ne_bytes());
    }
    handle
}
