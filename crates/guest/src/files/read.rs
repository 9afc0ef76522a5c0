//! A regular file's content to stdout.

use std::fs::{FileType, Metadata, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use agentkernel_protocol::FileError;

use super::{During, copy, output, refusal};

/// Writes at most `length` bytes from `offset` on. A file that grows meanwhile is read up to the
/// length it had, so that nobody can feed the reader without end.
pub fn read(path: &Path, offset: u64, length: Option<u64>) -> Result<(), FileError> {
    // Asked before opening, because to open a device may do something; and after, because the path
    // may lead elsewhere by then. Without O_NONBLOCK, opening a pipe would wait for its writer.
    check(path, &path.metadata().during("read", path)?)?;
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let mut file = OpenOptions::new().read(true).custom_flags(flags).open(path).during("open", path)?;
    let metadata = file.metadata().during("read", path)?;
    check(path, &metadata)?;
    file.seek(SeekFrom::Start(offset)).during("seek", path)?;
    let rest = match metadata.len() {
        0 => u64::MAX, // as files in /proc say, whatever they hold
        len => len.saturating_sub(offset),
    };
    let mut content = file.take(rest.min(length.unwrap_or(u64::MAX)));
    copy(&mut content, &mut output()?).during("read", path)?;
    Ok(())
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    match name_of(metadata.file_type()) {
        None => Ok(()),
        Some("a folder") => Err(rustix::io::Errno::ISDIR).during("read", path),
        Some(name) => refusal("read", path, &format!("it is {name}, not a regular file")),
    }
}

/// What it is, if it is not a regular file.
fn name_of(file_type: FileType) -> Option<&'static str> {
    if file_type.is_file() {
        None
    } else if file_type.is_dir() {
        Some("a folder")
    } else if file_type.is_fifo() {
        Some("a pipe")
    } else if file_type.is_socket() {
        Some("a socket")
    } else {
        Some("a device")
    }
}
