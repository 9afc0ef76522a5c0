//! A Wasm module of the host.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// A file that holds a Wasm module, as it was at one moment. A file that changes is another module, so that what was
/// made ready of the old one is not taken for the new.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ModuleFile {
    path: PathBuf,
    version: FileVersion,
}

/// What the file system says of a file and its content, by which a change is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileVersion {
    /// Number of its device.
    pub device: u64,
    /// Its number there.
    pub inode: u64,
    /// Its length in bytes.
    pub size: u64,
    /// Last change of its content, nanoseconds since 1970.
    pub modified_ns: i128,
    /// Last change of anything of it, nanoseconds since 1970. No program can set it back.
    pub changed_ns: i128,
}

impl ModuleFile {
    /// The file at this path, which must be absolute.
    pub fn new(path: &Path, version: FileVersion) -> Result<Self, String> {
        if !path.is_absolute() {
            return Err(format!("{} is not an absolute path", path.display()));
        }
        Ok(Self { path: path.to_owned(), version })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which it was.
    #[must_use]
    pub fn version(&self) -> FileVersion {
        self.version
    }
}
