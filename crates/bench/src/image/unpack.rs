//! A root file system from the tar stream of an export, of which nothing is believed.

use std::cell::Cell;
use std::error::Error as _;
use std::fmt::Write as _;
use std::io::{self, BufReader, Read};
use std::path::Path;

use tar::{Archive, Entry, EntryType};

/// Permission bits that are not taken over: on the host they would lend root's rights to whoever starts the program, and
/// in our sandboxes no program gains any.
const RIGHTS: u32 = 0o6000;

/// What an engine puts into every container, and no image has.
const ENGINES_OWN: &[u8] = b".dockerenv";

/// Bytes of a tar stream's last two blocks, all zero.
const END: u64 = 1024;

/// What is read at once, bytes.
const BUFFER: usize = 256 << 10;

/// Unpacks all files, folders and links of a stream that must come to its end. Devices are left out: a sandbox has its own.
///
/// Modes and times are kept, owners are not: they are ids of another world.
pub fn unpack(stream: impl Read, folder: &Path) -> io::Result<()> {
    let zeros = Cell::new(0);
    let mut archive =
        Archive::new(Ending { stream: BufReader::with_capacity(BUFFER, stream), zeros: &zeros });
    archive.set_preserve_permissions(true);
    archive.set_mask(RIGHTS);
    archive.set_preserve_ownerships(false);
    archive.set_preserve_mtime(true);
    archive.set_overwrite(true);
    place_all(&mut archive, folder, &zeros)?;
    // Whoever sends it has to find a reader until its very end.
    io::copy(&mut archive.into_inner(), &mut io::sink())?;
    if zeros.get() < END {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the archive is cut off"));
    }
    Ok(())
}

fn place_all(archive: &mut Archive<impl Read>, folder: &Path, zeros: &Cell<u64>) -> io::Result<()> {
    // Folders last, and the innermost of them first: one that may not be written to is filled before.
    let mut folders = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry.map_err(|why| whole(&why))?;
        match kind(&entry)? {
            Kind::Folder => folders.push(entry),
            Kind::Content => place(&mut entry, folder)?,
            Kind::Nothing => {}
        }
        // Those of a file's own are not the archive's end.
        zeros.set(0);
    }
    folders.sort_by(|a, b| b.path_bytes().cmp(&a.path_bytes()));
    folders.iter_mut().try_for_each(|entry| place(entry, folder))
}

enum Kind {
    Folder,
    Content,
    Nothing,
}

fn kind(entry: &Entry<'_, impl Read>) -> io::Result<Kind> {
    if *entry.path_bytes() == *ENGINES_OWN {
        return Ok(Kind::Nothing);
    }
    match entry.header().entry_type() {
        EntryType::Directory => Ok(Kind::Folder),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Ok(Kind::Content),
        EntryType::Link | EntryType::Symlink => Ok(Kind::Content),
        EntryType::Char | EntryType::Block | EntryType::Fifo | EntryType::XGlobalHeader => Ok(Kind::Nothing),
        other => Err(refused(entry, &format!("it is of the unknown kind {other:?}"))),
    }
}

fn place(entry: &mut Entry<'_, impl Read>, folder: &Path) -> io::Result<()> {
    match entry.unpack_in(folder) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(entry, "it leaves the folder")),
        Err(why) => Err(whole(&why)),
    }
}

fn refused(entry: &Entry<'_, impl Read>, why: &str) -> io::Error {
    io::Error::other(format!("the entry '{}': {why}", entry.path_bytes().escape_ascii()))
}

/// With its causes, which `tar` keeps to itself.
fn whole(why: &io::Error) -> io::Error {
    let mut text = why.to_string();
    let mut cause = why.source();
    while let Some(inner) = cause {
        // Writing to a string does not fail.
        write!(text, ": {inner}").ok();
        cause = inner.source();
    }
    io::Error::new(why.kind(), text)
}

/// A stream that tells how many zeros it ended with so far. `tar` takes the end of one for the end of the archive, which
/// one that was cut off between two entries is not.
struct Ending<'a, R> {
    stream: R,
    zeros: &'a Cell<u64>,
}

impl<R: Read> Read for Ending<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        let zeros = buffer[..length].iter().rev().take_while(|byte| **byte == 0).count();
        let before = if zeros == length { self.zeros.get() } else { 0 };
        self.zeros.set(before + zeros as u64);
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
