//! Descriptors, and what is behind them: mounts, files in memory, sockets.

use std::ffi::{CStr, c_int, c_long};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;

use super::check;

/// How often a path is looked up anew where the kernel cannot say what `..` in it was, because something was mounted or
/// renamed on the host meanwhile: openat2(2) answers EAGAIN then, to be asked again.
const LOOKUPS_MAX: usize = 128;

/// What a path leads to in this root, wherever its links lead there.
pub(crate) fn open_in_root(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    let inside = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let open = || openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), inside);
    for _ in 1..LOOKUPS_MAX {
        match open() {
            Err(Errno::AGAIN) => {}
            answer => return answer,
        }
    }
    open()
}

/// `struct mount_attr` of `mount_setattr(2)`.
#[repr(C)]
#[derive(Default)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Sets attributes (`MOUNT_ATTR_*`) on a detached mount and all below it, in one step.
pub(crate) fn mount_setattr_recursive(
    mount: BorrowedFd<'_>,
    attr_set: u64,
    userns: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let attr = MountAttr {
        attr_set,
        userns_fd: userns.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
        ..MountAttr::default()
    };
    // SAFETY: the empty path and `attr` live across the call, and the size is that of `attr`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attr,
            size_of::<MountAttr>(),
        )
    };
    check(result)
}

/// An empty file in memory that can hold a program.
pub(crate) fn memory_file(name: &CStr) -> io::Result<OwnedFd> {
    // MFD_EXEC (0x10) says since Linux 6.3 that the file is meant to be executed; before, the flag
    // is unknown and every such file is executable.
    const MFD_EXEC: libc::c_uint = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    memfd_create(name, flags | MFD_EXEC).or_else(|_| memfd_create(name, flags))
}

const SEALS: c_int = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;

/// Lets nobody change a memory file any more.
pub(crate) fn seal(file: &File) -> io::Result<()> {
    // SAFETY: the descriptor is open, and F_ADD_SEALS takes an integer.
    check(c_long::from(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, SEALS) }))
}

/// Whether nobody can change a memory file any more.
pub(crate) fn is_sealed(file: &File) -> io::Result<bool> {
    // SAFETY: the descriptor is open, and F_GET_SEALS takes nothing.
    let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
    check(c_long::from(seals))?;
    Ok(seals & SEALS == SEALS)
}

fn memfd_create(name: &CStr, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated and lives across the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    check(c_long::from(fd))?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Brings a network interface up.
pub(crate) fn interface_up(socket: &OwnedFd, name: &[u8]) -> io::Result<()> {
    const IFF_UP: libc::c_short = 1; // linux/if.h; libc's constant is an int
    // SAFETY: all fields are integers or unions of them.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = IFF_UP;
    // SAFETY: SIOCSIFFLAGS reads a `struct ifreq`, which lives across the call.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    check(c_long::from(result))
}

/// Gives a descriptor this number, closing what had it before.
pub(crate) fn move_descriptor(fd: OwnedFd, number: i32) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() == number {
        return Ok(fd);
    }
    // SAFETY: dup3 takes integers; the kernel checks them.
    check(c_long::from(unsafe { libc::dup3(fd.as_raw_fd(), number, libc::O_CLOEXEC) }))?;
    // SAFETY: the kernel has just made this descriptor; callers are forked children that do not use
    // the number for anything else.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Copies a descriptor to one of the standard three.
pub(crate) fn copy_descriptor(from: i32, to: i32) -> io::Result<()> {
    // SAFETY: dup2 takes integers; the kernel checks them.
    check(c_long::from(unsafe { libc::dup2(from, to) }))
}

/// Closes every descriptor from `first` up. For forked children that own nothing there.
pub(crate) fn close_from(first: c_int) -> io::Result<()> {
    // SAFETY: the caller says that nothing of this process uses these descriptors.
    check(c_long::from(unsafe { libc::close_range(first.unsigned_abs(), libc::c_uint::MAX, 0) }))
}

/// Lets every descriptor from `first` up be closed when the process executes a program.
pub(crate) fn close_on_exec_from(first: c_int) -> io::Result<()> {
    let (first, last, flags) = (first.unsigned_abs(), libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: the descriptors stay open in this process.
    check(c_long::from(unsafe { libc::close_range(first, last, flags.cast_signed()) }))
}
