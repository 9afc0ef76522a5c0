//! Memory, and what the kernel holds for a process: pipes, memory files, descriptors.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};

use super::{Ended, Exhaustion, Options, Progress};
use crate::attempt::errno_of;
use crate::sys::{self, Errno, call};

pub const ALL: &[Exhaustion] = &[
    Exhaustion { name: "memory-bomb", run: memory_bomb },
    Exhaustion { name: "memfd-bomb", run: memfd_bomb },
    Exhaustion { name: "pipe-bomb", run: pipe_bomb },
    Exhaustion { name: "open-fds", run: open_fds },
];

/// The size of a piece.
const MIB: usize = 1 << 20;

/// Memory that is used and never given back. Usually the kernel ends it before it can say so.
fn memory_bomb(options: &Options, progress: &Progress) -> Result<Ended, String> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut count = 0;
    while count < options.mib() {
        let mut piece = Vec::new();
        if piece.try_reserve_exact(MIB).is_err() {
            return Ok(Ended { count, errno: libc::ENOMEM, detail: "MiB were used".into() });
        }
        // Not zeros, which could be left untouched.
        piece.resize(MIB, 1);
        pieces.push(std::hint::black_box(piece));
        count += 1;
        progress.tell(count);
    }
    Ok(Ended { count, errno: 0, detail: "MiB were used".into() })
}

/// The same in a file that has no place in any directory.
fn memfd_bomb(options: &Options, progress: &Progress) -> Result<Ended, String> {
    sys::ignore_signal(libc::SIGXFSZ);
    let piece = vec![1; MIB];
    let mut files: Vec<File> = Vec::new();
    let mut count = 0;
    while count < options.mib() {
        // A file that is full because of its own limit is no end: the next one follows.
        let written = match files.last_mut() {
            Some(file) => file.write_all(&piece).map_err(|error| errno_of(&error)),
            None => Err(libc::EFBIG),
        };
        match written {
            Ok(()) => {
                count += 1;
                progress.tell(count);
            }
            Err(libc::EFBIG) => match memfd() {
                Ok(file) => files.push(File::from(file)),
                Err(errno) => return Ok(in_files(count, errno, files.len())),
            },
            Err(errno) => return Ok(in_files(count, errno, files.len())),
        }
    }
    Ok(in_files(count, 0, files.len()))
}

fn memfd() -> Result<OwnedFd, Errno> {
    sys::owned(call!(libc::SYS_memfd_create, c"attack-probe", 0))
}

fn in_files(count: u64, errno: Errno, files: usize) -> Ended {
    Ended { count, errno, detail: format!("MiB were used, in {files} memory files") }
}

/// Pipes, each as large as it may be, all full.
fn pipe_bomb(options: &Options, progress: &Progress) -> Result<Ended, String> {
    let mut pipes = Vec::new();
    let mut bytes = 0;
    let mut errno = 0;
    for count in 1..=options.count() {
        match full_pipe() {
            Ok((ends, size)) => {
                pipes.push(ends);
                bytes += size;
                progress.tell(count);
            }
            Err(refused) => {
                errno = refused;
                break;
            }
        }
    }
    let detail = format!("pipes were filled with {bytes} bytes");
    Ok(Ended { count: pipes.len() as u64, errno, detail })
}

type Ends = (std::io::PipeReader, std::io::PipeWriter);

fn full_pipe() -> Result<(Ends, u64), Errno> {
    let (reader, mut writer) = std::io::pipe().map_err(|error| errno_of(&error))?;
    let fd = writer.as_raw_fd();
    call!(libc::SYS_fcntl, fd, libc::F_SETFL, libc::O_NONBLOCK)?;
    let _smaller_is_fine = call!(libc::SYS_fcntl, fd, libc::F_SETPIPE_SZ, 1 << 20);
    let block = [1; 4096];
    let mut size = 0;
    loop {
        match writer.write(&block) {
            Ok(count) => size += count as u64,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                return Ok(((reader, writer), size));
            }
            Err(error) => return Err(errno_of(&error)),
        }
    }
}

/// Descriptors of the cheapest file.
fn open_fds(options: &Options, progress: &Progress) -> Result<Ended, String> {
    let mut files = Vec::new();
    let mut errno = 0;
    for count in 1..=options.count() {
        match File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                errno = errno_of(&error);
                break;
            }
        }
        progress.tell(count);
    }
    Ok(Ended { count: files.len() as u64, errno, detail: "files were open at once".into() })
}
