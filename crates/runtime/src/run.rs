//! One run, from its request to its report: choose, boot, exec, stop.
//!
//! Whatever happens after boot (the command cannot be executed, its output cannot be written, its time is
//! up, somebody wants it to end), the sandbox is stopped before [`run()`] returns.

mod attend;
mod report;

use std::io;
use std::time::{Duration, Instant};

use agentkernel_core::{
    Booted, ByteSize, Command, Error, ErrorKind, OutputStream, Phases, Result, Sandbox, SandboxSpec,
    TerminalSize,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::choice::BackendRequest;
use crate::registry::Registry;

pub use agentkernel_oci::random_name;
pub use attend::{Attended, attend, end_asked};
pub use report::{Ending, OutputCount, RunReport};

/// What is to be run, and in what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRequest {
    /// Which backend.
    pub backend: BackendRequest,
    /// The sandbox.
    pub spec: SandboxSpec,
    /// The command. Its timeout ends the sandbox as well.
    pub command: Command,
    /// How much of its output is passed on, stdout and stderr together.
    pub output_limit: ByteSize,
    /// When the work for it began: the total counts from here.
    pub began: Instant,
}

/// What a run reads, writes and is told.
pub struct RunIo<'a> {
    /// The command's stdin; its end is the end of stdin. Without it, stdin is what the command says.
    pub stdin: Option<mpsc::Receiver<Bytes>>,
    /// Where output goes.
    pub output: &'a mut dyn RunOutput,
    /// What happens meanwhile. That it is closed means that nothing more will happen.
    pub signals: mpsc::Receiver<RunSignal>,
}

/// Takes the command's output.
#[async_trait]
pub trait RunOutput: Send {
    /// The command is about to be started.
    fn ready(&mut self) {}
    /// Takes some bytes. May wait: the command then waits, too. An error ends the run.
    async fn write(&mut self, stream: OutputStream, bytes: Bytes) -> io::Result<()>;
    /// Waits until something that was taken earlier turns out not to arrive; for ever, if all is well.
    async fn failed(&mut self) -> io::Error {
        std::future::pending().await
    }
    /// Waits until everything that was taken has arrived.
    async fn finish(&mut self) -> io::Result<()>;
}

/// What is said to a run from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunSignal {
    /// The user, or the system, wants it to end: the first is passed on to the command's process group;
    /// [`SIGNAL_GRACE`] after it, or at the second, everything is killed.
    End(u8),
    /// The user's terminal has a new size.
    Resize(TerminalSize),
}

/// How long a command may go on after it was sent the first signal.
pub const SIGNAL_GRACE: Duration = Duration::from_secs(2);

/// How long after its time was up a sandbox may still live. The guest agent ends the command in time,
/// and its last output arrives; a guest that does not is ended by the host.
pub const DEADLINE_GRACE: Duration = Duration::from_secs(1);

/// The lifetime of a sandbox that runs one command with this timeout. The last of three guards: it works
/// even if this very process is stopped. It includes the time of booting on a busy host.
#[must_use]
pub fn lifetime(timeout: Option<Duration>) -> Option<Duration> {
    timeout.map(|timeout| timeout + Duration::from_secs(30))
}

/// Runs one command in a sandbox of its own. An error means that the command did not run, or that
/// something may be left on the host; all else is in the report.
pub async fn run(registry: &Registry, request: &RunRequest, mut io: RunIo<'_>) -> Result<RunReport> {
    let choice = registry.choose(request.backend, &request.spec).await?;
    let backend = registry.get(choice.backend)?;
    let mut resized = None;
    let booted = tokio::select! {
        booted = backend.boot(&request.spec) => booted.map_err(with_a_way_out)?,
        // The boot is dropped, which kills what there is of it.
        number = attend::end_asked(&mut io.signals, &mut resized) => {
            return Ok(report::not_begun(request, choice, number));
        }
    };
    let Booted { sandbox, boot, ready } = booted;
    let mut command = request.command.clone();
    command.terminal = command.terminal.map(|size| resized.unwrap_or(size));
    io.output.ready();
    let exec_began = Instant::now();
    let mut count = OutputCount::new(request.output_limit);
    let attended = attend::command(sandbox.as_ref(), &command, io, &mut count).await;
    let exec = exec_began.elapsed();
    let (stopped, stop) = stop(sandbox).await;
    let (ending, stopped) = both(attended, stopped)?;
    let phases = phases([boot, ready, exec, stop], request.began);
    Ok(RunReport::new(choice, request.spec.name().clone(), ending, count, phases, stopped))
}

/// Where the time went since `began`: in boot, ready, exec and stop.
pub(crate) fn phases([boot, ready, exec, stop]: [Duration; 4], began: Instant) -> Phases {
    Phases {
        boot: Some(boot),
        ready: Some(ready),
        exec: Some(exec),
        stop: Some(stop),
        total: began.elapsed(),
        ..Phases::default()
    }
}

pub(crate) async fn stop(sandbox: Box<dyn Sandbox>) -> (Result<agentkernel_core::Stopped>, Duration) {
    let began = Instant::now();
    let stopped = sandbox.stop().await;
    (stopped, began.elapsed())
}

/// Neither of two errors is swallowed: the first one leads, for it is what the user asked about.
pub(crate) fn both<A, B>(first: Result<A>, second: Result<B>) -> Result<(A, B)> {
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (Ok(_), Err(error)) | (Err(error), Ok(_)) => Err(error),
        (Err(mut first), Err(second)) => {
            first.why = format!("{}; then {second}", first.why);
            Err(first)
        }
    }
}

/// The boot's own error is the answer to whether the backend works here; doctor knows more.
fn with_a_way_out(error: Error) -> Error {
    let is_usage = matches!(
        error.kind,
        ErrorKind::Usage
            | ErrorKind::NameTaken
            | ErrorKind::CommandNotFound
            | ErrorKind::CommandNotExecutable
    );
    if error.hint.is_some() || is_usage {
        return error;
    }
    error.hint("agentkernel doctor says what works on this host")
}

#[cfg(test)]
mod tests;
