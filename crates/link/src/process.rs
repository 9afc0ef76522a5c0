//! A process behind a link, and the handle that talks to it.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentkernel_core::{
    Error, ErrorKind, ExitStatus, Exited, Process, ProcessControl, ProcessEvent, Result, SignalTarget,
    TerminalSize, Usage,
};
use agentkernel_protocol::{HEADER_LEN, Refused, Signal, Status, Survivor, ToGuest, WindowSize};
use async_trait::async_trait;
use bytes::Bytes;

use crate::channel::{Channel, Event};
use crate::closed::Closed;
use crate::link::Link;

/// What ends a command that nobody wants any more.
pub(crate) const KILL: Signal = Signal { number: 9, group: true };

const HEAR: &str = "hear from the command";

/// Longest body of a signal or a size.
const BODY_LEN_MAX: usize = 8;

/// A process on a channel of its own. Dropping it sends the signal that it was made with, and what it
/// still says is thrown away by the driver.
pub(crate) struct LinkedProcess {
    control: Arc<LinkedControl>,
    pid: u32,
    /// Bytes of its output that another host may not have heard before it was lost.
    lost_bytes: u64,
    on_drop: Signal,
    /// The last event was handed out.
    is_over: bool,
}

/// Talks to a process; keeps its link open, but not the process.
pub(crate) struct LinkedControl {
    channel: Arc<Channel>,
    link: Link,
}

impl LinkedProcess {
    pub(crate) fn new(link: Link, channel: Arc<Channel>, on_drop: Signal) -> Self {
        let control = Arc::new(LinkedControl { channel, link });
        Self { control, pid: 0, lost_bytes: 0, on_drop, is_over: false }
    }

    /// A command that another host has started.
    pub(crate) fn survivor(link: Link, channel: Arc<Channel>, survivor: &Survivor) -> Self {
        let mut process = Self::new(link, channel, KILL);
        (process.pid, process.lost_bytes) = (survivor.pid, survivor.lost_bytes);
        process
    }

    /// Waits until it is known whether it runs.
    pub(crate) fn poll_started(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Result<(), Refused>, Arc<Closed>>> {
        let started = ready!(self.control.channel.poll_started(context))?;
        Poll::Ready(Ok(started.map(|pid| self.pid = pid)))
    }

    /// The control, as the type that it is.
    pub(crate) fn linked_control(&self) -> &LinkedControl {
        &self.control
    }
}

impl Drop for LinkedProcess {
    fn drop(&mut self) {
        if !self.is_over {
            self.control.channel.abandon(self.on_drop, &self.control.link.table().outbox);
        }
    }
}

#[async_trait]
impl Process for LinkedProcess {
    fn pid(&self) -> u32 {
        self.pid
    }

    async fn next(&mut self) -> Result<ProcessEvent> {
        if self.is_over {
            return Err(Error::new(ErrorKind::Internal, HEAR, "it has ended, and said so"));
        }
        let LinkedControl { channel, link } = &*self.control;
        let event = poll_fn(|context| channel.poll_event(context, &link.table().outbox)).await;
        match event.map_err(|closed| closed.error(HEAR))? {
            Event::Output(stream, bytes) => Ok(ProcessEvent::Output(stream, bytes)),
            Event::Exited(exited) => {
                self.is_over = true;
                Ok(ProcessEvent::Exited(exited_of(&exited)))
            }
        }
    }

    fn control(&self) -> Arc<dyn ProcessControl> {
        Arc::clone(&self.control) as Arc<dyn ProcessControl>
    }

    fn lost_bytes(&self) -> u64 {
        self.lost_bytes
    }
}

impl LinkedControl {
    /// Whether the process is known to have ended; its last events may still wait to be taken.
    pub(crate) fn has_exited(&self) -> bool {
        self.channel.has_exited()
    }

    async fn send(&self, message: ToGuest, what: &str) -> Result<()> {
        if !self.has_exited()
            && let Some(room) = self.link.table().outbox.reserve(HEADER_LEN + BODY_LEN_MAX).await
        {
            let sent = room.push(self.channel.number, &message);
            sent.map_err(|error| Error::new(ErrorKind::Internal, what, error))?;
        }
        self.heard(what)
    }

    /// What is said after the end of the process is ignored; what is said to nobody is an error.
    fn heard(&self, what: &str) -> Result<()> {
        self.channel.lost().map_or(Ok(()), |closed| Err(closed.error(what)))
    }
}

#[async_trait]
impl ProcessControl for LinkedControl {
    /// A caller that stops waiting has sent a part of the bytes, from their beginning.
    async fn write_stdin(&self, bytes: Bytes) -> Result<()> {
        self.channel.stdin.write(bytes, self.channel.number, &self.link.table().outbox).await?;
        self.heard("write to the command's stdin")
    }

    /// The end comes after everything that is being written: this waits for those writers.
    async fn close_stdin(&self) -> Result<()> {
        self.channel.stdin.close(self.channel.number, &self.link.table().outbox).await;
        self.heard("end the command's stdin")
    }

    async fn signal(&self, number: u8, target: SignalTarget) -> Result<()> {
        const WHAT: &str = "send the command a signal";
        if !(1..=64).contains(&number) {
            return Err(Error::new(ErrorKind::Usage, WHAT, "signals are numbered 1 to 64").on(number));
        }
        let group = target == SignalTarget::Group;
        self.send(ToGuest::Signal(Signal { number, group }), WHAT).await
    }

    async fn resize(&self, size: TerminalSize) -> Result<()> {
        let size = WindowSize { rows: size.rows, cols: size.cols };
        self.send(ToGuest::Resize(size), "resize the command's terminal").await
    }
}

fn exited_of(exited: &agentkernel_protocol::Exited) -> Exited {
    let usage = exited.usage;
    Exited {
        status: match exited.status {
            Status::Code(code) => ExitStatus::Code(code),
            Status::Signal(signal) => ExitStatus::Signal(signal),
        },
        timed_out: exited.timed_out,
        usage: Usage {
            user: Duration::from_micros(usage.user_us),
            system: Duration::from_micros(usage.system_us),
            max_rss_kib: usage.max_rss_kib,
            wall: Duration::from_nanos(usage.wall_ns),
        },
    }
}
