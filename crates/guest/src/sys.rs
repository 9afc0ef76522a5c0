//! The system calls that have no safe wrapper: signals, `wait4`, `fork`'s surroundings.

mod entropy;
mod fork;
mod mapping;
pub mod raw;
mod vsock;

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsRawFd as _, FromRawFd, OwnedFd, RawFd};

use agentkernel_protocol::{Status, Usage};
use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

pub use entropy::add_entropy;
pub use fork::fork;
pub use mapping::touch;
pub use vsock::{accept_vsock, listen_vsock};

/// The number of an error of the standard library's.
pub fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Nanoseconds of the clock that never goes back.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// How long it is until then.
pub fn time_left(until_ns: u64) -> Timespec {
    let left_ns = until_ns.saturating_sub(monotonic_ns());
    // Both parts are far below the limits of their types: a u64 of nanoseconds is 585 years.
    Timespec {
        tv_sec: i64::try_from(left_ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(left_ns % 1_000_000_000).unwrap_or(0),
    }
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Gives one signal its default disposition, by the kernel's own call: the C library keeps two of them
/// for itself, which others may have left ignored all the same.
fn set_default(number: libc::c_int) {
    const SET_LEN: usize = 8; // of the kernel's signal set, 64 bits
    // SAFETY: the kernel's sigaction is at most this long, and all zeroes in it mean SIG_DFL without
    // flags. It lives through the call; SIGKILL and SIGSTOP only yield an error.
    unsafe {
        let action = [0_u64; 8];
        let nothing = std::ptr::null_mut::<u64>();
        libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), nothing, SET_LEN);
    }
}

/// Gives every signal its default disposition, blocks them all, and returns a descriptor that
/// becomes readable when a child changes state.
///
/// Whoever started the agent may have left signals ignored; an ignored SIGCHLD would make children
/// vanish unwaited, and an ignored SIGPIPE would be inherited by everything that runs here.
pub fn adopt_signals() -> io::Result<OwnedFd> {
    for number in 1..=64 {
        set_default(number);
    }
    // SAFETY: a sigset_t is plain data that sigemptyset and sigfillset initialise before use, and both
    // pointers live through the calls.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigfillset(&raw mut set);
        checked(libc::sigprocmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()))?;
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        let fd = checked(libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK))?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// Takes the notices off the descriptor of [`adopt_signals`]; one may stand for many children.
pub fn drain_signals(fd: &OwnedFd) {
    let mut notices = [0; 8 * size_of::<libc::signalfd_siginfo>()];
    while rustix::io::read(fd, &mut notices).is_ok_and(|len| len == notices.len()) {}
}

/// Sends a signal to `target`, which is a PID, a negated group or -1, as in `kill(2)`; says whether
/// there was anybody to take it.
pub fn kill(target: i32, signal: i32) -> bool {
    // SAFETY: kill takes two numbers and touches no memory of ours.
    unsafe { libc::kill(target, signal) == 0 }
}

/// A child that was waited for.
pub struct Reaped {
    /// Its PID, which may be used anew from now on.
    pub pid: i32,
    /// How it ended.
    pub status: Status,
    /// What it used; the wall time is the caller's to fill in.
    pub usage: Usage,
}

/// What [`reap`] found.
pub enum Reaping {
    /// A child that had ended.
    One(Reaped),
    /// There are children, and none has ended.
    Running,
    /// There are no children.
    Childless,
}

/// Waits for any child that has ended, without blocking.
pub fn reap() -> Reaping {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for writing through the call.
    let pid = unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    if pid < 0 {
        return Reaping::Childless;
    }
    if pid == 0 {
        return Reaping::Running;
    }
    // SAFETY: an rusage is plain numbers, zero to begin with and filled in by wait4.
    let usage = unsafe { usage.assume_init() };
    Reaping::One(Reaped { pid, status: status_of(status), usage: usage_of(&usage) })
}

fn status_of(status: libc::c_int) -> Status {
    if libc::WIFSIGNALED(status) {
        // Seven bits in the kernel's own encoding.
        Status::Signal(u8::try_from(libc::WTERMSIG(status)).unwrap_or(u8::MAX))
    } else {
        Status::Code(u8::try_from(libc::WEXITSTATUS(status)).unwrap_or(u8::MAX))
    }
}

fn usage_of(usage: &libc::rusage) -> Usage {
    let microseconds = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(time.tv_usec).unwrap_or(0)
    };
    Usage {
        user_us: microseconds(usage.ru_utime),
        system_us: microseconds(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        wall_ns: 0,
    }
}

/// Beyond what the agent can have open itself: four for each channel, and a few of its own.
const HIGHEST_FD: RawFd = 5000;

