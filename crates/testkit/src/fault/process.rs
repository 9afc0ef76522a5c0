//! A running command that lies.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agentkernel_core::{
    Command, Error, ErrorKind, ExitStatus, Exited, OutputStream, Process, ProcessControl, ProcessEvent,
    Result, SignalTarget, Stdin, TerminalSize, Usage,
};
use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep_until};

use super::control::FaultyControl;
use super::sandbox::Shared;
use super::{Fault, lock};

/// Where a byte is lost, and from where on everything is.
const LOST_BYTE: usize = 70_000;
const TRUNCATED_AT: usize = 16 << 20;

/// The command as it reaches the sandbox behind.
pub fn bent(command: &Command, fault: Fault) -> Command {
    let mut bent = command.clone();
    match fault {
        Fault::SplitWords => {
            let line = command.argv.join(&b' ');
            bent.argv = line.split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect();
        }
        Fault::InheritEnvironment => bent.env.push((b"CANARY".to_vec(), b"of the host".to_vec())),
        Fault::IgnoreFolder => bent.cwd = None,
        Fault::IgnoreUser => bent.user = None,
        Fault::StdinNeverEnds => bent.stdin = Stdin::Pipe,
        Fault::NoTerminal => bent.terminal = None,
        Fault::WrongSize => bent.terminal = command.terminal.map(|_| TerminalSize { rows: 24, cols: 80 }),
        Fault::IgnoreTimeout | Fault::TimeoutKillsOneProcess | Fault::TimeoutKillsTheGroup => {
            bent.timeout = None;
        }
        _ => {}
    }
    bent
}

pub struct FaultyProcess {
    /// `None` once it has been let go of.
    inner: Option<Box<dyn Process>>,
    fault: Fault,
    shared: Arc<Shared>,
    /// When the liar itself kills, and whether it has.
    deadline: Option<Instant>,
    timed_out: bool,
    /// Ends when the command's group is gone.
    watcher: Option<Box<dyn Process>>,
    turn: Option<OwnedSemaphorePermit>,
    /// Bytes of stdout so far.
    seen: usize,
    has_told_nothing: bool,
    exited: Arc<AtomicBool>,
    told: Option<Exited>,
}

impl FaultyProcess {
    pub fn new(
        inner: Box<dyn Process>,
        fault: Fault,
        timeout: Option<Duration>,
        shared: Arc<Shared>,
        watcher: Option<Box<dyn Process>>,
        turn: Option<OwnedSemaphorePermit>,
    ) -> Self {
        shared.live.fetch_add(1, Ordering::Relaxed);
        let kills = matches!(fault, Fault::TimeoutKillsOneProcess | Fault::TimeoutKillsTheGroup);
        Self {
            inner: Some(inner),
            fault,
            shared,
            deadline: timeout.filter(|_| kills).map(|timeout| Instant::now() + timeout),
            timed_out: false,
            watcher,
            turn,
            seen: 0,
            has_told_nothing: false,
            exited: Arc::default(),
            told: None,
        }
    }

    /// The next event of the command behind; kills it when its time is up.
    async fn hear(&mut self) -> Result<ProcessEvent> {
        let gone = || Error::new(ErrorKind::Internal, "wait for the command", "let go of");
        let inner = self.inner.as_mut().ok_or_else(gone)?;
        let Some(deadline) = self.deadline else { return inner.next().await };
        tokio::select! {
            event = inner.next() => return event,
            () = sleep_until(deadline) => {}
        }
        let whole = self.fault == Fault::TimeoutKillsTheGroup;
        let target = if whole { SignalTarget::Group } else { SignalTarget::Process };
        inner.control().signal(9, target).await?;
        (self.deadline, self.timed_out) = (None, true);
        inner.next().await
    }

