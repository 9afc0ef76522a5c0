//! Pseudo-terminals.

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};

use agentkernel_protocol::WindowSize;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Pid;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetpgrp, tcsetwinsize};

/// The agent's end of a new terminal, which never blocks, and the path of the other end.
pub fn open(size: WindowSize) -> rustix::io::Result<(OwnedFd, CString)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    fcntl_setfd(&master, FdFlags::CLOEXEC)?;
    fcntl_setfl(&master, fcntl_getfl(&master)? | OFlags::NONBLOCK)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    resize(&master, size)?;
    let path = ptsname(&master, Vec::new())?;
    Ok((master, path))
}

/// The group in the foreground of a terminal.
pub fn foreground(master: impl AsFd) -> Option<i32> {
    tcgetpgrp(master).ok().map(Pid::as_raw_pid)
}

/// Changes the size of a terminal; its processes are told by SIGWINCH.
pub fn resize(master: impl AsFd, size: WindowSize) -> rustix::io::Result<()> {
    let size = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(master, size)
}
