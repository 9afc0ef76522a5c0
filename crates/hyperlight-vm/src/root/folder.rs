//! A root from a folder: all that is in it, but for devices, sockets and pipes, and for shells that fork.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use agentkernel_hyperlight::wire::Trouble;
use rustix::fs::OFlags;

use super::closure::needs_of;
use super::{AGENT, Archive, is_left_out, trouble};

/// What an entry costs in a machine's memory besides its content, bytes.
const ENTRY_BYTES: u64 = 512;

/// Adds it.
pub fn add(folder: &[u8], files: &mut Archive) -> Result<(), Trouble> {
    let top = Path::new(OsStr::from_bytes(folder));
    let mut left = vec![PathBuf::new()];
    while let Some(relative) = left.pop() {
        let here = top.join(&relative);
        let told = |why: io::Error| trouble(here.display().to_string(), &why);
        for entry in fs::read_dir(&here).map_err(told)? {
            let entry = entry.map_err(told)?;
            let place = relative.join(entry.file_name());
            if place == Path::new(AGENT) {
                return Err(Trouble::Root(place.display().to_string(), "this name is our agent's".into()));
            }
            files.charge(ENTRY_BYTES)?;
            if add_entry(&top.join(&place), &place, files)? {
                left.push(place);
            }
        }
    }
    Ok(())
}

/// Adds one entry; whether it is a folder, whose entries come next.
fn add_entry(path: &Path, place: &Path, files: &mut Archive) -> Result<bool, Trouble> {
    let told = |why: io::Error| trouble(path.display().to_string(), &why);
    let facts = fs::symlink_metadata(path).map_err(told)?;
    let (kind, mode) = (facts.file_type(), facts.permissions().mode() & 0o777);
    if kind.is_dir() {
        files.folder(place, mode).map_err(told)?;
    } else if kind.is_symlink() {
        files.link(place, &fs::read_link(path).map_err(told)?).map_err(told)?;
    } else if kind.is_file() {
        files.charge(facts.len())?;
        let content = read(path, facts.len()).map_err(told)?;
        let is_shell = place.to_str().is_some_and(is_left_out);
        if !is_shell || !needs_of(&content).forks {
            files.file(place, mode, &content).map_err(told)?;
        }
    }
    Ok(kind.is_dir())
}

/// Its content: no more than was counted, of the very file that was looked at and nothing that it was replaced by.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path)?;
    let mut content = Vec::new();
    file.take(most).read_to_end(&mut content)?;
    Ok(content)
}
