//! The files of a module: there are none.

use agentkernel_core::{ByteSink, ByteSource, Error, ErrorKind, FileInfo, Files, Result};
use async_trait::async_trait;

/// Refuses everything, for there is nothing.
pub(crate) struct NoFiles;

fn refused<T>(what: &str, path: &[u8]) -> Result<T> {
    Err(Error::new(ErrorKind::NotSupported, what, "a Wasm module has no files").on(path.escape_ascii()))
}

#[async_trait]
impl Files for NoFiles {
    async fn read(&self, path: &[u8], _: u64, _: Option<u64>) -> Result<Box<dyn ByteSource>> {
        refused("read the file", path)
    }

    async fn write(&self, path: &[u8], _: u32) -> Result<Box<dyn ByteSink>> {
        refused("write the file", path)
    }

    async fn stat(&self, path: &[u8], _: bool) -> Result<FileInfo> {
        refused("look at the file", path)
    }

    async fn list(&self, path: &[u8]) -> Result<Vec<FileInfo>> {
        refused("list the folder", path)
    }

    async fn make_dir(&self, path: &[u8], _: u32, _: bool) -> Result<()> {
        refused("make the folder", path)
    }

    async fn remove(&self, path: &[u8], _: bool) -> Result<()> {
        refused("remove the file", path)
    }

    async fn rename(&self, path: &[u8], _: &[u8]) -> Result<()> {
        refused("rename the file", path)
    }

    async fn tar_out(&self, path: &[u8]) -> Result<Box<dyn ByteSource>> {
        refused("read the folder", path)
    }

    async fn tar_in(&self, path: &[u8]) -> Result<Box<dyn ByteSink>> {
        refused("write the folder", path)
    }
}
