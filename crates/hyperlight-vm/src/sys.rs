//! What takes the C library: it changes the ids of all threads, which the kernel does for one alone.

use std::io;

/// Makes every thread of this process this user, of the group with the same number and of no other. There is no way back.
#[expect(unsafe_code, reason = "calls of the C library that take numbers, and no list")]
pub fn become_user(id: u32) -> io::Result<()> {
    let done = |result: libc::c_int| if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: a list of no groups is not read.
    done(unsafe { libc::setgroups(0, std::ptr::null()) })?;
    // SAFETY: it takes numbers alone.
    done(unsafe { libc::setresgid(id, id, id) })?;
    // SAFETY: likewise.
    done(unsafe { libc::setresuid(id, id, id) })
}
