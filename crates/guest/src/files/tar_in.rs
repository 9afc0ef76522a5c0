//! A tar stream from stdin into a folder.

use std::fs::{File, create_dir_all};
use std::io::{BufReader, Read, copy, sink};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use agentkernel_protocol::FileError;
use tar::{Archive, Entry, EntryType};

use super::{BUFFER_LEN, During, as_path, input, refusal};

/// Unpacks everything, or stops at the first entry that would leave the folder or cannot be made.
///
/// Permissions and times are kept, owners are not: what comes in belongs to whom the worker runs as.
pub fn unpack(path: &Path) -> Result<(), FileError> {
    create_dir_all(path).during("make folder", path)?;
    let folder = path.canonicalize().during("unpack", path)?;
    let mut archive = archive()?;
    place_all(&mut archive, path, &folder)?;
    // An archive's end comes before its last byte (`tar` fills its last record up), and whoever sends it has
    // to find a reader until then: one that ends before has failed.
    copy(&mut archive.into_inner(), &mut sink()).during("unpack", path)?;
    Ok(())
}

fn place_all(archive: &mut Archive<impl Read>, path: &Path, folder: &Path) -> Result<(), FileError> {
    // A folder that its owner cannot write gets its permissions last, when all that is in it is there.
    let mut closed = Vec::new();
    for entry in archive.entries().during("unpack", path)? {
        let mut entry = entry.during("unpack", path)?;
        check(&entry)?;
        if is_closed_folder(&entry) {
            closed.push(entry);
        } else {
            place(&mut entry, folder)?;
        }
    }
    closed.sort_by(|a, b| b.path_bytes().cmp(&a.path_bytes())); // the innermost first
    closed.iter_mut().try_for_each(|entry| place(entry, folder))
}

fn archive() -> Result<Archive<BufReader<File>>, FileError> {
    let mut archive = Archive::new(BufReader::with_capacity(BUFFER_LEN, input()?));
    archive.set_preserve_permissions(true);
    archive.set_preserve_mtime(true);
    archive.set_preserve_ownerships(false);
    archive.set_overwrite(true);
    Ok(archive)
}

/// Refuses what `tar` would skip in silence or turn into something else.
fn check(entry: &Entry<'_, impl Read>) -> Result<(), FileError> {
    let bytes = entry.path_bytes();
    let path = as_path(&bytes);
    if !path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir)) {
        return refusal("unpack", path, "the entry leaves the folder");
    }
    if path.as_os_str().as_bytes().contains(&0) {
        return refusal("unpack", path, "the entry's name contains a NUL byte");
    }
    match entry.header().entry_type() {
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Ok(()),
        EntryType::Directory | EntryType::Link | EntryType::Symlink | EntryType::XGlobalHeader => Ok(()),
        _ => refusal("unpack", path, "neither a file, a folder nor a link"),
    }
}

fn is_closed_folder(entry: &Entry<'_, impl Read>) -> bool {
    let mode = entry.header().mode().unwrap_or(0);
    entry.header().entry_type() == EntryType::Directory && mode & 0o700 != 0o700
}

fn place(entry: &mut Entry<'_, impl Read>, folder: &Path) -> Result<(), FileError> {
    let name = entry.path_bytes().into_owned();
    match entry.unpack_in(folder).during("unpack", as_path(&name))? {
        true => Ok(()),
        false => refusal("unpack", as_path(&name), "the entry leaves the folder"),
    }
}
