//! The system calls that no safe wrapper offers. All unsafe code of the crate, apart from the
//! seccomp tests, is in this file.

use std::ffi::{CStr, CString, c_int, c_long};
use std::fs::File;
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
    only_thread()?;
    // SAFETY: the process has one thread, so the child finds every lock of the allocator and of the
    // standard library free.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(pid)),
    }
}

/// Forks a process that has one thread into new namespaces (`CLONE_NEW*`), and into the group of v2 behind a
/// folder where one is given: the only way in that need not wait for the rest of the host.
pub(crate) fn clone_into(namespaces: u64, group: Option<BorrowedFd<'_>>) -> io::Result<Forked> {
    const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000; // linux/sched.h; libc's constant is an int
    only_thread()?;
    // SAFETY: all fields are integers, and zero means "not used" for each of them.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = namespaces;
    arguments.exit_signal = u64::from(libc::SIGCHLD.unsigned_abs());
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().unsigned_abs());
    }
    // SAFETY: without CLONE_VM and without a stack this is a fork: the child gets a copy of everything, and as
    // the process has one thread, every lock in it is free. `arguments` lives across the call, and the size is its
    // own.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => i32::try_from(pid).map(Forked::Parent).map_err(io::Error::other),
    }
}

fn only_thread() -> io::Result<()> {
    match std::fs::read_dir("/proc/self/task")?.count() {
        1 => Ok(()),
        threads => Err(io::Error::other(format!("cannot fork: the process has {threads} threads"))),
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

/// Raises one ambient capability.
pub(crate) fn raise_ambient(capability: libc::c_ulong) -> io::Result<()> {
    let (raise, zero) = (libc::PR_CAP_AMBIENT_RAISE, 0_u64);
    // SAFETY: PR_CAP_AMBIENT takes integers.
    check(c_long::from(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, zero, zero) }))
}

/// Does something with files as this user, and is itself again.
pub(crate) fn as_file_system_user<T>(uid: u32, gid: u32, work: impl FnOnce() -> T) -> T {
    // SAFETY: both calls take an id and cannot fail in a way that matters: who may not change keeps his own.
    let (old_gid, old_uid) = unsafe { (libc::setfsgid(gid), libc::setfsuid(uid)) };
    let result = work();
    // SAFETY: as above.
    unsafe {
        libc::setfsuid(old_uid.cast_unsigned());
        libc::setfsgid(old_gid.cast_unsigned());
    }
    result
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

/// Kills a child that has not been waited for.
pub(crate) fn kill(pid: i32) {
    // SAFETY: kill takes integers. It fails only for a process that is not there.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Whether a child has ended; it can still be waited for.
pub(crate) fn has_ended(pid: i32) -> bool {
    // SAFETY: all fields are integers, and `info` is a valid place for the result.
    unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        libc::waitid(libc::P_PID, pid.unsigned_abs(), &raw mut info, flags) == 0 && info.si_pid() == pid
    }
}

/// A duration as the kernel wants it.
pub(crate) fn timespec(time: std::time::Duration) -> rustix::time::Timespec {
    rustix::time::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Unmaps the pages of the program's own code from this process, which is about to wait for a long time. They stay
/// in the page cache, and come back one by one when they are executed.
pub(crate) fn forget_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    // `START-END r-xp OFFSET DEVICE INODE PATH`; only what comes from a file can be read again.
    let code = maps.lines().filter(|line| line.contains(" r-xp ") && line.contains(" /"));
    let range = |line: &str| {
        let (start, end) = line.split_once(' ')?.0.split_once('-')?;
        Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
    };
    code.filter_map(range).for_each(unmap_pages);
}

/// Unmaps, likewise, the pages that hold nothing but this part of the program.
pub(crate) fn forget_data(data: &'static [u8]) {
    let page = rustix::param::page_size();
    let range = data.as_ptr_range();
    let (start, end) = ((range.start as usize).next_multiple_of(page), range.end as usize / page * page);
    unmap_pages(start..end);
}

fn unmap_pages(range: std::ops::Range<usize>) {
    // SAFETY: a private mapping that is never written to has nothing but its file's content, which the kernel
    // reads again on the next access. A failure changes nothing.
    unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
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

/// Lets every descriptor from `first` up be closed when the process executes a program.
pub(crate) fn close_on_exec_from(first: c_int) -> io::Result<()> {
    let (first, last, flags) = (first.unsigned_abs(), libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC);
    // SAFETY: the descriptors stay open in this process.
    check(c_long::from(unsafe { libc::close_range(first, last, flags.cast_signed()) }))
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
