//! One channel: from Start to the last frame, which is Exited or Refused.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use agentkernel_core::OutputStream;
use agentkernel_protocol::{Exited, Refused, STDIN_WINDOW, Signal, Stream, Survivor, ToGuest, ToHost};
use bytes::Bytes;

use crate::closed::Closed;
use crate::lock::lock;
use crate::outbox::Outbox;
use crate::output::OutputQueue;
use crate::stdin::StdinPipe;

/// How far a channel is.
enum Phase {
    /// Start was sent.
    Opening,
    /// Started came.
    Running,
    /// The last word of the process.
    Exited(Exited),
    /// It never ran.
    Refused(Refused),
    /// The link is closed.
    Lost(Arc<Closed>),
}

/// Whether a frame was the last one of its channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Life {
    On,
    Over,
}

/// What a process says next.
pub(crate) enum Event {
    Output(OutputStream, Bytes),
    Exited(Exited),
}

/// What the reader puts down and one caller takes.
pub(crate) struct Channel {
    /// Its number on the stream.
    pub(crate) number: u32,
    /// Its process's stdin.
    pub(crate) stdin: StdinPipe,
    state: Mutex<State>,
}

struct State {
    phase: Phase,
    pid: Option<u32>,
    output: OutputQueue,
    /// Nobody wants the process any more: what kills it, as soon as it runs.
    abandoned: Option<Signal>,
    /// The caller who waits.
    waker: Option<Waker>,
}

impl Channel {
    /// A channel of which Start is being sent.
    pub(crate) fn new(number: u32, has_stdin: bool) -> Self {
        Self::at(Phase::Opening, None, number, has_stdin.then_some(STDIN_WINDOW))
    }

    /// The channel of a command that another host has started.
    pub(crate) fn survivor(survivor: &Survivor) -> Self {
        let phase = survivor.ended.clone().map_or(Phase::Running, Phase::Exited);
        let has_ended = survivor.ended.is_some();
        let channel = Self::at(phase, Some(survivor.pid), survivor.channel, survivor.stdin_free);
        if has_ended {
            channel.stdin.end();
        }
        channel
    }

    fn at(phase: Phase, pid: Option<u32>, number: u32, stdin_free: Option<u32>) -> Self {
        let state = State { phase, pid, output: OutputQueue::new(), abandoned: None, waker: None };
        Self { number, stdin: StdinPipe::new(stdin_free), state: Mutex::new(state) }
    }

    /// Takes a frame; an error says which rule it breaks.
    pub(crate) fn receive(&self, message: ToHost, outbox: &Outbox) -> Result<Life, String> {
        if let ToHost::StdinCredit(bytes) = message {
            return self.credit_stdin(bytes);
        }
        let (life, waker) = {
            let mut state = lock(&self.state);
            (self.step(&mut state, message, outbox)?, state.waker.take())
        };
        if life == Life::Over {
            self.stdin.end();
        }
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(life)
    }

    fn step(&self, state: &mut State, message: ToHost, outbox: &Outbox) -> Result<Life, String> {
        match (&state.phase, message) {
            (Phase::Opening, ToHost::Started(pid)) => {
                (state.phase, state.pid) = (Phase::Running, Some(pid));
                if let Some(signal) = state.abandoned {
                    outbox.push(self.number, &ToGuest::Signal(signal));
                }
            }
            (Phase::Opening, ToHost::Refused(refused)) => {
                state.phase = Phase::Refused(refused);
                return Ok(Life::Over);
            }
            (Phase::Running, ToHost::Stdout(bytes)) => {
                self.receive_output(state, OutputStream::Stdout, bytes, outbox)?;
            }
            (Phase::Running, ToHost::Stderr(bytes)) => {
                self.receive_output(state, OutputStream::Stderr, bytes, outbox)?;
            }
            (Phase::Running, ToHost::Exited(exited)) => {
                state.phase = Phase::Exited(exited);
                return Ok(Life::Over);
            }
            (Phase::Opening, _) => return Err("its process has not started".into()),
            _ => return Err("its process has started already".into()),
        }
        Ok(Life::On)
    }

