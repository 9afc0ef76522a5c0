//! A command that the daemon runs, in the words of those that we run ourselves.

use std::sync::Arc;

use agentkernel_api::{CommandResult, SignalRequest, Started, StreamId};
use agentkernel_client::{CommandControl, CommandEvent, CommandStream};
use agentkernel_core::{
    CauseOfDeath, Ended, Error, ErrorKind, OutputStream, Process, ProcessControl, ProcessEvent,
};
use agentkernel_core::{Result, SignalTarget, TerminalSize};
use agentkernel_runtime::{Ending, OutputCount, RunIo, run};
use async_trait::async_trait;
use bytes::Bytes;

use crate::cli::wire;
use crate::errors;

/// A command that the daemon has executed. Dropping it ends the command, unless it runs in the background.
pub struct RemoteProcess {
    stream: CommandStream,
    started: Started,
    /// The last word.
    result: Option<Box<CommandResult>>,
}

/// What came of it.
pub struct Heard {
    /// What ended it.
    pub ending: Ending,
    /// Why its sandbox ended, if that is known.
    pub cause: Option<CauseOfDeath>,
    /// The daemon's last word, if it was heard.
    pub result: Option<Box<CommandResult>>,
}

impl RemoteProcess {
    /// Waits until the command has been executed. Before this nothing of the user's has run.
    pub async fn begin(mut stream: CommandStream) -> agentkernel_client::Result<Self> {
        loop {
            match stream.next().await? {
                CommandEvent::Started(started) => return Ok(Self { stream, started, result: None }),
                CommandEvent::Notice(notice) => errors::say(&notice),
                // What has ended before we came says so at once.
                CommandEvent::Exited(result) => {
                    let sandbox = result.sandbox.clone();
                    let started = Started { sandbox, pid: 0, origin: result.origin, warning: None };
                    return Ok(Self { stream, started, result: Some(result) });
                }
                CommandEvent::Output(..) => {}
            }
        }
    }

    /// Where it runs.
    pub fn started(&self) -> &Started {
        &self.started
    }

    /// Attends to it until it ends, or must not be heard any more.
    pub async fn attend(
        mut self,
        timeout: Option<std::time::Duration>,
        resized: Option<TerminalSize>,
        io: RunIo<'_>,
        count: &mut OutputCount,
    ) -> Result<Heard> {
        let attended = run::attend(&mut self, timeout, resized, io, count).await;
        if let Some(result) = &self.result {
            // The daemon has counted what it left out, too.
            count.total = result.output_bytes;
        }
        let ending = match attended {
            run::Attended::Ended(ending) => ending,
            run::Attended::Lost(why) => match &self.result {
                Some(result) => unseen(result, why),
                None => return Err(why),
            },
        };
        let known = self.result.as_ref().and_then(|result| result.cause).map(wire::cause);
        Ok(Heard { cause: cause(&ending, known), ending, result: self.result })
    }
}

/// The ending of a command of which the daemon saw no end.
fn unseen(result: &CommandResult, why: Error) -> Ending {
    if result.timed_out {
        return Ending::TimedOut;
    }
    let cause = result.cause.map_or(CauseOfDeath::BoundaryCrashed, wire::cause);
    Ending::SandboxEnded(Ended { cause, detail: result.detail.clone().unwrap_or(why.why) })
}

/// Why it ended: what we did ourselves we know best.
fn cause(ending: &Ending, known: Option<CauseOfDeath>) -> Option<CauseOfDeath> {
    match ending {
        Ending::TimedOut => Some(CauseOfDeath::Timeout),
        Ending::Signalled(_) | Ending::OutputFailed(_) => Some(CauseOfDeath::Killed),
        Ending::Exited(exited) if exited.timed_out => Some(CauseOfDeath::Timeout),
        Ending::Exited(_) => known,
        Ending::SandboxEnded(ended) => Some(known.unwrap_or(ended.cause)),
    }
}

#[async_trait]
impl Process for RemoteProcess {
    fn pid(&self) -> u32 {
        self.started.pid
    }

    async fn next(&mut self) -> Result<ProcessEvent> {
        while self.result.is_none() {
            match self.stream.next().await? {
                CommandEvent::Output(StreamId::Stderr, bytes) => {
                    return Ok(ProcessEvent::Output(OutputStream::Stderr, bytes));
                }
                CommandEvent::Output(_, bytes) => {
                    return Ok(ProcessEvent::Output(OutputStream::Stdout, bytes));
                }
                CommandEvent::Exited(result) => self.result = Some(result),
                CommandEvent::Notice(notice) => errors::say(&notice),
                CommandEvent::Started(_) => {}
            }
        }
        let exited = self.result.as_deref().and_then(wire::exited);
        exited
            .map(ProcessEvent::Exited)
            .ok_or_else(|| Error::new(ErrorKind::SandboxGone, "run the command", "nobody saw its end"))
    }

    fn control(&self) -> Arc<dyn ProcessControl> {
        Arc::new(RemoteControl(self.stream.control()))
    }
}

struct RemoteControl(CommandControl);

#[async_trait]
impl ProcessControl for RemoteControl {
    async fn write_stdin(&self, bytes: Bytes) -> Result<()> {
        Ok(self.0.write_stdin(&bytes).await?)
    }

    async fn close_stdin(&self) -> Result<()> {
        Ok(self.0.end_stdin().await?)
    }

    async fn signal(&self, number: u8, target: SignalTarget) -> Result<()> {
        let group = target == SignalTarget::Group;
        Ok(self.0.signal(SignalRequest { number, group }).await?)
    }

    async fn resize(&self, size: TerminalSize) -> Result<()> {
        Ok(self.0.resize(wire::size(size)).await?)
    }
}
