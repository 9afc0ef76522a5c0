//! How rules talk to commands.

use std::pin::Pin;
use std::task::Poll;

use agentkernel_core::{
    Command, Error, ErrorKind, ExitStatus, OutputStream, Process, ProcessControl, ProcessEvent, Sandbox,
    Stdin,
};
use bytes::Bytes;

use super::rule::{Broken, Kept, ensure};
use crate::said::{Said, listen};

/// How much is handed to stdin or a file at once.
pub const CHUNK_LEN: usize = 64 << 10;

impl Said {
    /// That it ended so.
    pub(super) fn ended_with(&self, expected: ExitStatus) -> Kept {
        let (status, stderr) = (self.exited.status, self.stderr.escape_ascii());
        ensure!(status == expected, "the command ended with {status}, expected {expected}; stderr: {stderr}");
        Ok(())
    }
}

/// A shell script as a command, from its text.
pub fn sh(script: &str) -> Command {
    Command::new(["/bin/sh", "-c", script])
}

/// The same with a stdin.
pub fn sh_with_stdin(script: &str) -> Command {
    Command { stdin: Stdin::Pipe, ..sh(script) }
}

/// Runs a command to its end, whatever that is.
pub async fn run(sandbox: &dyn Sandbox, command: &Command) -> Result<Said, Broken> {
    finish(sandbox.exec(command).await?).await
}

/// Runs a script that must succeed, and gives what it printed.
pub async fn text_of(sandbox: &dyn Sandbox, script: &str) -> Result<String, Broken> {
    let said = run(sandbox, &sh(script)).await?;
    said.ended_with(ExitStatus::Code(0))?;
    Ok(said.text())
}

/// Listens to a command until it has ended.
pub async fn finish(process: Box<dyn Process>) -> Result<Said, Broken> {
    Ok(listen(process).await?)
}

/// Listens until stdout holds `word`, and gives all of stdout so far.
pub async fn until(process: &mut dyn Process, word: &str) -> Result<String, Broken> {
    let mut stdout = Vec::new();
    loop {
        match process.next().await? {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => stdout.extend_from_slice(&bytes),
            ProcessEvent::Output(OutputStream::Stderr, bytes) => {
                return Err(Broken(format!("the command complains: {}", bytes.escape_ascii())));
            }
            ProcessEvent::Exited(exited) => {
                return Err(Broken(format!("ended with {} before it said {word:?}", exited.status)));
            }
        }
        let text = String::from_utf8_lossy(&stdout);
        if text.contains(word) {
            return Ok(text.into_owned());
        }
    }
}

/// Hands bytes to a command's stdin and ends it.
pub async fn feed(control: &dyn ProcessControl, bytes: &[u8]) -> Kept {
    for chunk in bytes.chunks(CHUNK_LEN) {
        control.write_stdin(Bytes::copy_from_slice(chunk)).await?;
    }
    Ok(control.close_stdin().await?)
}

/// Waits until none of these processes exists. The deadline is the rule's.
pub async fn until_gone(sandbox: &dyn Sandbox, pids: &[String]) -> Kept {
    for pid in pids {
        let script = format!("while kill -0 {pid} 2>/dev/null; do sleep 0.02; done");
        text_of(sandbox, &script).await?;
    }
    Ok(())
}

/// That an operation was refused, in this way.
pub fn refused<T>(what: &str, result: Result<T, Error>, expected: ErrorKind) -> Kept {
    match result {
        Ok(_) => Err(Broken(format!("{what} was not refused"))),
        Err(error) if error.kind == expected => Ok(()),
        Err(error) => Err(Broken(format!("{what}: expected {expected:?}, found {:?}: {error}", error.kind))),
    }
}

/// Drives many futures at once, and gives their results in order.
pub async fn all<F: Future + Unpin>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<(F, Option<F::Output>)> = futures.into_iter().map(|future| (future, None)).collect();
    std::future::poll_fn(|context| {
        for (future, result) in waiting.iter_mut().filter(|(_, result)| result.is_none()) {
            if let Poll::Ready(output) = Pin::new(future).poll(context) {
                *result = Some(output);
            }
        }
        if waiting.iter().all(|(_, result)| result.is_some()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    waiting.into_iter().filter_map(|(_, result)| result).collect()
}

/// Begins a future; gives its result if it has one already, in which case it must not be awaited again.
pub async fn begin<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *future).poll(context) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        })
    })
    .await
}
