//! File operations, each done by a worker of the guest agent on a channel of its own.

mod stream;
mod worker;

use agentkernel_core::{
    ByteSink, ByteSource, CommandUser, Error, ErrorKind, FileInfo, FileKind, Files, Result,
};
use agentkernel_protocol::{FileRequest, read_records};
use async_trait::async_trait;

use self::stream::{Sink, Source};
use self::worker::Worker;
use crate::link::Link;

/// File operations over a link.
#[derive(Clone)]
pub struct LinkedFiles {
    link: Link,
    user: Option<CommandUser>,
}

impl LinkedFiles {
    pub(crate) fn new(link: Link, user: Option<CommandUser>) -> Self {
        Self { link, user }
    }

    async fn start(&self, request: FileRequest, what: &'static str, path: &[u8]) -> Result<Worker> {
        refuse_relative(what, path)?;
        Worker::start(&self.link, self.user, request, what, path).await
    }

    /// Runs an operation that says nothing but whether it worked.
    async fn run(&self, request: FileRequest, what: &'static str, path: &[u8]) -> Result<()> {
        self.start(request, what, path).await?.collect().await.map(drop)
    }

    /// Runs an operation whose output are facts of files.
    async fn query(&self, request: FileRequest, what: &'static str, path: &[u8]) -> Result<Vec<FileInfo>> {
        let output = self.start(request, what, path).await?.collect().await?;
        let records = read_records::<agentkernel_protocol::FileInfo>(&output);
        let records = records.map_err(|error| unintelligible(what, path, &error.to_string()))?;
        Ok(records.into_iter().map(info).collect())
    }
}

#[async_trait]
impl Files for LinkedFiles {
    async fn read(&self, path: &[u8], offset: u64, length: Option<u64>) -> Result<Box<dyn ByteSource>> {
        let request = FileRequest::Read { path: path.into(), offset, length };
        Ok(Box::new(Source::open(self.start(request, "read the file", path).await?).await?))
    }

    /// Dropping the sink unfinished ends the worker by SIGTERM: the file stays as it was. What the
    /// worker had written beside it is its to remove.
    async fn write(&self, path: &[u8], mode: u32) -> Result<Box<dyn ByteSink>> {
        let request = FileRequest::Write { path: path.into(), mode };
        Ok(Box::new(Sink::new(self.start(request, "write the file", path).await?)))
    }

    async fn stat(&self, path: &[u8], follow: bool) -> Result<FileInfo> {
        const WHAT: &str = "look at the file";
        let mut infos = self.query(FileRequest::Stat { path: path.into(), follow }, WHAT, path).await?;
        match (infos.pop(), infos.is_empty()) {
            (Some(info), true) => Ok(info),
            _ => Err(unintelligible(WHAT, path, "not exactly one record")),
        }
    }

    async fn list(&self, path: &[u8]) -> Result<Vec<FileInfo>> {
        self.query(FileRequest::List { path: path.into() }, "list the folder", path).await
    }

    async fn make_dir(&self, path: &[u8], mode: u32, parents: bool) -> Result<()> {
        self.run(FileRequest::MakeDir { path: path.into(), mode, parents }, "make the folder", path).await
    }

    async fn remove(&self, path: &[u8], recursive: bool) -> Result<()> {
        self.run(FileRequest::Remove { path: path.into(), recursive }, "remove", path).await
    }

    async fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        refuse_relative("rename", to)?;
        self.run(FileRequest::Rename { from: from.into(), to: to.into() }, "rename", from).await
    }

    async fn tar_out(&self, path: &[u8]) -> Result<Box<dyn ByteSource>> {
        let request = FileRequest::TarOut { path: path.into() };
        Ok(Box::new(Source::open(self.start(request, "pack", path).await?).await?))
    }

    /// Dropping the sink unfinished leaves what was unpacked until then.
    async fn tar_in(&self, path: &[u8]) -> Result<Box<dyn ByteSink>> {
        let request = FileRequest::TarIn { path: path.into() };
        Ok(Box::new(Sink::new(self.start(request, "unpack", path).await?)))
    }
}

/// A relative path would mean a place that the caller cannot know.
fn refuse_relative(what: &str, path: &[u8]) -> Result<()> {
    if path.first() == Some(&b'/') {
        return Ok(());
    }
    let error = Error::new(ErrorKind::File, what, "the path is not absolute");
    Err(error.on(crate::text::printable_bytes(path)).hint("begin it with /, for example /workspace"))
}

/// The worker says that all went well, and its output is no answer. It may have been tampered with by
/// whoever shares its user; the agent and the stream have kept every rule, so the link stays.
fn unintelligible(what: &str, path: &[u8], why: &str) -> Error {
    let why = format!("the guest's answer is unintelligible: {why}");
    Error::new(ErrorKind::File, what, why).on(crate::text::printable_bytes(path))
}

fn info(info: agentkernel_protocol::FileInfo) -> FileInfo {
    use agentkernel_protocol::FileKind as Wire;
    FileInfo {
        name: info.name,
        kind: match info.kind {
            Wire::File => FileKind::File,
            Wire::Dir => FileKind::Dir,
            Wire::Symlink => FileKind::Symlink,
            Wire::Other => FileKind::Other,
        },
        size: info.size,
        mode: info.mode,
        uid: info.uid,
        gid: info.gid,
        modified_ns: info.modified_ns,
        target: info.target,
    }
}
