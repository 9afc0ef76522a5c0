//! File operations in the fake's folder. They block the runtime, each for a moment.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use agentkernel_core::{ByteSink, ByteSource, Error, ErrorKind, FileInfo, FileKind, Files, Result};
use async_trait::async_trait;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, chmodat, mkdirat, renameat, unlinkat};
use rustix::io::Errno;

use super::archive::{BytesSource, TarSink, pack};
use super::content::{FileSink, FileSource};
use super::place::{Place, Root};

#[derive(Debug)]
pub struct FakeFiles {
    root: Root,
}

/// The error of a file operation.
pub fn failed(what: &str, path: &[u8], error: &io::Error) -> Error {
    Error::new(ErrorKind::File, what, error).on(Path::new(OsStr::from_bytes(path)).display())
}

impl FakeFiles {
    pub fn new(root: &Path) -> io::Result<Self> {
        Ok(Self { root: Root::new(root)? })
    }

    fn read_file(&self, path: &[u8], offset: u64, length: Option<u64>) -> io::Result<FileSource> {
        // A pipe without a writer would block the open, were it not for this flag.
        let mut file = File::from(self.root.open(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        file.seek(SeekFrom::Start(offset))?;
        Ok(FileSource { file, left: length.unwrap_or(u64::MAX) })
    }

    fn stat_path(&self, path: &[u8], follow: bool) -> io::Result<FileInfo> {
        let nofollow = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        let file = self.root.open(path, OFlags::PATH | nofollow)?;
        let mut facts = Place { folder: file, name: Vec::new() }.info()?;
        facts.name = last_part(path).to_vec();
        Ok(facts)
    }

    fn list_folder(&self, path: &[u8]) -> io::Result<Vec<FileInfo>> {
        let folder = self.root.open(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = Vec::new();
        for entry in Dir::read_from(&folder)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if !matches!(name.as_slice(), b"." | b"..") {
                entries.push(Place { folder: folder.try_clone()?, name }.info()?);
            }
        }
        entries.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }

    fn make_folder(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let (place, mode) = (self.root.place(path)?, Mode::from_raw_mode(mode));
        mkdirat(&place.folder, &place.name[..], mode)?;
        // Whatever the test's umask is, the mode is the one that was asked for.
        Ok(chmodat(&place.folder, &place.name[..], mode, AtFlags::empty())?)
    }

    fn make_folders(&self, path: &[u8], mode: u32) -> io::Result<()> {
        let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(end, _)| end);
        for end in ends.chain([path.len()]) {
            match self.make_folder(&path[..end], mode) {
                Err(error) if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) => {}
                made => made?,
            }
        }
        Ok(())
    }

    fn remove_path(&self, path: &[u8], recursive: bool) -> io::Result<()> {
        let place = self.root.place(path)?;
        let is_folder = place.info()?.kind == FileKind::Dir;
        if is_folder && recursive {
            return std::fs::remove_dir_all(self.root.on_host(path)?);
        }
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        Ok(unlinkat(&place.folder, &place.name[..], flags)?)
    }

    fn rename_path(&self, from: &[u8], to: &[u8]) -> io::Result<()> {
        let (from, to) = (self.root.place(from)?, self.root.place(to)?);
        Ok(renameat(&from.folder, &from.name[..], &to.folder, &to.name[..])?)
    }

    fn unpack_into(&self, path: &[u8]) -> io::Result<TarSink> {
        self.make_folders(path, 0o755)?;
        Ok(TarSink { folder: self.root.on_host(path)?, bytes: Vec::new() })
    }
}

fn last_part(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').find(|part| !part.is_empty()).unwrap_or(b"/")
}

#[async_trait]
impl Files for FakeFiles {
    async fn read(&self, path: &[u8], offset: u64, length: Option<u64>) -> Result<Box<dyn ByteSource>> {
        let source = self.read_file(path, offset, length);
        Ok(Box::new(source.map_err(|error| failed("read the file", path, &error))?))
    }

    async fn write(&self, path: &[u8], mode: u32) -> Result<Box<dyn ByteSink>> {
        let sink = self.root.place(path).and_then(|place| FileSink::new(place, mode));
        Ok(Box::new(sink.map_err(|error| failed("write the file", path, &error))?))
    }

    async fn stat(&self, path: &[u8], follow: bool) -> Result<FileInfo> {
        self.stat_path(path, follow).map_err(|error| failed("look at the file", path, &error))
    }

    async fn list(&self, path: &[u8]) -> Result<Vec<FileInfo>> {
        self.list_folder(path).map_err(|error| failed("list the folder", path, &error))
    }

    async fn make_dir(&self, path: &[u8], mode: u32, parents: bool) -> Result<()> {
        let made = if parents { self.make_folders(path, mode) } else { self.make_folder(path, mode) };
        made.map_err(|error| failed("make the folder", path, &error))
    }

    async fn remove(&self, path: &[u8], recursive: bool) -> Result<()> {
        self.remove_path(path, recursive).map_err(|error| failed("remove", path, &error))
    }

    async fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        self.rename_path(from, to).map_err(|error| failed("rename", from, &error))
    }

    async fn tar_out(&self, path: &[u8]) -> Result<Box<dyn ByteSource>> {
        let packed = self.root.on_host(path).and_then(|host_path| pack(&host_path, last_part(path)));
        let bytes = packed.map_err(|error| failed("pack the archive", path, &error))?.into();
        Ok(Box::new(BytesSource { bytes }))
    }

    async fn tar_in(&self, path: &[u8]) -> Result<Box<dyn ByteSink>> {
        let sink = self.unpack_into(path);
        Ok(Box::new(sink.map_err(|error| failed("unpack the archive", path, &error))?))
    }
}
