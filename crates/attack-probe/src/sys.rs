//! The only file with `unsafe`: raw system calls, fork, descriptors, and the i386 gate.

use std::ffi::{CStr, c_int, c_long};
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

/// The number with which the kernel says why it refused; 0 where it gave none.
pub type Errno = i32;

/// What the kernel answered to a raw system call.
pub type Reply = Result<i64, Errno>;

/// One argument of a raw system call.
pub enum Arg<'a> {
    /// Passed as it is.
    Number(i64),
    /// Passed as a pointer that the kernel reads.
    Text(&'a CStr),
    /// Passed as a pointer that the kernel may read and write.
    Bytes(&'a mut [u8]),
}

impl From<i32> for Arg<'_> {
    fn from(number: i32) -> Self {
        Arg::Number(number.into())
    }
}

impl From<u32> for Arg<'_> {
    fn from(number: u32) -> Self {
        Arg::Number(number.into())
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Arg::Number(number)
    }
}

impl<'a> From<&'a CStr> for Arg<'a> {
    fn from(text: &'a CStr) -> Self {
        Arg::Text(text)
    }
}

impl<'a> From<&'a mut [u8]> for Arg<'a> {
    fn from(bytes: &'a mut [u8]) -> Self {
        Arg::Bytes(bytes)
    }
}

impl<'a, const N: usize> From<&'a mut [u8; N]> for Arg<'a> {
    fn from(bytes: &'a mut [u8; N]) -> Self {
        Arg::Bytes(bytes)
    }
}

/// A raw system call by number, with up to six arguments.
macro_rules! call {
    ($number:expr $(, $argument:expr)* $(,)?) => {
        $crate::sys::syscall($number, &mut [$($crate::sys::Arg::from($argument)),*])
    };
}
pub(crate) use call;

/// A raw system call. What lies behind a pointer is the caller's claim: a buffer must be as large as the
/// kernel's structure, or empty.
pub fn syscall(number: c_long, arguments: &mut [Arg<'_>]) -> Reply {
    let mut raw: [c_long; 6] = [0; 6];
    for (slot, argument) in raw.iter_mut().zip(arguments) {
        *slot = match argument {
            Arg::Number(value) => *value,
            Arg::Text(text) => address(text.as_ptr().expose_provenance()),
            Arg::Bytes(bytes) => address(bytes.as_mut_ptr().expose_provenance()),
        };
    }
    // SAFETY: every pointer among the arguments comes from a borrow that outlives the call, and callers give
    // buffers of the size that the kernel documents. The probe has one thread; calls that change the address
    // space (mmap, brk …) are never made through this door.
    let result = unsafe { libc::syscall(number, raw[0], raw[1], raw[2], raw[3], raw[4], raw[5]) };
    if result == -1 { Err(last_errno()) } else { Ok(result) }
}

fn address(pointer: usize) -> c_long {
    pointer.cast_signed() as c_long
}

/// The number behind a failed call of the C library.
fn last_errno() -> Errno {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Which side of a fork this is.
pub enum Fork {
    /// The new process.
    Child,
    /// The old process, with the new one's id.
    Parent(i32),
}

/// A copy of this process. The child must end in [`exit_now`].
pub fn fork() -> Result<Fork, Errno> {
    // SAFETY: the program has one thread, so the child finds every lock free. Under the test harness, which
    // has more, glibc makes its allocator usable again in the child, and the child takes no other lock.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(pid)),
    }
}

/// Ends the process at once, without destructors.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` touches no memory of this process.
    unsafe { libc::_exit(code) }
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Killed(i32),
}

/// Waits for a child until the deadline; `None` when it still runs then.
pub fn wait(pid: i32, patience: Duration) -> Option<End> {
    let deadline = Instant::now() + patience;
    loop {
        let mut status = [0; 4];
        match call!(libc::SYS_wait4, pid, &mut status, libc::WNOHANG, 0) {
            Ok(0) if Instant::now() < deadline => pause_for(Duration::from_millis(2)),
            Ok(0) => return None,
            Ok(_) => return Some(end_of(i32::from_ne_bytes(status))),
            Err(libc::EINTR) => {}
            Err(_) => return None,
        }
    }
}

fn end_of(status: c_int) -> End {
    if libc::WIFSIGNALED(status) {
        End::Killed(libc::WTERMSIG(status))
    } else {
        End::Exited(libc::WEXITSTATUS(status))
    }
}

