//! File operations inside the sandbox.

use serde::{Deserialize, Serialize};

/// What a file worker is asked to do. Paths are absolute, in the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileRequest {
    /// Content of a regular file to stdout. Anything that is not a regular file is refused, so that
    /// a pipe or a device cannot block the reader or feed it without end.
    Read {
        /// Which file.
        path: Vec<u8>,
        /// First byte.
        offset: u64,
        /// At most so many bytes.
        length: Option<u64>,
    },
    /// Stdin into a file, which is created or replaced as a whole: readers see the old content or
    /// the new, never a part.
    Write {
        /// Which file.
        path: Vec<u8>,
        /// Permission bits of a new file.
        mode: u32,
    },
    /// One [`FileInfo`] record to stdout.
    Stat {
        /// Of what.
        path: Vec<u8>,
        /// Follow a symbolic link at the end of the path.
        follow: bool,
    },
    /// One [`FileInfo`] record for each entry of a folder, sorted by name, to stdout.
    List {
        /// Which folder.
        path: Vec<u8>,
    },
    /// Make a folder.
    MakeDir {
        /// Where.
        path: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Make missing parents as well; an existing folder is then no error.
        parents: bool,
    },
    /// Remove a file, link or folder.
    Remove {
        /// What.
        path: Vec<u8>,
        /// With everything in it.
        recursive: bool,
    },
    /// Rename within one file system.
    Rename {
        /// From.
        from: Vec<u8>,
        /// To; an existing file is replaced.
        to: Vec<u8>,
    },
    /// A file or folder as a tar stream to stdout, names relative to `path`'s parent.
    TarOut {
        /// What.
        path: Vec<u8>,
    },
    /// A tar stream from stdin into a folder, which is made if missing.
    TarIn {
        /// Where.
        path: Vec<u8>,
    },
}

/// What kind of thing a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileKind {
    /// Regular file.
    File,
    /// Folder.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Pipe, socket or device.
    Other,
}

/// Facts of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileInfo {
    /// Last part of its path.
    pub name: Vec<u8>,
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
    /// Permission bits, set-id and sticky bits included.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Last change of content, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Where it points, if it is a symbolic link.
    pub target: Option<Vec<u8>>,
}

/// Why a file operation failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileError {
    /// The guest kernel's errno; 0 where the reason is not the kernel's.
    pub errno: i32,
    /// What failed, on what, and why.
    pub message: String,
}
