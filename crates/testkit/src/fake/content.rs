//! Content of files, in and out.

use std::fs::{File, Permissions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;

use agentkernel_core::{ByteSink, ByteSource, Result};
use async_trait::async_trait;
use bytes::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags, openat, renameat, unlinkat};

use super::files::failed;
use super::place::Place;
use crate::random_u64;

/// How much is read at once.
const CHUNK_LEN: u64 = 64 << 10;

/// The rest of a file.
pub struct FileSource {
    pub file: File,
    /// So many bytes are still wanted.
    pub left: u64,
}

#[async_trait]
impl ByteSource for FileSource {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(self.left.min(CHUNK_LEN)).read_to_end(&mut bytes);
        let length = read.map_err(|error| failed("read the file", b"", &error))?;
        self.left -= length as u64;
        Ok(Some(Bytes::from(bytes)).filter(|bytes| !bytes.is_empty()))
    }
}

/// A file under another name, until it is complete.
pub struct FileSink {
    file: File,
    place: Place,
    temporary: Vec<u8>,
    mode: u32,
}

impl FileSink {
    pub fn new(place: Place, mode: u32) -> std::io::Result<Self> {
        let temporary = format!(".new-{:016x}", random_u64()).into_bytes();
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&place.folder, &temporary[..], flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Self { file: file.into(), place, temporary, mode })
    }
}

#[async_trait]
impl ByteSink for FileSink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.file.write_all(&bytes).map_err(|error| failed("write the file", &self.place.name, &error))
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let done = self.file.set_permissions(Permissions::from_mode(self.mode)).and_then(|()| {
            let folder = &self.place.folder;
            Ok(renameat(folder, &self.temporary[..], folder, &self.place.name[..])?)
        });
        done.map_err(|error| failed("write the file", &self.place.name, &error))
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        // Has been renamed away if all went well.
        unlinkat(&self.place.folder, &self.temporary[..], AtFlags::empty()).ok();
    }
}
