//! The files of a sandbox that has none which outlive a command.

use async_trait::async_trait;

use crate::{ByteSink, ByteSource, Error, ErrorKind, FileInfo, Files, Result};

/// Refuses everything, for this reason: "a Wasm module has no files".
pub struct NoFiles(pub &'static str);

impl NoFiles {
    fn refused<T>(&self, what: &str, path: &[u8]) -> Result<T> {
        Err(Error::new(ErrorKind::NotSupported, what, self.0).on(path.escape_ascii()))
    }
}

#[async_trait]
impl Files for NoFiles {
    async fn read(&self, path: &[u8], _: u64, _: Option<u64>) -> Result<Box<dyn ByteSource>> {
        self.refused("read the file", path)
    }

    async fn write(&self, path: &[u8], _: u32) -> Result<Box<dyn ByteSink>> {
        self.refused("write the file", path)
    }

    async fn stat(&self, path: &[u8], _: bool) -> Result<FileInfo> {
        self.refused("look at the file", path)
    }

    async fn list(&self, path: &[u8]) -> Result<Vec<FileInfo>> {
        self.refused("list the folder", path)
    }

    async fn make_dir(&self, path: &[u8], _: u32, _: bool) -> Result<()> {
        self.refused("make the folder", path)
    }

    async fn remove(&self, path: &[u8], _: bool) -> Result<()> {
        self.refused("remove the file", path)
    }

    async fn rename(&self, path: &[u8], _: &[u8]) -> Result<()> {
        self.refused("rename the file", path)
    }

    async fn tar_out(&self, path: &[u8]) -> Result<Box<dyn ByteSource>> {
        self.refused("read the folder", path)
    }

    async fn tar_in(&self, path: &[u8]) -> Result<Box<dyn ByteSink>> {
        self.refused("write the folder", path)
    }
}
