//! Processes: how they are made, what they are, how they end.

use std::ffi::{CStr, CString, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::check;

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

/// Replaces the process by the program at an absolute path, with these words and one variable. Returns only if that
/// fails.
pub(crate) fn execute_path(path: &CStr, words: &[CString], variable: &CStr) -> io::Error {
    let mut argv: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    argv.push(std::ptr::null());
    let env = [variable.as_ptr(), std::ptr::null()];
    // SAFETY: both arrays end with a null pointer, and the strings they point to outlive the call.
    unsafe { libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
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

/// Leaves all supplementary groups.
pub(crate) fn drop_supplementary_groups() -> io::Result<()> {
    // SAFETY: a count of 0 means that the pointer is not read.
    check(c_long::from(unsafe { libc::setgroups(0, std::ptr::null()) }))
}

/// Empties the environment of a process with one thread.
pub(crate) fn clear_environment() {
    // SAFETY: no other thread can read the environment at the same time.
    unsafe { libc::clearenv() };
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

/// Waits so long for a child's end, and leaves it to be reaped. Whether it has ended.
pub(crate) fn ends_within(pid: i32, time: std::time::Duration) -> bool {
    let end = std::time::Instant::now() + time;
    while !has_ended(pid) {
        if std::time::Instant::now() >= end {
            return false;
        }
        super::pause(1);
    }
    true
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
