//! The system calls that no safe wrapper offers. All unsafe code of the crate, apart from the
//! seccomp tests, is in this file and in those below it.

mod file;
mod memory;
mod process;

use std::ffi::c_long;
use std::io;

pub(crate) use agentkernel_cgroup::pause;
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

fn check(result: c_long) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
