//! Tar streams, in and out. The fake holds each as a whole in memory.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use agentkernel_core::{ByteSink, ByteSource, Result};
use async_trait::async_trait;
use bytes::Bytes;

use super::files::failed;

/// How much of a stream is handed over at once.
const CHUNK_LEN: usize = 64 << 10;

/// The tar stream of a file or folder, whose names begin with its own.
pub fn pack(host_path: &Path, name: &[u8]) -> io::Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    builder.follow_symlinks(false);
    let name = Path::new(OsStr::from_bytes(name));
    if host_path.is_dir() && !host_path.is_symlink() {
        builder.append_dir_all(name, host_path)?;
    } else {
        builder.append_path_with_name(host_path, name)?;
    }
    builder.into_inner()
}

/// Bytes that are all there.
pub struct BytesSource {
    pub bytes: Bytes,
}

#[async_trait]
impl ByteSource for BytesSource {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.bytes.split_to(self.bytes.len().min(CHUNK_LEN));
        Ok(Some(chunk).filter(|chunk| !chunk.is_empty()))
    }
}

/// Collects a tar stream, and unpacks it at its end.
pub struct TarSink {
    pub folder: PathBuf,
    pub bytes: Vec<u8>,
}

#[async_trait]
impl ByteSink for TarSink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.bytes.extend_from_slice(&bytes);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let mut archive = tar::Archive::new(&self.bytes[..]);
        archive.set_preserve_permissions(true);
        // Names with `..` are left out, and links out of the folder are not followed.
        let unpacked = archive.unpack(&self.folder);
        unpacked.map_err(|error| failed("unpack the archive", self.folder.as_os_str().as_bytes(), &error))
    }
}
