//! A file in memory, for a moment.

use std::os::fd::OwnedFd;

use rustix::io::Result;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap, mprotect, munmap};

use super::page_size;

/// Most of a file that is touched, bytes: the C library of a distribution has two million.
const LENGTH_MAX: usize = 2 << 20;

/// One page of so many is touched: the kernel brings those around it along.
const STEP: usize = 16;

/// Maps a file as a program is mapped, reads some of its pages and writes to its first: what is written is ours alone.
pub fn touch(file: &OwnedFd, length: usize) -> Result<()> {
    let (length, page) = (length.min(LENGTH_MAX), page_size());
    // SAFETY: where the mapping comes to lie nothing else is, and nobody has a reference into it when it goes. Whoever
    // shortens the file meanwhile ends this process, which has nothing else to do.
    unsafe {
        let protection = ProtFlags::READ | ProtFlags::EXEC;
        let start = mmap(std::ptr::null_mut(), length, protection, MapFlags::PRIVATE, file, 0)?;
        let bytes = start.cast::<u8>();
        for offset in (0..length).step_by(STEP * page) {
            bytes.add(offset).read_volatile();
        }
        mprotect(start, page.min(length), MprotectFlags::READ | MprotectFlags::WRITE)?;
        bytes.write_volatile(0);
        munmap(start, length)
    }
}
