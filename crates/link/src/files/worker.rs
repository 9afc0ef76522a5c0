//! One file worker: its output, and its verdict.

use agentkernel_core::{
    CommandUser, Error, ErrorKind, ExitStatus, OutputStream, Process, ProcessEvent, Result,
};
use agentkernel_protocol::{FileError, FileRequest, OUTPUT_WINDOW, Signal, Start, Task, decode_record};
use bytes::{Bytes, BytesMut};

use crate::exec::user_ids;
use crate::link::Link;
use crate::process::{LinkedControl, LinkedProcess};
use crate::text::{errno_text, printable, printable_bytes};

/// SIGTERM to the worker: it may clean up, and what it has not finished never takes effect.
const GIVE_UP: Signal = Signal { number: 15, group: false };

/// Longest answer that is kept as a whole: the facts of some hundred thousand files.
const ANSWER_LEN_MAX: usize = 64 * 1024 * 1024;

/// Longest record of a failure that is read: a path, and what happened to it.
const FAILURE_LEN_MAX: usize = 64 * 1024;

/// A worker that does one file operation. Dropping it makes it give up.
pub(super) struct Worker {
    process: LinkedProcess,
    what: &'static str,
    /// What it works on, for errors.
    path: Vec<u8>,
    failure: BytesMut,
    is_over: bool,
}

impl Worker {
    pub(super) async fn start(
        link: &Link,
        user: Option<CommandUser>,
        request: FileRequest,
        what: &'static str,
        path: &[u8],
    ) -> Result<Self> {
        let start = Start {
            task: Task::File(request),
            user: user.map(user_ids),
            timeout_ms: None,
            output_window: OUTPUT_WINDOW,
        };
        let path = path.to_vec();
        match link.start(start, what, GIVE_UP).await {
            Ok(Ok(process)) => Ok(Self { process, what, path, failure: BytesMut::new(), is_over: false }),
            Ok(Err(refused)) => {
                let why = format!("its worker did not start: {}", errno_text(refused.errno));
                Err(Error::new(ErrorKind::File, what, why).on(printable_bytes(&path)))
            }
            Err(error) => Err(error.on(printable_bytes(&path))),
        }
    }

    pub(super) fn control(&self) -> &LinkedControl {
        self.process.linked_control()
    }

    /// The next bytes of its output; `None` when it has done its work.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.is_over {
            match self.process.next().await.map_err(|error| self.named(error))? {
                ProcessEvent::Output(OutputStream::Stdout, bytes) => return Ok(Some(bytes)),
                ProcessEvent::Output(OutputStream::Stderr, bytes) => {
                    let room = FAILURE_LEN_MAX.saturating_sub(self.failure.len());
                    self.failure.extend_from_slice(&bytes[..bytes.len().min(room)]);
                }
                ProcessEvent::Exited(exited) => {
                    self.is_over = true;
                    self.judge(exited.status)?;
                }
            }
        }
        Ok(None)
    }

    /// All of its output, when it has done its work.
    pub(super) async fn collect(mut self) -> Result<BytesMut> {
        let mut output = BytesMut::new();
        while let Some(bytes) = self.next().await? {
            if output.len() + bytes.len() > ANSWER_LEN_MAX {
                let why = format!("the answer is longer than {} MiB", ANSWER_LEN_MAX >> 20);
                return Err(self.failed(why));
            }
            output.extend_from_slice(&bytes);
        }
        Ok(output)
    }

    /// Says in an error what was done, and to what.
    pub(super) fn named(&self, error: Error) -> Error {
        Error { what: self.what.into(), ..error }.on(printable_bytes(&self.path))
    }

    fn failed(&self, why: String) -> Error {
        self.named(Error::new(ErrorKind::File, self.what, why))
    }

    fn judge(&mut self, status: ExitStatus) -> Result<()> {
        match status {
            ExitStatus::Code(0) => Ok(()),
            ExitStatus::Code(1) => {
                let failure = decode_record::<FileError>(&mut self.failure).ok().flatten();
                let why = failure.map(|failure| reason(&failure, &self.path));
                Err(self.failed(why.unwrap_or_else(|| "its worker did not say why".into())))
            }
            // The kernel, or somebody in the sandbox, has killed it.
            status => Err(self.failed(format!("its worker ended with {status}"))),
        }
    }
}

/// Why it failed, without what the error says anyway. What the guest says about another path, an entry
/// of an archive, is kept as a whole.
fn reason(failure: &FileError, path: &[u8]) -> String {
    let path = String::from_utf8_lossy(path);
    let about_path = format!(": {path}: ");
    match failure.message.split_once(&about_path) {
        Some((_, why)) if !why.is_empty() => printable(why),
        _ if failure.message.is_empty() => errno_text(failure.errno),
        _ => printable(&failure.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_repeats_nothing_and_loses_nothing() {
        let why = |message: &str| reason(&FileError { errno: 13, message: message.into() }, b"/a");
        assert_eq!(why("open: /a: Permission denied"), "Permission denied");
        assert_eq!(
            why("unpack: b/c: the entry leaves the folder"),
            "unpack: b/c: the entry leaves the folder"
        );
        assert_eq!(why(""), "Permission denied");
        assert_eq!(why("open: /a: \x1b[2J"), "\u{fffd}[2J");
    }
}
