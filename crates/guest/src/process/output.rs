//! One output stream of a process, read no faster than its window allows.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, ioctl_fionread, read};
use rustix::pipe::fcntl_setpipe_size;

/// Size of a pipe as the kernel makes it.
const PIPE_LEN: usize = 64 * 1024;

/// Size of the pipe of a process that writes faster than that.
const LARGE_PIPE_LEN: usize = 1024 * 1024;

/// What a pipe or terminal still has to say, and how much of it the host wants.
pub struct Output {
    fd: Option<OwnedFd>,
    /// Bytes that the host would still take.
    window: u64,
    /// Bytes that are still due, once the process has ended.
    left: Option<u64>,
    /// Bytes that were sent on the stream that is open, and that no host has paid for.
    unpaid: u64,
    /// The same of the streams that were lost.
    lost: u64,
    large: bool,
}

impl Output {
    /// Output that comes from `fd`; none at all without.
    pub fn new(fd: Option<OwnedFd>, window: u32) -> Self {
        Self { fd, window: window.into(), left: None, unpaid: 0, lost: 0, large: false }
    }

    /// The host has taken that many bytes.
    pub fn credit(&mut self, bytes: u32) {
        self.window = self.window.saturating_add(bytes.into());
        self.unpaid = self.unpaid.saturating_sub(bytes.into());
    }

    /// The host is lost: nobody takes anything, and what it had not paid for may never have reached it.
    pub fn lose_host(&mut self) {
        self.lost = self.in_doubt();
        (self.unpaid, self.window) = (0, 0);
    }

    /// Another host takes what is still to come.
    pub fn find_host(&mut self, window: u32) {
        self.window = window.into();
    }

    /// Bytes that were sent, and that no host has paid for: at least as many as were ever lost.
    pub fn in_doubt(&self) -> u64 {
        self.lost.saturating_add(self.unpaid)
    }

    /// What to wait for, if anything could be read *and* sent.
    ///
    /// A hung-up descriptor is always ready: one without a window must not be polled at all.
    pub fn wanted(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().filter(|_| self.window > 0).map(AsFd::as_fd)
    }

    /// The descriptor itself, for what else a terminal can do.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.fd.as_ref().map(AsFd::as_fd)
    }

    /// Whether nothing more will come.
    pub fn is_done(&self) -> bool {
        self.fd.is_none()
    }

    /// Reads once, and returns how much of `chunk` was filled and may be sent.
    pub fn read(&mut self, chunk: &mut [u8]) -> usize {
        let Some(fd) = &self.fd else { return 0 };
        let allowed = self.window.min(self.left.unwrap_or(u64::MAX));
        let len = chunk.len().min(usize::try_from(allowed).unwrap_or(usize::MAX));
        if len == 0 {
            return 0;
        }
        match read(fd, &mut chunk[..len]) {
            Ok(0) => self.fd = None,
            Ok(len) => return self.taken(len),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: the last process has left the terminal.
            Err(_) => self.fd = None,
        }
        0
    }

    fn taken(&mut self, len: usize) -> usize {
        self.window -= len as u64;
        self.unpaid += len as u64;
        if let Some(left) = &mut self.left {
            *left -= len as u64;
            if *left == 0 {
                self.fd = None;
            }
        }
        if len >= PIPE_LEN && !self.large {
            // Only who fills a whole pipe gets a larger one: they are a scarce good of each user.
            self.large = true;
            if let Some(fd) = &self.fd {
                fcntl_setpipe_size(fd, LARGE_PIPE_LEN).ok();
            }
        }
        len
    }

    /// The process has ended: what it wrote is in the pipe by now, and nothing else is due.
    ///
    /// Without this, a descendant that holds the pipe open would keep the process from ending.
    pub fn end(&mut self) {
        if let (Some(fd), None) = (&self.fd, self.left) {
            let left = ioctl_fionread(fd).unwrap_or(0);
            self.left = Some(left);
            if left == 0 {
                self.fd = None;
            }
        }
    }
}
