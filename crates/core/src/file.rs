//! Files inside a sandbox.

use async_trait::async_trait;
use bytes::Bytes;

use crate::Result;

/// What kind of thing a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileInfo {
    /// Last part of its path.
    pub name: Vec<u8>,
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
    pub target: Option<Vec<u8>>,
}

/// Bytes that come out of the sandbox.
#[async_trait]
pub trait ByteSource: Send {
    /// The next bytes, never empty; `None` at the end. An error means that the rest is lost.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

/// Bytes that go into the sandbox.
#[async_trait]
pub trait ByteSink: Send {
    /// Hands over some bytes; waits while the other side is busy.
    async fn write(&mut self, bytes: Bytes) -> Result<()>;
    /// Ends the stream and waits for the verdict. Dropping instead of finishing leaves the target
    /// as it was.
    async fn finish(self: Box<Self>) -> Result<()>;
}

/// File operations of a sandbox. Paths are absolute, in the sandbox, and bytes.
#[async_trait]
pub trait Files: Send + Sync {
    /// Content of a regular file, from `offset`, at most `length` bytes.
    async fn read(&self, path: &[u8], offset: u64, length: Option<u64>) -> Result<Box<dyn ByteSource>>;
    /// Creates or replaces a file as a whole.
    async fn write(&self, path: &[u8], mode: u32) -> Result<Box<dyn ByteSink>>;
    /// Facts of one file; of the link itself unless `follow`.
    async fn stat(&self, path: &[u8], follow: bool) -> Result<FileInfo>;
    /// Entries of a folder, sorted by name.
    async fn list(&self, path: &[u8]) -> Result<Vec<FileInfo>>;
    /// Makes a folder, with its parents if asked.
    async fn make_dir(&self, path: &[u8], mode: u32, parents: bool) -> Result<()>;
    /// Removes a file, a link, or a folder (with its content if `recursive`).
    async fn remove(&self, path: &[u8], recursive: bool) -> Result<()>;
    /// Renames within one file system.
    async fn rename(&self, from: &[u8], to: &[u8]) -> Result<()>;
    /// A file or folder as a tar stream.
    async fn tar_out(&self, path: &[u8]) -> Result<Box<dyn ByteSource>>;
    /// A tar stream into a folder.
    async fn tar_in(&self, path: &[u8]) -> Result<Box<dyn ByteSink>>;
}