/// Sends a signal; a negative pid means a process group.
pub fn kill(pid: i32, signal: i32) -> Reply {
    call!(libc::SYS_kill, pid, signal)
}

/// This process's own id.
pub fn own_pid() -> i32 {
    // A process id always fits.
    i32::try_from(std::process::id()).unwrap_or(i32::MAX)
}

/// Makes the kernel kill this process when its parent ends, so that nothing outlives the probe.
pub fn die_with_parent() {
    // Where a filter refuses this, the parent's own kill remains.
    let _refused_is_fine = call!(libc::SYS_prctl, libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0);
}

/// Does nothing for a while.
pub fn pause_for(time: Duration) {
    let mut timeout = timespec(time);
    let _interrupted_is_fine = call!(libc::SYS_ppoll, 0, 0, &mut timeout, 0, 0);
}

/// Waits until the descriptor can be read or has been closed on the other side; false when time ran out.
pub fn wait_readable(fd: i32, time: Duration) -> bool {
    let mut poll = [0; 8];
    poll[..4].copy_from_slice(&fd.to_ne_bytes());
    poll[4..6].copy_from_slice(&libc::POLLIN.to_ne_bytes());
    let mut timeout = timespec(time);
    matches!(call!(libc::SYS_ppoll, &mut poll, 1, &mut timeout, 0, 0), Ok(1..))
}

fn timespec(time: Duration) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&time.as_secs().to_ne_bytes());
    bytes[8..].copy_from_slice(&u64::from(time.subsec_nanos()).to_ne_bytes());
    bytes
}

/// Sets what this process does on a signal: ignore it, or the default.
pub fn ignore_signal(signal: c_int) {
    // SAFETY: SIG_IGN installs no handler, so no code of ours can run in signal context.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Takes over a descriptor that a raw call has just returned.
pub fn owned(reply: Reply) -> Result<OwnedFd, Errno> {
    let fd = i32::try_from(reply?).map_err(|_| libc::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Type and permissions (`st_mode`) and device number (`st_rdev`) behind a descriptor.
pub fn stat_fd(fd: i32) -> Result<(u32, u64), Errno> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the pointer is to a whole `stat`, zeroed, so that it is initialised even if the call fails.
    let (result, stat) = unsafe { (libc::fstat(fd, stat.as_mut_ptr()), stat.assume_init()) };
    if result == 0 { Ok((stat.st_mode, stat.st_rdev)) } else { Err(last_errno()) }
}

/// The flags (`ST_RDONLY`, `ST_NOSUID` …) of the mount that a path lies on.
pub fn mount_flags(path: &CStr) -> Result<u64, Errno> {
    let mut stat = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the path ends in NUL; the pointer is to a whole `statvfs`, zeroed, so it is initialised anyway.
    let (result, stat) = unsafe { (libc::statvfs(path.as_ptr(), stat.as_mut_ptr()), stat.assume_init()) };
    if result == 0 { Ok(stat.f_flag) } else { Err(last_errno()) }
}

/// A system call through the i386 gate, by its i386 number. Where the kernel has no such gate it kills the
/// caller with SIGSEGV, so call it in a child.
#[cfg(target_arch = "x86_64")]
pub fn call_i386(number: u32, first: i32, second: i32, third: i32) -> Reply {
    let mut result: i64 = number.into();
    // SAFETY: callers pass numbers only, so the kernel touches no memory of ours. rbx, which the compiler
    // keeps for itself, is put back; r8 to r11 are declared lost.
    unsafe {
        std::arch::asm!(
            "xchg rbx, {first}",
            "int 0x80",
            "xchg rbx, {first}",
            first = inout(reg) i64::from(first) => _,
            inout("rax") result,
            in("rcx") i64::from(second),
            in("rdx") i64::from(third),
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    // The gate returns 32 bits; those between −4095 and −1 are an errno.
    let low = u32::try_from(result & 0xffff_ffff).unwrap_or(0).cast_signed();
    if (-4095..0).contains(&low) { Err(-low) } else { Ok(low.into()) }
}

/// There is no i386 gate on this architecture.
#[cfg(not(target_arch = "x86_64"))]
pub fn call_i386(_number: u32, _first: i32, _second: i32, _third: i32) -> Reply {
    Err(libc::ENOSYS)
}
