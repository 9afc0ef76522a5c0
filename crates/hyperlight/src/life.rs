//! The life of one command: what the helper says of it becomes its events, until its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_core::{ExitStatus, Exited, OutputStream, ProcessEvent, Usage};
use bytes::Bytes;
use tokio::sync::{OwnedMutexGuard, Semaphore, mpsc, watch};
use tokio::time::{sleep, sleep_until};

use crate::helper::Hearing;
use crate::sandbox::House;
use crate::wire::{End, News, Order};

/// How long the helper may take to destroy a machine, before it is destroyed with it.
pub(crate) const KILL_DEADLINE: Duration = Duration::from_secs(5);

const SIGKILL: u8 = 9;

/// All that a command needs to live.
pub(crate) struct Life {
    pub(crate) house: Arc<House>,
    /// Nobody else hears the helper meanwhile: commands come one at a time.
    pub(crate) hearing: OwnedMutexGuard<Hearing>,
    pub(crate) events: mpsc::Sender<ProcessEvent>,
    /// The signal that ends it; closed if nobody holds it any more.
    pub(crate) killed: watch::Receiver<Option<u8>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) window: Arc<Semaphore>,
}

/// Why it is to end before its own end.
#[derive(Debug, Clone, Copy)]
enum Verdict {
    Signal(u8),
    TimeUp,
}

impl Life {
    /// Lives it to its end.
    pub(crate) async fn live(mut self) {
        let began = Instant::now();
        let over = sleep_or_never(self.timeout);
        tokio::pin!(over);
        let (mut verdict, mut last) = (None, None);
        loop {
            let news = tokio::select! {
                biased;
                by = judge(&mut self.killed, over.as_mut()), if verdict.is_none() => {
                    verdict = Some(by);
                    last = Some(tokio::time::Instant::now() + KILL_DEADLINE);
                    // One that does not listen is killed below.
                    drop(self.house.helper.order(&Order::Kill).await);
                    continue;
                }
                () = until(last) => None,
                news = self.hearing.next() => news.ok(),
            };
            match news {
                Some(News::Stdout(bytes)) => self.pass(OutputStream::Stdout, bytes, &mut verdict).await,
                Some(News::Stderr(bytes)) => self.pass(OutputStream::Stderr, bytes, &mut verdict).await,
                Some(News::Took(count)) => self.window.add_permits(count),
                Some(News::Ended(end)) => return self.tell(end, verdict, began).await,
                _ => return self.lose(verdict, began).await,
            }
        }
    }

    /// Hands output over; a command that is to end need not be heard out.
    async fn pass(&mut self, stream: OutputStream, bytes: Vec<u8>, verdict: &mut Option<Verdict>) {
        let event = ProcessEvent::Output(stream, Bytes::from(bytes));
        if verdict.is_some() {
            // What it wrote before still fits, or nobody takes it.
            drop(self.events.try_send(event));
            return;
        }
        let permit = self.events.clone();
        tokio::select! {
            sent = permit.send(event) => drop(sent), // if nobody hears it, `killed` is closed as well
            () = self.house.closed() => {}
        }
    }

    async fn tell(self, end: End, verdict: Option<Verdict>, began: Instant) {
        let status = match (&end, verdict) {
            (End::Code(code), _) => ExitStatus::Code(*code),
            (End::Signal(number) | End::Crashed(number, _), _) => ExitStatus::Signal(*number),
            (End::Killed, Some(Verdict::Signal(number))) => ExitStatus::Signal(number),
            (End::Killed, _) => ExitStatus::Signal(SIGKILL),
        };
        if let End::Crashed(_, why) = end {
            let words = format!("agentkernel: its machine crashed: {why}\n");
            let words = ProcessEvent::Output(OutputStream::Stderr, Bytes::from(words));
            drop(self.events.send(words).await);
        }
        let timed_out = matches!(end_verdict(status, verdict), Some(Verdict::TimeUp));
        self.exit(status, timed_out, began).await;
    }

    /// The helper is gone, or does not answer: so is the sandbox.
    async fn lose(self, verdict: Option<Verdict>, began: Instant) {
        self.house.lose();
        let status = match verdict {
            Some(Verdict::Signal(number)) => ExitStatus::Signal(number),
            _ => ExitStatus::Signal(SIGKILL),
        };
        self.exit(status, matches!(verdict, Some(Verdict::TimeUp)), began).await;
    }

    async fn exit(self, status: ExitStatus, timed_out: bool, began: Instant) {
        let Self { house, hearing, events, window, .. } = self;
        window.close();
        // The next command may come as soon as the end of this one is known.
        drop((hearing, house));
        let usage = Usage { wall: began.elapsed(), ..Usage::default() };
        drop(events.send(ProcessEvent::Exited(Exited { status, timed_out, usage })).await);
    }
}

/// A verdict that came too late, since it had ended by itself, is none.
fn end_verdict(status: ExitStatus, verdict: Option<Verdict>) -> Option<Verdict> {
    verdict.filter(|_| matches!(status, ExitStatus::Signal(_)))
}

async fn judge(
    killed: &mut watch::Receiver<Option<u8>>,
    over: std::pin::Pin<&mut impl Future<Output = ()>>,
) -> Verdict {
    tokio::select! {
        number = killed.wait_for(Option::is_some) => {
            Verdict::Signal(number.ok().and_then(|number| *number).unwrap_or(SIGKILL))
        }
        () = over => Verdict::TimeUp,
    }
}

pub(crate) async fn sleep_or_never(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn until(last: Option<tokio::time::Instant>) {
    match last {
        Some(last) => sleep_until(last).await,
        None => std::future::pending().await,
    }
}
