//! The system calls that no safe wrapper offers. All unsafe code of the crate, apart from the
//! seccomp tests, is in this file.

use std::ffi::{CStr, CString, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// What [`fork`] returned.
pub(crate) enum Forked {
    /// In the child.
    Child,
    /// In the parent, with the child's PID.
    Parent(i32),
}

/// Forks a process that has one thread; refuses otherwise, because a lock that another thread
/// holds would stay locked in the child for ever.
pub(crate) fn fork() -> io::Result<Forked> {
    let threads = std::fs::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!("cannot fork: the process has {threads} threads")));
    }
    // SAFETY: the process has one thread, so the child finds every lock of the allocator and of the
    // standard library free.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Ends a forked child without running the parent's exit handlers a second time.
pub(crate) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit has no preconditions and does not return.
    unsafe { libc::_exit(code) }
}

/// Moves the calling single-threaded process into new namespaces.
pub(crate) fn unshare(flags: c_int) -> io::Result<()> {
    // SAFETY: unshare takes flags only; callers are single-threaded processes (forked children).
    check(c_long::from(unsafe { libc::unshare(flags) }))
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

/// A sealed file in memory that holds a program.
pub(crate) fn program_in_memory(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    use io::Write as _;
    // MFD_EXEC (0x10) says since Linux 6.3 that the file is meant to be executed; before, the flag
    // is unknown and every such file is executable.
    const MFD_EXEC: libc::c_uint = 0x10;
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    let fd = memfd_create(name, flags | MFD_EXEC).or_else(|_| memfd_create(name, flags))?;
    let mut file = std::fs::File::from(fd);
    file.write_all(content)?;
    let seals = libc::F_SEAL_WRITE | libc::F_SEAL_GROW | libc::F_SEAL_SHRINK | libc::F_SEAL_SEAL;
    // SAFETY: the descriptor is open, and F_ADD_SEALS takes an integer.
    check(c_long::from(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, seals) }))?;
    Ok(file.into())
}

fn memfd_create(name: &CStr, flags: libc::c_uint) -> io::Result<OwnedFd> {
    // SAFETY: the name is NUL-terminated and lives across the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), flags) };
    check(c_long::from(fd))?;
    // SAFETY: the kernel has just made this descriptor, and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Replaces the process by the program behind `fd`, with these words and an empty environment.
/// Returns only if that fails.
pub(crate) fn execute(fd: BorrowedFd<'_>, words: &[CString]) -> io::Error {
    let mut argv: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    let env = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both arrays end with a null pointer, and the strings they point to live in `words`.
    unsafe {
        libc::execveat(
            fd.as_raw_fd(),
            c"".as_ptr(),
            argv.as_ptr().cast(),
            env.as_ptr().cast(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// One `prctl(2)` with an integer argument.
pub(crate) fn prctl(option: c_int, argument: libc::c_ulong) -> io::Result<()> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used by this crate take one integer and ignore the rest.
    check(c_long::from(unsafe { libc::prctl(option, argument, zero, zero, zero) }))
}

/// Waits for a child and returns its raw wait status.
pub(crate) fn wait_for(pid: i32) -> io::Result<i32> {
    let mut status = 0;
    loop {
        // SAFETY: `status` is a valid place for the result.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return Ok(status);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Waits until this process has no child any more.
pub(crate) fn wait_for_all_children() {
    loop {
        // SAFETY: a null status is allowed.
        let pid = unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) };
        // With SIGCHLD ignored the call fails with ECHILD when the last child has ended (wait(2)).
        if pid == -1 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
    }
}

/// Reaps every child that has ended, without waiting.
pub(crate) fn reap_children() {
    // SAFETY: a null status is allowed, and WNOHANG makes the call return at once.
    while unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) } > 0 {}
}

/// Ignores a signal, or restores its default.
pub(crate) fn set_signal(number: c_int, ignore: bool) {
    let action = if ignore { libc::SIG_IGN } else { libc::SIG_DFL };
    // SAFETY: both dispositions are valid for every signal that callers name.
    unsafe { libc::signal(number, action) };
}

fn check(result: c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
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

/// Empties the environment of a process with one thread.
pub(crate) fn clear_environment() {
    // SAFETY: no other thread can read the environment at the same time.
    unsafe { libc::clearenv() };
}

/// Leaves all supplementary groups.
pub(crate) fn drop_supplementary_groups() -> io::Result<()> {
    // SAFETY: a count of 0 means that the pointer is not read.
    check(c_long::from(unsafe { libc::setgroups(0, std::ptr::null()) }))
}

/// Waits some milliseconds for a kernel that offers nothing to wait on.
pub(crate) fn pause(milliseconds: i64) {
    let time = rustix::time::Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
    // An interrupted pause is only shorter.
    rustix::event::poll(&mut [], Some(&time)).ok();
}
