//! The system calls that no safe wrapper offers. All unsafe code of the crate, apart from the
//! seccomp tests, is in this file and in those below it.

mod file;
mod memory;
mod process;

use std::ffi::c_long;
use std::io;

pub(crate) use file::*;
pub(crate) use memory::*;
pub(crate) use process::*;

/// A duration as the kernel wants it.
pub(crate) fn timespec(time: std::time::Duration) -> rustix::time::Timespec {
    rustix::time::Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(time.subsec_nanos()),
    }
}

/// Waits some milliseconds for a kernel that offers nothing to wait on.
pub(crate) fn pause(milliseconds: i64) {
    let time = rustix::time::Timespec { tv_sec: 0, tv_nsec: milliseconds * 1_000_000 };
    // An interrupted pause is only shorter.
    rustix::event::poll(&mut [], Some(&time)).ok();
}

fn check(result: c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
