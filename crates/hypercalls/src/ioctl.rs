//! The orders that Unikraft's `/dev/hlcall` takes besides reading and writing (its `hyperlight/step.h`).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// `_IOR('H', 1, uint64_t)`.
const BYTES_MAX: libc::c_ulong = 0x8008_4801;

/// `_IOWR('H', 3, struct hlcall_hostcall)`.
const HOST_CALL: libc::c_ulong = 0xc038_4803;

#[repr(C)]
struct HostCall {
    name: *const u8,
    name_bytes: u64,
    argument: *const u8,
    argument_bytes: u64,
    reply: *mut u8,
    reply_bytes_max: u64,
    reply_bytes: u64,
}

fn checked(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Most bytes of a call.
pub fn bytes_max(device: &File) -> io::Result<usize> {
    let mut most = 0_u64;
    // SAFETY: the kernel writes one number of 64 bits there.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), BYTES_MAX, &raw mut most) })?;
    usize::try_from(most).map_err(io::Error::other)
}

/// Calls a function of the host; returns how much of `reply` is its answer.
pub fn call(device: &File, name: &str, argument: &str, reply: &mut [u8]) -> io::Result<usize> {
    let mut call = HostCall {
        name: name.as_ptr(),
        name_bytes: name.len() as u64,
        argument: argument.as_ptr(),
        argument_bytes: argument.len() as u64,
        reply: reply.as_mut_ptr(),
        reply_bytes_max: reply.len() as u64,
        reply_bytes: 0,
    };
    // SAFETY: each pointer is of as many bytes as is said beside it, and lives until the call returns.
    checked(unsafe { libc::ioctl(device.as_raw_fd(), HOST_CALL, &raw mut call) })?;
    let count = usize::try_from(call.reply_bytes).map_err(io::Error::other)?;
    Ok(count.min(reply.len()))
}