    /// What is told of an event; `None` if nothing is.
    async fn bend(&mut self, event: ProcessEvent) -> Result<Option<ProcessEvent>> {
        match event {
            ProcessEvent::Output(_, bytes) if self.fault == Fault::MergeStreams => {
                Ok(Some(ProcessEvent::Output(OutputStream::Stdout, bytes)))
            }
            ProcessEvent::Output(OutputStream::Stdout, bytes) => Ok(self.bend_output(bytes)),
            ProcessEvent::Output(..) => Ok(Some(event)),
            ProcessEvent::Exited(exited) => {
                self.delay_the_end().await?;
                let exited = self.bend_end(exited);
                self.told = Some(exited);
                self.let_go();
                Ok(Some(ProcessEvent::Exited(exited)))
            }
        }
    }

    fn bend_output(&mut self, bytes: Bytes) -> Option<ProcessEvent> {
        let begin = self.seen;
        self.seen += bytes.len();
        let bytes = match self.fault {
            Fault::LoseByte if (begin..self.seen).contains(&LOST_BYTE) => {
                let at = LOST_BYTE - begin;
                [&bytes[..at], &bytes[at + 1..]].concat().into()
            }
            Fault::TruncateSilently if begin >= TRUNCATED_AT => return None,
            _ => bytes,
        };
        Some(ProcessEvent::Output(OutputStream::Stdout, bytes))
    }

    async fn delay_the_end(&mut self) -> Result<()> {
        while self.fault == Fault::OneReaderStopsAll && self.shared.live.load(Ordering::Relaxed) > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        if let Some(mut watcher) = self.watcher.take() {
            while !matches!(watcher.next().await?, ProcessEvent::Exited(_)) {}
        }
        Ok(())
    }

    fn bend_end(&self, exited: Exited) -> Exited {
        let timed_out = (exited.timed_out || self.timed_out) && self.fault != Fault::TimeoutIsUntold;
        let status = match (self.fault, exited.status) {
            (Fault::WrongExitCode, ExitStatus::Code(2..)) => ExitStatus::Code(1),
            (Fault::SignalAsCode, ExitStatus::Signal(signal)) => ExitStatus::Code(128 + signal),
            (_, status) => status,
        };
        let usage = if self.fault == Fault::UsageIsZero { Usage::default() } else { exited.usage };
        Exited { status, timed_out, usage }
    }

    /// Nobody waits for this command any more.
    fn let_go(&mut self) {
        if !self.exited.swap(true, Ordering::Relaxed) {
            self.shared.live.fetch_sub(1, Ordering::Relaxed);
        }
        self.turn = None;
    }
}

#[async_trait]
impl Process for FaultyProcess {
    fn pid(&self) -> u32 {
        let pid = self.inner.as_ref().map_or(0, |inner| inner.pid());
        if self.fault == Fault::WrongPid { pid + 1 } else { pid }
    }

    async fn next(&mut self) -> Result<ProcessEvent> {
        if self.fault == Fault::StopHidesTheEnd && self.shared.stopped.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if let (Fault::TellTheEndTwice, Some(exited)) = (self.fault, self.told) {
            return Ok(ProcessEvent::Exited(exited));
        }
        if self.fault == Fault::EmptyOutput && !self.has_told_nothing {
            self.has_told_nothing = true;
            return Ok(ProcessEvent::Output(OutputStream::Stdout, Bytes::new()));
        }
        loop {
            let event = self.hear().await?;
            if let Some(event) = self.bend(event).await? {
                return Ok(event);
            }
        }
    }

    fn control(&self) -> Arc<dyn ProcessControl> {
        let inner = self.inner.as_ref().map(|inner| inner.control());
        Arc::new(FaultyControl { inner, fault: self.fault, exited: self.exited.clone() })
    }
}

impl Drop for FaultyProcess {
    fn drop(&mut self) {
        self.let_go();
        if self.fault == Fault::DropSpares {
            lock(&self.shared.left).extend(self.inner.take());
        }
    }
}
