//! Files inside a sandbox.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Word;
use crate::object::objects;

objects!(MakeDirRequest, RenameRequest);

/// Facts of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileInfo {
    /// Last part of its path.
    pub name: Word,
    /// What it is.
    pub kind: FileKind,
    /// Length in bytes.
    pub size: u64,
    /// Permission bits, set-id and sticky bits included.
    pub mode: u32,
    /// Owner, as seen inside.
    pub uid: u32,
    /// Group, as seen inside.
    pub gid: u32,
    /// Last change of content, nanoseconds since 1970.
    pub modified_ns: i64,
    /// Where it points, if it is a symbolic link.
    pub target: Option<Word>,
}

/// What kind of thing a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
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

/// A folder to make.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct MakeDirRequest {
    /// Its absolute path.
    pub path: Word,
    /// Its permission bits; 0755 (493) by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 4095)]
    pub mode: Option<u32>,
    /// Make its parents, too, and be content if it exists.
    #[serde(default)]
    pub parents: bool,
}

/// A file or folder to rename.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, remote = "Self")]
pub struct RenameRequest {
    /// Its absolute path.
    pub from: Word,
    /// Its new absolute path, in the same file system.
    pub to: Word,
}
