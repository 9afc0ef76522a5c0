//! File operations, each in a worker of its own: a child that never executes anything, with stdin,
//! stdout and stderr like any process. A disk that hangs thus delays nobody else, and the flow of
//! data is the same as a program's.

mod change;
mod info;
mod read;
mod tar_in;
mod tar_out;
mod write;

use std::error::Error;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use agentkernel_protocol::{FileError, FileRequest, encode_record};
use rustix::fd::BorrowedFd;
use rustix::stdio::{stderr, stdin, stdout};

/// Bytes that are collected before they are written to a pipe, or read from one at once.
const BUFFER_LEN: usize = 64 * 1024;

/// Does what is asked; returns the exit code. A failure is told on stderr.
pub fn run(request: &FileRequest) -> i32 {
    let Err(failure) = perform(request) else { return 0 };
    // If not even that can be written, the exit code has to tell.
    standard(stderr()).and_then(|mut file| file.write_all(&encode_record(&failure))).ok();
    1
}

fn perform(request: &FileRequest) -> Result<(), FileError> {
    match request {
        FileRequest::Read { path, offset, length } => read::read(as_path(path), *offset, *length),
        FileRequest::Write { path, mode } => write::write(as_path(path), *mode),
        FileRequest::Stat { path, follow } => info::stat(as_path(path), *follow),
        FileRequest::List { path } => info::list(as_path(path)),
        FileRequest::MakeDir { path, mode, parents } => change::make_dir(as_path(path), *mode, *parents),
        FileRequest::Remove { path, recursive } => change::remove(as_path(path), *recursive),
        FileRequest::Rename { from, to } => change::rename(as_path(from), as_path(to)),
        FileRequest::TarOut { path } => tar_out::pack(as_path(path)),
        FileRequest::TarIn { path } => tar_in::unpack(as_path(path)),
    }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A standard stream without the buffers that the standard library puts before it.
pub fn standard(fd: BorrowedFd<'_>) -> io::Result<File> {
    fd.try_clone_to_owned().map(File::from)
}

fn input() -> Result<File, FileError> {
    standard(stdin()).during("open", Path::new("standard input"))
}

fn output() -> Result<File, FileError> {
    standard(stdout()).during("open", Path::new("standard output"))
}

/// Copies to the end, by reading and writing, and returns how many bytes that were. The standard library would splice, which in gVisor takes a pipe that is
/// empty for one that has ended.
pub fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<u64> {
    let mut buffer = vec![0; BUFFER_LEN];
    let mut copied = 0;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(length) => {
                to.write_all(&buffer[..length])?;
                copied += length as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Adds what was being done, and to what.
trait During<T> {
    fn during(self, what: &str, path: &Path) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: &str, path: &Path) -> Result<T, FileError> {
        self.map_err(|error| {
            let error = error.into();
            FileError { errno: errno_of(&error), message: message(what, path, &reason_of(&error)) }
        })
    }
}

/// A failure that is our own decision, not the kernel's.
fn refusal<T>(what: &str, path: &Path, reason: &str) -> Result<T, FileError> {
    Err(FileError { errno: 0, message: message(what, path, reason) })
}

fn message(what: &str, path: &Path, reason: &str) -> String {
    format!("{what}: {}: {reason}", path.display())
}

/// An error and all that it hides, outermost first.
fn chain(error: &io::Error) -> Vec<&(dyn Error + 'static)> {
    let mut errors: Vec<&(dyn Error + 'static)> = vec![error];
    let mut hidden = error.source();
    while let Some(error) = hidden {
        errors.push(error);
        hidden = error.source();
    }
    errors
}

fn reason_of(error: &io::Error) -> String {
    let reasons = chain(error).into_iter().map(|error| {
        let text = error.to_string();
        // The number goes its own way.
        text.split(" (os error").next().unwrap_or_default().to_owned()
    });
    reasons.collect::<Vec<_>>().join(": ")
}

/// The errno that is at the bottom of an error; guessed from its kind where it got lost on the way.
fn errno_of(error: &io::Error) -> i32 {
    let errors = chain(error).into_iter().filter_map(|error| error.downcast_ref::<io::Error>());
    let errors: Vec<_> = errors.collect();
    let known = errors.iter().find_map(|error| error.raw_os_error());
    known.unwrap_or_else(|| {
        errors.iter().map(|error| errno_of_kind(error.kind())).find(|errno| *errno != 0).unwrap_or(0)
    })
}

fn errno_of_kind(kind: ErrorKind) -> i32 {
    match kind {
        ErrorKind::NotFound => libc::ENOENT,
        ErrorKind::PermissionDenied => libc::EACCES,
        ErrorKind::AlreadyExists => libc::EEXIST,
        ErrorKind::NotADirectory => libc::ENOTDIR,
        ErrorKind::IsADirectory => libc::EISDIR,
        ErrorKind::DirectoryNotEmpty => libc::ENOTEMPTY,
        ErrorKind::ReadOnlyFilesystem => libc::EROFS,
        ErrorKind::StorageFull => libc::ENOSPC,
        ErrorKind::QuotaExceeded => libc::EDQUOT,
        ErrorKind::InvalidFilename => libc::ENAMETOOLONG,
        _ => 0,
    }
}
