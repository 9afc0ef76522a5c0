//! Paths in the fake's folder, as if that folder were the root.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::{fs, io};

use agentkernel_core::{FileInfo, FileKind};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, openat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

/// The folder in which all paths begin.
#[derive(Debug)]
pub struct Root {
    folder: OwnedFd,
}

/// A folder, and a name in it.
#[derive(Debug)]
pub struct Place {
    pub folder: OwnedFd,
    pub name: Vec<u8>,
}

impl Root {
    pub fn new(root: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        Ok(Self { folder: openat(CWD, root, flags, Mode::empty())? })
    }

    /// Opens what exists; neither links nor dots lead out of the root.
    pub fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        if path.first() != Some(&b'/') {
            return Err(Errno::INVAL.into());
        }
        let flags = flags | OFlags::CLOEXEC;
        Ok(openat2(&self.folder, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
    }

    /// Where the path's last part is, whether it exists or not.
    pub fn place(&self, path: &[u8]) -> io::Result<Place> {
        let length = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let split = path[..length].iter().rposition(|byte| *byte == b'/').ok_or(Errno::INVAL)?;
        let name = path[split + 1..length].to_vec();
        if matches!(name.as_slice(), b"" | b"." | b"..") {
            return Err(Errno::INVAL.into());
        }
        Ok(Place { folder: self.open(&path[..=split], OFlags::DIRECTORY | OFlags::PATH)?, name })
    }

    /// The host's path of what exists.
    pub fn on_host(&self, path: &[u8]) -> io::Result<PathBuf> {
        let file = self.open(path, OFlags::PATH | OFlags::NOFOLLOW)?;
        fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
    }
}

impl Place {
    /// Facts of the name, or of the folder itself if the name is empty; links are not followed.
    pub fn info(&self) -> io::Result<FileInfo> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH;
        let stat = statat(&self.folder, &self.name[..], flags)?;
        let kind = kind_of(&stat);
        let is_link = kind == FileKind::Symlink;
        let target = is_link.then(|| readlinkat(&self.folder, &self.name[..], Vec::new())).transpose()?;
        Ok(FileInfo {
            name: self.name.clone(),
            kind,
            size: stat.st_size.unsigned_abs(),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            modified_ns: modified_ns(&stat),
            target: target.map(std::ffi::CString::into_bytes),
        })
    }
}

fn kind_of(stat: &Stat) -> FileKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => FileKind::File,
        FileType::Directory => FileKind::Dir,
        FileType::Symlink => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

fn modified_ns(stat: &Stat) -> i64 {
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}
