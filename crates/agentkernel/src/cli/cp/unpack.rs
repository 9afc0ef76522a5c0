//! A tar archive from a sandbox, which is not trusted, onto this host.
//!
//! Every entry is made relative to the open folder that it belongs into, and no link is ever followed on the way: an
//! archive cannot write outside of the target, whatever it holds.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, symlinkat, unlinkat};
use rustix::io::Errno;
use tar::{Archive, Entry, EntryType};

/// Permission bits that an archive may set: nothing that changes whose rights a program has.
const MODE: u32 = 0o777;
/// What a folder needs while things are put into it.
const OPEN: u32 = 0o700;

/// Unpacks an archive whose names all begin with one part, which becomes `target`.
pub fn unpack(archive: impl Read, target: &Path) -> io::Result<()> {
    let (parent, name) = parts(target)?;
    let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
    let parent = openat(CWD, parent, flags, Mode::empty()).map_err(|why| named(parent, why))?;
    let mut modes: Vec<(PathBuf, u32)> = Vec::new();
    for entry in Archive::new(archive).entries()? {
        let mut entry = entry?;
        let path = renamed(&entry, name)?;
        let made = place(&mut entry, &parent, &path);
        if let Some(mode) =
            made.map_err(|why| io::Error::new(why.kind(), format!("{}: {why}", path.display())))?
        {
            modes.push((path, mode));
        }
    }
    // The innermost first: a folder that its owner may not enter is closed when all is in it.
    modes.iter().rev().try_for_each(|(path, mode)| close_folder(&parent, path, *mode))
}

/// Where the target lies, and its name.
fn parts(target: &Path) -> io::Result<(&Path, &OsStr)> {
    let name = target.file_name().ok_or_else(|| io::Error::other("the target has no name of its own"))?;
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty());
    Ok((parent.unwrap_or(Path::new(".")), name))
}

/// The path of an entry below the target's parent.
fn renamed(entry: &Entry<'_, impl Read>, name: &OsStr) -> io::Result<PathBuf> {
    let bytes = entry.path_bytes();
    let refused = || io::Error::other(format!("the archive holds the path '{}'", bytes.escape_ascii()));
    let mut path = PathBuf::from(name);
    let given = Path::new(OsStr::from_bytes(&bytes));
    let mut parts = given.components();
    // The root of a sandbox is packed as '.'.
    match parts.next() {
        Some(Component::Normal(_) | Component::CurDir) => {}
        _ => return Err(refused()),
    }
    for part in parts {
        match part {
            Component::Normal(part) => path.push(part),
            Component::CurDir => {}
            _ => return Err(refused()),
        }
    }
    Ok(path)
}

/// Makes what the entry says. Of a folder, returns the mode that it is to have in the end.
fn place(entry: &mut Entry<'_, impl Read>, root: &OwnedFd, path: &Path) -> io::Result<Option<u32>> {
    let mode = entry.header().mode()? & MODE;
    let (folder, name) = open_parent(root, path)?;
    match entry.header().entry_type() {
        EntryType::Directory => {
            make_folder(&folder, name)?;
            return Ok(Some(mode));
        }
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
            replace(&folder, name)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let mut file = File::from(openat(&folder, name, flags, Mode::from_raw_mode(0o600))?);
            io::copy(entry, &mut file)?;
            file.set_permissions(Permissions::from_mode(mode))?;
            let modified = std::time::Duration::from_secs(entry.header().mtime().unwrap_or_default());
            // A file system that does not keep times is no reason to fail.
            file.set_modified(std::time::UNIX_EPOCH + modified).ok();
        }
        EntryType::Symlink => {
            let target =
                entry.link_name_bytes().ok_or_else(|| io::Error::other("a link without a target"))?;
            replace(&folder, name)?;
            symlinkat(OsStr::from_bytes(&target), &folder, name)?;
        }
        _ => return Err(io::Error::other("neither a file, a folder nor a link")),
    }
    Ok(None)
}

/// The folder of an entry, by steps that follow no link.
fn open_parent<'a>(root: &OwnedFd, path: &'a Path) -> io::Result<(OwnedFd, &'a OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("an entry without a name"))?;
    let mut folder = root.as_fd().try_clone_to_owned()?;
    for part in path.parent().into_iter().flat_map(Path::components) {
        make_folder(&folder, part.as_os_str())?;
        folder = enter(&folder, part.as_os_str())?;
    }
    Ok((folder, name))
}

