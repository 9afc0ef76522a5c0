//! Folders made, things removed and renamed.

use std::fs::{self, DirBuilder, Permissions, symlink_metadata};
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agentkernel_protocol::FileError;

use super::During;

/// Makes a folder with exactly these permission bits; missing parents get the usual ones.
pub fn make_dir(path: &Path, mode: u32, parents: bool) -> Result<(), FileError> {
    if let (true, Some(parent)) = (parents, path.parent()) {
        fs::create_dir_all(parent).during("make folder", parent)?;
    }
    match DirBuilder::new().create(path) {
        Err(error) if parents && error.kind() == ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        result => result.during("make folder", path)?,
    }
    // Not by the mode at creation, which the umask would change.
    fs::set_permissions(path, Permissions::from_mode(mode & 0o7777)).during("set mode", path)
}

/// Removes a file, a link (never what it points to) or a folder.
pub fn remove(path: &Path, recursive: bool) -> Result<(), FileError> {
    let metadata = symlink_metadata(path).during("remove", path)?;
    let result = match metadata.is_dir() {
        true if recursive => fs::remove_dir_all(path),
        true => fs::remove_dir(path),
        false => fs::remove_file(path),
    };
    result.during("remove", path)
}

/// Renames within one file system.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).during(&format!("rename to {}", to.display()), from)
}
