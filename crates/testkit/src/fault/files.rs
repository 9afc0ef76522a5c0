//! Files that lie.

use agentkernel_core::{ByteSink, ByteSource, Error, ErrorKind, FileInfo, FileKind, Files, Result, Sandbox};
use async_trait::async_trait;
use bytes::Bytes;

use super::{Fault, Inner};

pub struct FaultyFiles {
    /// The sandbox behind, until it is stopped.
    pub inner: Option<Inner>,
    pub fault: Fault,
}

impl FaultyFiles {
    pub fn inner(&self) -> &dyn Sandbox {
        &***self.inner.as_ref().expect("nobody asks a sandbox that was stopped")
    }

    fn files(&self) -> &dyn Files {
        self.inner().files()
    }

    /// The path that the sandbox behind is told.
    fn path(&self, path: &[u8]) -> Vec<u8> {
        match self.fault {
            Fault::FilesElsewhere => [path, b"~"].concat(),
            Fault::LossyNames => String::from_utf8_lossy(path).into_owned().into_bytes(),
            Fault::RelativeIsRooted if path.first() != Some(&b'/') => [b"/workspace/", path].concat(),
            _ => path.to_vec(),
        }
    }
}

#[async_trait]
impl Files for FaultyFiles {
    async fn read(&self, path: &[u8], offset: u64, length: Option<u64>) -> Result<Box<dyn ByteSource>> {
        let path = self.path(path);
        let offset = if self.fault == Fault::IgnoreOffset { 0 } else { offset };
        let read = self.files().read(&path, offset, length).await;
        let Err(error) = read else { return read };
        match self.fault {
            Fault::MissingIsEmpty => Ok(Box::new(Parts(Vec::new()))),
            Fault::DeviceIsRead => Ok(Box::new(Parts(vec![Bytes::from_static(&[0; 4096])]))),
            Fault::PipeBlocks if self.is_no_file(&path).await => std::future::pending().await,
            _ => Err(error),
        }
    }

    async fn write(&self, path: &[u8], mode: u32) -> Result<Box<dyn ByteSink>> {
        let path = self.path(path);
        let mode = if self.fault == Fault::IgnoreMode { 0o666 } else { mode };
        if self.fault == Fault::WriteInPlace {
            self.files().write(&path, mode).await?.finish().await?;
        }
        let inner = self.files().write(&path, mode).await?;
        Ok(Box::new(FaultySink { inner, fault: self.fault, files: self.inner.clone() }))
    }

    async fn stat(&self, path: &[u8], follow: bool) -> Result<FileInfo> {
        self.files().stat(&self.path(path), follow || self.fault == Fault::StatFollows).await
    }

    async fn list(&self, path: &[u8]) -> Result<Vec<FileInfo>> {
        let mut entries = self.files().list(path).await?;
        if self.fault == Fault::ListUnsorted {
            entries.reverse();
        }
        Ok(entries)
    }

    async fn make_dir(&self, path: &[u8], mode: u32, parents: bool) -> Result<()> {
        self.files().make_dir(path, mode, parents || self.fault == Fault::ParentsAlways).await
    }

    async fn remove(&self, path: &[u8], recursive: bool) -> Result<()> {
        self.files().remove(path, recursive || self.fault == Fault::RemoveAll).await
    }

    async fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        if self.fault == Fault::RenameIsLost { Ok(()) } else { self.files().rename(from, to).await }
    }

    async fn tar_out(&self, path: &[u8]) -> Result<Box<dyn ByteSource>> {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
        let path = if self.fault == Fault::ArchiveOfTheParent { &path[..end] } else { path };
        let mut source = self.files().tar_out(path).await?;
        if self.fault != Fault::ArchiveIsCorrupt {
            return Ok(source);
        }
        let mut bytes = Vec::new();
        while let Some(part) = source.next().await? {
            bytes.extend_from_slice(&part);
        }
        // In the middle of the content of the largest file.
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        Ok(Box::new(Parts(vec![bytes.into()])))
    }

    async fn tar_in(&self, path: &[u8]) -> Result<Box<dyn ByteSink>> {
        let inner = self.files().tar_in(path).await?;
        Ok(Box::new(FaultySink { inner, fault: self.fault, files: self.inner.clone() }))
    }
}

impl FaultyFiles {
    async fn is_no_file(&self, path: &[u8]) -> bool {
        self.files().stat(path, true).await.is_ok_and(|facts| facts.kind == FileKind::Other)
    }
}

/// Content that is all there, last part first.
struct Parts(Vec<Bytes>);

#[async_trait]
impl ByteSource for Parts {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.pop())
    }
}

struct FaultySink {
    inner: Box<dyn ByteSink>,
    fault: Fault,
    files: Option<Inner>,
}

#[async_trait]
impl ByteSink for FaultySink {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        if self.fault == Fault::ArchiveEndsEarly && bytes.iter().all(|byte| *byte == 0) {
            return Err(Error::new(ErrorKind::File, "", "it ended before all bytes had come"));
        }
        let lost = usize::from(self.fault == Fault::FileLosesByte && bytes.len() > 1);
        self.inner.write(bytes.slice(lost..)).await
    }

    async fn finish(self: Box<Self>) -> Result<()> {
        let finished = self.inner.finish().await;
        if self.fault == Fault::ArchiveEscapes
            && let Some(sandbox) = &self.files
        {
            // Where an archive that leaves its folder would have written, if there is such a place.
            if let Ok(sink) = sandbox.files().write(b"/workspace/outside/evil", 0o644).await {
                sink.finish().await?;
            }
        }
        match finished {
            Err(error) if error.kind == ErrorKind::File && self.fault == Fault::BrokenArchiveIsTaken => {
                Ok(())
            }
            finished => finished,
        }
    }
}
