//! Copies of this process.

use std::io;

/// Makes one: its PID here, and nothing in the copy.
pub fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the agent has one thread, so that the copy may use whatever the agent could.
    let pid = super::checked(unsafe { libc::fork() })?;
    Ok((pid > 0).then_some(pid))
}
