//! The calls that are left out, each with the reason.

use super::{Syscall, Unlisted};

/// Calls that answer ENOSYS like a call that this file has never heard of, on purpose.
pub(in crate::seccomp) const UNLISTED: &[&[Unlisted]] = &[UNLISTED_YOUNG, UNLISTED_HERE_ONLY];

const UNLISTED_YOUNG: &[Unlisted] = &[
    unlisted(
        "clone3",
        435,
        "its flags lie in memory, where no filter can read them; C libraries fall back to clone",
    ),
    unlisted(
        "statmount",
        457,
        "libmount falls back to /proc/self/mountinfo, which the posture test compares",
    ),
    unlisted(
        "listmount",
        458,
        "libmount falls back to /proc/self/mountinfo, which the posture test compares",
    ),
    unlisted("file_getattr", 468, "too young to be needed; the ioctl on an open file does the same"),
    unlisted("file_setattr", 469, "too young to be needed; the ioctl on an open file does the same"),
    unlisted("listns", 470, "a sandbox has no business with other namespaces"),
];

#[cfg(target_arch = "x86_64")]
const UNLISTED_HERE_ONLY: &[Unlisted] = &[
    unlisted("_sysctl", libc::SYS__sysctl, "gone since Linux 5.5"),
    unlisted("getpmsg", libc::SYS_getpmsg, "a number that Linux never used"),
    unlisted("putpmsg", libc::SYS_putpmsg, "a number that Linux never used"),
    unlisted("afs_syscall", libc::SYS_afs_syscall, "a number that Linux never used"),
    unlisted("tuxcall", libc::SYS_tuxcall, "a number that Linux never used"),
    unlisted("security", libc::SYS_security, "a number that Linux never used"),
    unlisted("vserver", libc::SYS_vserver, "a number that Linux never used"),
    unlisted("epoll_ctl_old", 214, "a number that Linux never used"),
    unlisted("epoll_wait_old", 215, "a number that Linux never used"),
];

#[cfg(not(target_arch = "x86_64"))]
const UNLISTED_HERE_ONLY: &[Unlisted] = &[];

const fn unlisted(name: &'static str, number: i64, reason: &'static str) -> Unlisted {
    Unlisted { syscall: Syscall::new(name, number), reason }
}