fn enter(folder: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::PATH | OFlags::CLOEXEC;
    Ok(openat(folder, name, flags, Mode::empty())?)
}

/// Makes a folder, unless there is one.
fn make_folder(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match mkdirat(folder, name, Mode::from_raw_mode(OPEN)) {
        Err(Errno::EXIST) => enter(folder, name).map(drop),
        made => Ok(made?),
    }
}

/// Makes room for something that is not a folder.
fn replace(folder: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => Ok(removed?),
    }
}

fn close_folder(root: &OwnedFd, path: &Path, mode: u32) -> io::Result<()> {
    let (folder, name) = open_parent(root, path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = File::from(openat(&folder, name, flags, Mode::empty())?);
    folder.set_permissions(Permissions::from_mode(mode))
}

fn named(path: &Path, why: Errno) -> io::Error {
    let why = io::Error::from(why);
    io::Error::new(why.kind(), format!("{}: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tar::{Builder, Header};

    use super::*;

    /// Its path, its kind, and its content or what it points to.
    type Given = (&'static [u8], EntryType, &'static [u8]);

    fn archive(entries: &[Given]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, content) in entries {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o4755);
            // Past the builder, which would refuse what an attacker writes.
            header.as_gnu_mut().expect("gnu").name[..path.len()].copy_from_slice(path);
            if *kind == EntryType::Symlink {
                header.as_gnu_mut().expect("gnu").linkname[..content.len()].copy_from_slice(content);
                header.set_size(0);
                header.set_cksum();
                builder.append(&header, io::empty()).expect("written");
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                builder.append(&header, *content).expect("written");
            }
        }
        builder.into_inner().expect("written")
    }

    #[test]
    fn the_first_part_of_each_name_becomes_the_target() {
        let folder = tempfile::tempdir().expect("temp dir");
        let bytes = archive(&[
            (b"src/", EntryType::Directory, b""),
            (b"src/a", EntryType::Regular, b"\xff\x00"),
            (b"src/link", EntryType::Symlink, b"/etc/passwd"),
        ]);
        let target = folder.path().join("copy");
        unpack(&bytes[..], &target).expect("unpacked");
        assert_eq!(fs::read(target.join("a")).expect("there"), b"\xff\x00");
        assert_eq!(fs::metadata(target.join("a")).expect("there").permissions().mode() & 0o7777, 0o755);
        assert_eq!(fs::read_link(target.join("link")).expect("there"), Path::new("/etc/passwd"));
    }

    #[test]
    fn nothing_is_written_outside_of_the_target() {
        let folder = tempfile::tempdir().expect("temp dir");
        let outside = folder.path().join("outside");
        fs::create_dir(&outside).expect("made");
        let attempts: [&[Given]; 5] = [
            &[(b"x/../../outside/a", EntryType::Regular, b"evil")],
            &[(b"/outside/a", EntryType::Regular, b"evil")],
            &[(b"../outside/a", EntryType::Regular, b"evil")],
            &[
                (b"x/", EntryType::Directory, b""),
                (b"x/l", EntryType::Symlink, b"../outside"),
                (b"x/l/a", EntryType::Regular, b"evil"),
            ],
            &[(b"x", EntryType::Symlink, b"outside"), (b"x/a", EntryType::Regular, b"evil")],
        ];
        for (number, entries) in attempts.iter().enumerate() {
            let bytes = archive(entries);
            assert!(
                unpack(&bytes[..], &folder.path().join(format!("target{number}"))).is_err(),
                "attempt {number}"
            );
            assert_eq!(fs::read_dir(&outside).expect("there").count(), 0, "attempt {number}");
        }
    }

    #[test]
    fn devices_and_pipes_are_refused() {
        let folder = tempfile::tempdir().expect("temp dir");
        for kind in [EntryType::Fifo, EntryType::Char, EntryType::Block, EntryType::Link] {
            let bytes = archive(&[(b"x", kind, b"")]);
            assert!(unpack(&bytes[..], &folder.path().join("x")).is_err(), "{kind:?}");
        }
    }
}
