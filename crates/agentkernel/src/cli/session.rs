//! A command of the daemon's, with our stdin, signals and terminal.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_client::CommandStream;
use agentkernel_core::{ByteSize, CauseOfDeath, Command, Error, ErrorKind};
use agentkernel_runtime::{Ending, OutputCount, RunIo, RunOutput as _, RunSignal, run};
use tokio::sync::{Notify, mpsc};

use super::command_flags::CommandFlags;
use crate::errors::{self, Failure};
use crate::notices::Over;
use crate::output::HostOutput;
use crate::remote::RemoteProcess;
use crate::terminal::RawMode;
use crate::{input, signals};

/// How a command is heard.
pub struct Session {
    /// Its name, for messages.
    pub program: String,
    /// Its time.
    pub timeout: Option<Duration>,
    /// How much of its output is passed on.
    pub limit: ByteSize,
    /// Whether our stdin is passed on.
    pub interactive: bool,
    /// Whether it has our terminal.
    pub tty: bool,
}

fn failed(what: &'static str) -> impl Fn(std::io::Error) -> Error {
    move |why| Error::new(ErrorKind::Host, what, why)
}

impl Session {
    /// That of a command of these flags.
    pub fn of(command: &Command, flags: &CommandFlags, limit: ByteSize) -> Self {
        let (program, timeout) = (command.program(), command.timeout);
        Self { program, timeout, limit, interactive: flags.interactive, tty: flags.tty }
    }

    /// Opens the stream, and hears it to its end. Signals reach the command. Returns the exit code.
    pub async fn hear(
        self,
        open: impl AsyncFnOnce() -> Result<CommandStream, Failure>,
    ) -> Result<u8, Failure> {
        let signals = signals::listen(self.tty).map_err(failed("listen to signals"))?;
        self.hear_with(signals, open).await
    }

    /// The same, with these signals.
    pub async fn hear_with(
        self,
        mut signals: mpsc::Receiver<RunSignal>,
        open: impl AsyncFnOnce() -> Result<CommandStream, Failure>,
    ) -> Result<u8, Failure> {
        let raw = if self.tty && self.interactive {
            Some(RawMode::enter().map_err(failed("make the terminal raw"))?)
        } else {
            None
        };
        let mut resized = None;
        let begin = async { Ok::<_, Failure>(RemoteProcess::begin(open().await?).await?) };
        let process = tokio::select! {
            process = begin => process?,
            number = run::end_asked(&mut signals, &mut resized) => {
                return Ok(errors::code_of_run(&Ending::Signalled(number), CauseOfDeath::Killed));
            }
        };
        // Not read before there is somebody to take it.
        let stdin = self.interactive.then(input::read_stdin).transpose().map_err(failed("read stdin"))?;
        let mut output = HostOutput::new(Arc::new(Notify::new()));
        output.ready();
        let mut count = OutputCount::new(self.limit);
        let io = RunIo { stdin, output: &mut output, signals };
        let heard = process.attend(self.timeout, resized, io, &mut count).await;
        // Before anything is said.
        drop(raw);
        let heard = heard?;
        let cause = heard.cause.unwrap_or(CauseOfDeath::Exited);
        let Self { program, timeout, .. } = self;
        Over { program, timeout, memory: None, ending: &heard.ending, cause, output: count }.print();
        Ok(errors::code_of_run(&heard.ending, cause))
    }
}