/// Closes every descriptor from `first` to `last`.
pub fn close_range(first: RawFd, last: RawFd) {
    if first > last {
        return;
    }
    // SAFETY: the caller gives up these descriptors; no owner of them is used or dropped after.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } < 0 {
        // A kernel that is too old for it. Those that are open are few, and close one by one.
        for fd in first..=last.min(HIGHEST_FD) {
            // SAFETY: as above; a number that is not open only yields an error.
            unsafe { libc::close(fd) };
        }
    }
}

/// Closes every descriptor that whoever started us left open, except `kept` and the standard three.
pub fn close_all_but(kept: &mut [RawFd]) {
    kept.sort_unstable();
    let mut first = 3;
    for fd in kept {
        close_range(first, *fd - 1);
        first = *fd + 1;
    }
    close_range(first, RawFd::MAX);
}

/// A copy of a descriptor that whoever started us has left at this number, at `least` or above.
pub fn inherited(fd: RawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl takes three numbers, and what it returns is a new descriptor that nobody else owns.
    unsafe {
        let copy = checked(libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least))?;
        Ok(OwnedFd::from_raw_fd(copy))
    }
}

/// Gives freed memory back to the kernel: the C library keeps it for a program that may need it soon,
/// but the agent may wait for hours.
pub fn return_freed_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim takes a number, and nothing else runs that could allocate meanwhile.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// As many open descriptors as we may have, and how many we had: children get that back.
pub fn raise_descriptor_limit() -> libc::rlimit {
    let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointers live through the calls.
    unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut before);
        let raised = libc::rlimit { rlim_cur: before.rlim_max, ..before };
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised);
    }
    before
}

/// Brings a network interface up.
pub fn interface_up(socket: &OwnedFd, name: &[u8]) -> io::Result<()> {
    const IFF_UP: libc::c_short = 1; // linux/if.h; libc's constant is an int
    // SAFETY: all fields are integers or unions of them, and SIOCSIFFLAGS reads the request, which lives across the call.
    unsafe {
        let mut request: libc::ifreq = zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(name) {
            *to = from.cast_signed();
        }
        request.ifr_ifru.ifru_flags = IFF_UP;
        checked(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)).map(drop)
    }
}

/// Puts this thread, and all that it starts, under a filter of system calls. There is no way back.
pub fn install_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let len = u16::try_from(program.len()).map_err(io::Error::other)?;
    let filter = libc::sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: the kernel copies so many instructions, which live through the call, and writes nothing.
    let installed =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const filter) };
    if installed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes of the stack of a child in our own memory. Its deepest call is that of a path's copy, some hundred bytes.
const STACK_LEN: usize = 32 * 1024;

/// The stack of a child that runs in our own memory, aligned as a processor wants it.
pub struct Stack(Box<[MaybeUninit<u128>]>);

impl Stack {
    /// Room for one child.
    pub fn new() -> Self {
        Self(Box::new_uninit_slice(STACK_LEN / size_of::<u128>()))
    }
}

/// Starts a child that runs `begin` in our own memory, at the same time as we do, and returns its PID.
///
/// # Safety
/// Until the child has executed a program or has ended, the stack and all that `begin` reaches through `what` must stay
/// as they are. `begin` does not return, allocates nothing, and leaves the C library's variables alone.
pub unsafe fn start_in_our_memory<T>(
    stack: &mut Stack,
    begin: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    what: &T,
) -> io::Result<i32> {
    let top = stack.0.as_mut_ptr_range().end;
    let what = std::ptr::from_ref(what).cast_mut();
    // SAFETY: stacks grow downwards from their aligned end; the rest is the caller's promise.
    checked(unsafe { libc::clone(begin, top.cast(), libc::CLONE_VM | libc::SIGCHLD, what.cast()) })
}

/// Capabilities that this process could pass on to whoever gains rights, bit by bit; all that there may be where the kernel
/// does not say so.
pub fn bounding_set() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let set = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// Bytes of a page. Not by rustix: before Linux 6.4 it reads /proc/self/auxv, which is closed to a process that nobody may
/// look into.
pub fn page_size() -> usize {
    // SAFETY: sysconf takes a number; the C library knows the answer from the start of the program.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Unmaps the pages of our own code, half of which nothing but a start ever needs. They stay in the page cache, and those
/// that are needed come back when they are executed: a sandbox that waits to be used shall weigh little.
pub fn forget_code() {
    unsafe extern "C" {
        // Both are the linker's: the first byte of the program and the first one behind its code.
        static __executable_start: u8;
        static etext: u8;
    }
    let page = page_size();
    let (start, end) = ((&raw const __executable_start).addr(), (&raw const etext).addr() / page * page);
    if start < end {
        // SAFETY: these pages are mapped from our program, private and never written to: the next access reads the
        // same bytes again. A failure changes nothing.
        unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
    }
}
