//! A file or folder as a tar stream to stdout.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use agentkernel_protocol::FileError;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use tar::{Builder, EntryType, Header};

use super::{BUFFER_LEN, During, output};

/// Packs `path` under its own last name. Links are kept as links; pipes, sockets and devices have no
/// content that could be copied, and are left out.
pub fn pack(path: &Path) -> Result<(), FileError> {
    let output = BufWriter::with_capacity(BUFFER_LEN, output()?);
    // What has no last name, as `/`, is packed as the folder that it is.
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => (parent, name),
        _ => (path, OsStr::new(".")),
    };
    let folder = openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let folder = folder.during("pack", path)?;
    let mut packer = Packer { builder: Builder::new(output), parent };
    packer.entry(&folder, name, Path::new(name))?;
    packer.builder.into_inner().and_then(|mut output| output.flush()).during("pack", path)
}

struct Packer<'a> {
    builder: Builder<BufWriter<File>>,
    /// Where the names in the archive start from.
    parent: &'a Path,
}

impl Packer<'_> {
    /// One entry of `folder`, and all below it.
    ///
    /// Goes by descriptors and never follows a link: a folder that is swapped for one meanwhile is an
    /// error, not a way to elsewhere.
    fn entry(&mut self, folder: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), FileError> {
        let shown = self.parent.join(path);
        let stat = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).during("pack", &shown)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => self.folder(folder, name, path, &shown),
            FileType::RegularFile => self.file(folder, name, path).during("pack", &shown),
            FileType::Symlink => self.link(folder, name, path, &stat).during("pack", &shown),
            _ => Ok(()),
        }
    }

    fn folder(&mut self, parent: &OwnedFd, name: &OsStr, path: &Path, shown: &Path) -> Result<(), FileError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = openat(parent, name, flags, Mode::empty()).during("pack", shown)?;
        let stat = fstat(&folder).during("pack", shown)?;
        let mut header = header(&stat, EntryType::Directory, 0);
        self.builder.append_data(&mut header, path, io::empty()).during("pack", shown)?;
        for name in names(&folder).during("pack", shown)? {
            let name = OsStr::from_bytes(name.as_bytes());
            self.entry(&folder, name, &path.join(name))?;
        }
        Ok(())
    }

    fn file(&mut self, folder: &OwnedFd, name: &OsStr, path: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = openat(folder, name, flags, Mode::empty())?;
        let stat = fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it was replaced meanwhile"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let mut header = header(&stat, EntryType::Regular, size);
        let content = Exactly { file: File::from(file), left: size };
        self.builder.append_data(&mut header, path, content)
    }

    fn link(&mut self, folder: &OwnedFd, name: &OsStr, path: &Path, stat: &Stat) -> io::Result<()> {
        let target = readlinkat(folder, name, Vec::new())?;
        let mut header = header(stat, EntryType::Symlink, 0);
        self.builder.append_link(&mut header, path, PathBuf::from(OsStr::from_bytes(target.as_bytes())))
    }
}

/// Names in a folder, sorted by their bytes: the same folder gives the same archive.
fn names(folder: impl AsFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if name.as_c_str() != c"." && name.as_c_str() != c".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn header(stat: &Stat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(stat.st_uid.into());
    header.set_gid(stat.st_gid.into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header
}

/// As many bytes as the header has promised, or an error: a file that grows or shrinks while it is
/// read must not shift everything that follows it in the archive.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = buffer.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let count = self.file.read(&mut buffer[..len])?;
        if count == 0 && len > 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file shrank while it was read"));
        }
        self.left -= count as u64;
        Ok(count)
    }
}