    fn receive_output(
        &self,
        state: &mut State,
        stream: OutputStream,
        bytes: Bytes,
        outbox: &Outbox,
    ) -> Result<(), String> {
        if state.abandoned.is_none() {
            return state.output.receive(stream, bytes);
        }
        let credit = state.output.swallow(stream, &bytes)?;
        self.give_credit(stream, credit, outbox);
        Ok(())
    }

    fn give_credit(&self, stream: OutputStream, credit: u32, outbox: &Outbox) {
        if credit > 0 {
            let stream = match stream {
                OutputStream::Stdout => Stream::Stdout,
                OutputStream::Stderr => Stream::Stderr,
            };
            outbox.push(self.number, &ToGuest::Credit(stream, credit));
        }
    }

    fn credit_stdin(&self, bytes: u32) -> Result<Life, String> {
        if lock(&self.state).pid.is_none() {
            return Err("its process has not started".into());
        }
        self.stdin.credit(bytes).map(|()| Life::On)
    }

    /// The link is closed: whoever waits here is told.
    pub(crate) fn lose(&self, closed: &Arc<Closed>) {
        let waker = {
            let mut state = lock(&self.state);
            if matches!(state.phase, Phase::Opening | Phase::Running) {
                state.phase = Phase::Lost(Arc::clone(closed));
            }
            state.waker.take()
        };
        self.stdin.end();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Why nothing more will be heard, if the link was closed before the process ended.
    pub(crate) fn lost(&self) -> Option<Arc<Closed>> {
        match &lock(&self.state).phase {
            Phase::Lost(closed) => Some(Arc::clone(closed)),
            _ => None,
        }
    }

    /// Whether its process is known to have ended.
    pub(crate) fn has_exited(&self) -> bool {
        matches!(lock(&self.state).phase, Phase::Exited(_))
    }

    /// Waits for the answer to Start: a PID or a refusal.
    pub(crate) fn poll_started(
        &self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Result<u32, Refused>, Arc<Closed>>> {
        let mut state = lock(&self.state);
        Poll::Ready(match (&state.phase, state.pid) {
            (_, Some(pid)) => Ok(Ok(pid)),
            (Phase::Refused(refused), None) => Ok(Err(refused.clone())),
            (Phase::Lost(closed), None) => Err(Arc::clone(closed)),
            _ => return state.wait(context),
        })
    }

    /// Waits for the next event. What came before the end of the link is still handed out.
    pub(crate) fn poll_event(
        &self,
        context: &mut Context<'_>,
        outbox: &Outbox,
    ) -> Poll<Result<Event, Arc<Closed>>> {
        let mut state = lock(&self.state);
        if let Some((stream, bytes, credit)) = state.output.take() {
            if matches!(state.phase, Phase::Running) {
                self.give_credit(stream, credit, outbox);
            }
            return Poll::Ready(Ok(Event::Output(stream, bytes)));
        }
        Poll::Ready(match &state.phase {
            Phase::Exited(exited) => Ok(Event::Exited(exited.clone())),
            Phase::Lost(closed) => Err(Arc::clone(closed)),
            _ => return state.wait(context),
        })
    }

    /// Nobody wants the process any more: it gets the signal, and what it still says is thrown away.
    pub(crate) fn abandon(&self, signal: Signal, outbox: &Outbox) {
        let mut state = lock(&self.state);
        state.abandoned = Some(signal);
        let credits = state.output.discard();
        if matches!(state.phase, Phase::Running) {
            outbox.push(self.number, &ToGuest::Signal(signal));
            for (stream, credit) in credits {
                self.give_credit(stream, credit, outbox);
            }
        }
        drop(state);
        self.stdin.end();
    }
}

impl State {
    fn wait<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            self.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}
