//! System calls of a child that may run in the agent's own memory: they leave the C library's `errno` alone, which is the
//! agent's there, and allocate nothing.
//!
//! What rustix has, the child takes from there: it makes its calls in the same way on Linux.

use std::arch::asm;
use std::ffi::{CStr, c_char, c_int, c_long};
use std::os::fd::RawFd;

use rustix::io::{Errno, Result};

use super::HIGHEST_FD;

/// Length of the kernel's signal set, bytes: 64 bits.
const SET_LEN: usize = 8;

/// Makes a call of up to four arguments.
///
/// # Safety
/// As for the call itself.
unsafe fn call(number: c_long, arguments: [usize; 4]) -> Result<c_long> {
    let [a, b, c, d] = arguments;
    let result: c_long;
    // SAFETY: this is how Linux is called on this processor; memory may be read and written by it.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        asm!(
            "syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _, options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        asm!(
            "svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d,
            options(nostack),
        );
    }
    match result {
        // The kernel's errors are the last page of numbers.
        -4095..0 => Err(Errno::from_raw_os_error(i32::try_from(-result).unwrap_or(libc::EIO))),
        _ => Ok(result),
    }
}

/// Puts `from` at the number `to`, whatever was there, with the flags of `dup3`. Both may not be the same.
pub fn place(from: RawFd, to: RawFd, flags: c_int) -> Result<()> {
    // SAFETY: dup3 takes numbers; the child owns what is at `to`, or nobody does.
    unsafe { call(libc::SYS_dup3, [number(from), number(to), number(flags), 0]) }.map(drop)
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: RawFd) {
    // SAFETY: the child gives up these descriptors; no owner of them is used or dropped after.
    if unsafe { call(libc::SYS_close_range, [number(first), number(RawFd::MAX), 0, 0]) }.is_err() {
        // A kernel that is too old for it. Those that are open are few, and close one by one.
        (first..=HIGHEST_FD).for_each(close);
    }
}

/// Closes one descriptor.
pub fn close(fd: RawFd) {
    // SAFETY: as above; a number that is not open only yields an error.
    unsafe { call(libc::SYS_close, [number(fd), 0, 0, 0]) }.ok();
}

/// Writes once.
pub fn write(fd: RawFd, bytes: &[u8]) -> Result<()> {
    // SAFETY: the bytes live through the call.
    unsafe { call(libc::SYS_write, [number(fd), bytes.as_ptr().expose_provenance(), bytes.len(), 0]) }
        .map(drop)
}

/// Sets the limit of open descriptors.
pub fn set_descriptor_limit(limit: &libc::rlimit) {
    let (limit, resource) = (std::ptr::from_ref(limit).expose_provenance(), libc::RLIMIT_NOFILE as usize);
    // SAFETY: the limit lives through the call. On 64 bits its form is that of the call.
    unsafe { call(libc::SYS_prlimit64, [0, resource, limit, 0]) }.ok();
}

/// Lets every signal through again: the last thing a child does before it becomes its program.
pub fn unblock_signals() {
    let nothing = 0_u64;
    let (how, nothing) = (libc::SIG_SETMASK as usize, (&raw const nothing).expose_provenance());
    // SAFETY: the set lives through the call.
    unsafe { call(libc::SYS_rt_sigprocmask, [how, nothing, 0, SET_LEN]) }.ok();
}

/// Nothing that the process becomes can gain this capability again.
pub fn forgo_capability(capability: u32) -> Result<()> {
    // SAFETY: prctl takes numbers.
    unsafe { call(libc::SYS_prctl, [libc::PR_CAPBSET_DROP as usize, capability as usize, 0, 0]) }.map(drop)
}

/// Becomes a program, or says why not.
///
/// # Safety
/// `argv` and `env` are arrays of C strings that end with a null pointer.
pub unsafe fn execute(path: &CStr, argv: *const *const c_char, env: *const *const c_char) -> Errno {
    let arguments = [path.as_ptr().expose_provenance(), argv.expose_provenance(), env.expose_provenance(), 0];
    // SAFETY: all three live through the call, as the caller promises.
    unsafe { call(libc::SYS_execve, arguments) }.err().unwrap_or(Errno::IO)
}

/// Ends the process at once: nothing of the agent's is run or flushed.
pub fn exit(code: c_int) -> ! {
    loop {
        // SAFETY: the call does not come back.
        unsafe { call(libc::SYS_exit_group, [number(code), 0, 0, 0]) }.ok();
    }
}

/// As the kernel takes a number with a sign.
fn number(value: c_int) -> usize {
    (value as isize).cast_unsigned()
}
