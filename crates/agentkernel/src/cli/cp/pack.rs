//! What is in a folder of this host, as a tar archive.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use tar::{Builder, EntryType, Header};

/// Writes the archive. Links are kept as links; pipes, sockets and devices are left out, and returned.
pub fn pack(folder: &Path, output: impl Write) -> io::Result<Vec<String>> {
    let mut packer = Packer { builder: Builder::new(output), left_out: Vec::new() };
    packer.folder(folder, Path::new("."))?;
    packer.builder.into_inner()?.flush()?;
    Ok(packer.left_out)
}

struct Packer<W: Write> {
    builder: Builder<W>,
    left_out: Vec<String>,
}

impl<W: Write> Packer<W> {
    fn folder(&mut self, place: &Path, name: &Path) -> io::Result<()> {
        let facts = fs::symlink_metadata(place).map_err(|why| named(place, &why))?;
        self.builder.append_data(&mut header(&facts, EntryType::Directory, 0), name, io::empty())?;
        let entries = fs::read_dir(place).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let mut entries = entries.map_err(|why| named(place, &why))?;
        // The same folder gives the same archive.
        entries.sort_by_key(fs::DirEntry::file_name);
        entries.iter().try_for_each(|entry| self.entry(&entry.path(), &name.join(entry.file_name())))
    }

    fn entry(&mut self, place: &Path, name: &Path) -> io::Result<()> {
        let facts = fs::symlink_metadata(place).map_err(|why| named(place, &why))?;
        if facts.is_dir() {
            return self.folder(place, name);
        }
        if facts.is_file() {
            return self.file(place, name).map_err(|why| named(place, &why));
        }
        if facts.is_symlink() {
            let target = fs::read_link(place).map_err(|why| named(place, &why))?;
            return self.builder.append_link(&mut header(&facts, EntryType::Symlink, 0), name, target);
        }
        self.left_out.push(place.display().to_string());
        Ok(())
    }

    fn file(&mut self, place: &Path, name: &Path) -> io::Result<()> {
        // Without waiting, should it have become a pipe meanwhile.
        let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = File::options().read(true).custom_flags(flags).open(place)?;
        let facts = file.metadata()?;
        if !facts.is_file() {
            return Err(io::Error::other("it was replaced meanwhile"));
        }
        let mut header = header(&facts, EntryType::Regular, facts.len());
        self.builder.append_data(&mut header, name, Exactly { file, left: facts.len() })
    }
}

/// As many bytes as the header has promised, or an error: a file that changes while it is read must not shift
/// everything that follows it.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read(&mut buffer[..length])?;
        if count == 0 && length > 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file shrank while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn header(facts: &Metadata, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(facts.mode() & 0o777);
    header.set_mtime(u64::try_from(facts.mtime()).unwrap_or(0));
    header
}

fn named(place: &Path, why: &io::Error) -> io::Error {
    io::Error::new(why.kind(), format!("{}: {why}", place.display()))
}
