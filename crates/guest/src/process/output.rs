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
    large: bool,
}

impl Output {
    /// Output that comes from `fd`; none at all without.
    pub fn new(fd: Option<OwnedFd>, window: u32) -> Self {
        Self { fd, window: window.into(), left: None, large: false }
    }

    /// The host has taken that many bytes.
    pub fn credit(&mut self, bytes: u32) {
        self.window = self.window.saturating_add(bytes.into());
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
