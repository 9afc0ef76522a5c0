//! Everything that both sides of a link share: who waits for which frame.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_protocol::{Frame, MAX_CHANNELS, MAX_PAYLOAD, Start, StdinMode, Task, ToGuest, ToHost};
use tokio::sync::{oneshot, watch};

use crate::channel::{Channel, Life};
use crate::closed::{CloseReason, Closed};
use crate::lock::lock;
use crate::outbox::{Outbox, Room};
use crate::text::printable;

/// Pings that may be without an answer at once.
const PINGS_MAX: usize = 64;

/// Channels of which the last frame has not come. The guest refuses earlier, unless it never ends any.
const CHANNELS_MAX: usize = 2 * MAX_CHANNELS;

/// What the driver and the handles of one link share.
pub(crate) struct Table {
    pub(crate) outbox: Outbox,
    entries: Mutex<Entries>,
    closed: watch::Sender<Option<Arc<Closed>>>,
    /// Somebody holds the guest still.
    pub(crate) is_held: AtomicBool,
}

struct Entries {
    /// Number of the next channel.
    next_channel: u32,
    channels: HashMap<u32, Arc<Channel>>,
    next_ping: u64,
    /// Answers come in the order of the questions.
    pings: VecDeque<(u64, oneshot::Sender<()>)>,
    /// Who waits to hear that the guest is held, or renewed.
    holder: Option<oneshot::Sender<ToHost>>,
}

impl Table {
    /// A table in which the channels of the survivors are open, and no other one.
    pub(crate) fn new(last_channel: u32, survivors: &[Arc<Channel>]) -> Self {
        let open = survivors.iter().filter(|channel| !channel.has_exited());
        let channels = open.map(|channel| (channel.number, Arc::clone(channel))).collect();
        // After the very last number there is none, which is told when one is needed.
        let next_channel = last_channel.saturating_add(1);
        let entries = Entries { next_channel, channels, next_ping: 1, pings: VecDeque::new(), holder: None };
        let (closed, is_held) = (watch::Sender::new(None), AtomicBool::new(false));
        Self { outbox: Outbox::new(), entries: Mutex::new(entries), closed, is_held }
    }

    /// Opens a channel: its number is taken and its Start queued in one step, so that numbers increase
    /// on the stream, and so that a caller who stops waiting leaves nothing half done.
    pub(crate) fn open(&self, room: Room<'_>, start: Start, what: &str) -> Result<Arc<Channel>> {
        let mut entries = lock(&self.entries);
        if let Some(closed) = self.closed_now() {
            return Err(closed.error(what));
        }
        if entries.channels.len() >= CHANNELS_MAX {
            let why = format!("{CHANNELS_MAX} commands and file operations are under way");
            return Err(Error::new(ErrorKind::CommandRefused, what, why));
        }
        let number = entries.next_channel;
        let Some(next) = number.checked_add(1) else {
            return Err(Error::new(ErrorKind::SandboxGone, what, "every channel number has been used"));
        };
        let has_stdin = accepts_stdin(&start);
        room.push(number, &ToGuest::Start(Box::new(start))).map_err(|_| too_long(what))?;
        let channel = Arc::new(Channel::new(number, has_stdin));
        entries.next_channel = next;
        entries.channels.insert(number, Arc::clone(&channel));
        Ok(channel)
    }

    /// Queues a ping; the receiver is told when its answer comes, and dropped when the link is closed.
    pub(crate) fn ping(&self, room: Room<'_>, what: &str) -> Result<oneshot::Receiver<()>> {
        let mut entries = lock(&self.entries);
        if let Some(closed) = self.closed_now() {
            return Err(closed.error(what));
        }
        if entries.pings.len() >= PINGS_MAX {
            let why = format!("{PINGS_MAX} pings are without an answer");
            return Err(Error::new(ErrorKind::Timeout, what, why));
        }
        let number = entries.next_ping;
        entries.next_ping += 1;
        room.push(0, &ToGuest::Ping(number)).map_err(|error| Error::new(ErrorKind::Internal, what, error))?;
        let (sender, receiver) = oneshot::channel();
        entries.pings.push_back((number, sender));
        Ok(receiver)
    }

    /// Whoever holds the guest hears its next word on that.
    pub(crate) fn await_word(&self) -> oneshot::Receiver<ToHost> {
        let (sender, receiver) = oneshot::channel();
        let mut entries = lock(&self.entries);
        // Whoever waits must hear of the end, and who closes the link looks at this.
        if self.closed_now().is_none() {
            entries.holder = Some(sender);
        }
        receiver
    }

    /// Takes a frame from the stream; an error means that the link has to be closed.
    pub(crate) fn receive(&self, frame: Frame) -> Result<(), Closed> {
        let (kind, number) = (frame.kind, frame.channel);
        let broken = |why: String| match number {
            0 => Closed::broken(format!("{kind:?} frame: {why}")),
            _ => Closed::broken(format!("{kind:?} frame on channel {number}: {why}")),
        };
        let message = ToHost::try_from(frame).map_err(|error| Closed::broken(error.to_string()))?;
        match message {
            ToHost::Ready(_) | ToHost::Pong(_) | ToHost::Fault(_) | ToHost::Held(_) | ToHost::Renewed(_)
                if number != 0 =>
            {
                Err(broken("it belongs to no channel".into()))
            }
            ToHost::Ready(_) => Err(broken("it came a second time".into())),
            ToHost::Fault(why) => Err(Closed::new(CloseReason::GaveUp, guest_says(&why))),
            ToHost::Pong(answer) => self.receive_pong(answer).map_err(broken),
            word @ (ToHost::Held(_) | ToHost::Renewed(_)) => match lock(&self.entries).holder.take() {
                Some(holder) => {
                    holder.send(word).ok(); // whoever held it may have stopped waiting
                    Ok(())
                }
                None => Err(broken("nobody has held it".into())),
            },
            message => self.receive_on(number, message).map_err(broken),
        }
    }

    fn receive_on(&self, number: u32, message: ToHost) -> Result<(), String> {
        let channel = {
            let entries = lock(&self.entries);
            let Some(channel) = entries.channels.get(&number) else {
                let was_open = (1..entries.next_channel).contains(&number);
                return Err(if was_open { "its process has ended" } else { "it was never opened" }.into());
            };
            Arc::clone(channel)
        };
        if channel.receive(message, &self.outbox)? == Life::Over {
            lock(&self.entries).channels.remove(&number);
        }
        Ok(())
    }

    fn receive_pong(&self, answer: u64) -> Result<(), String> {
        match lock(&self.entries).pings.pop_front() {
            Some((number, sender)) if number == answer => {
                sender.send(()).ok(); // whoever asked may have stopped waiting
                Ok(())
            }
            Some((number, _)) => Err(format!("it answers ping {answer}, and {number} was asked")),
            None => Err("nothing was asked".into()),
        }
    }

    /// Closes the link for the first reason that is given; everything that waits fails with it.
    pub(crate) fn close(&self, closed: Closed) {
        let closed = Arc::new(closed);
        let (channels, pings) = {
            let mut entries = lock(&self.entries);
            let is_first = self.closed.send_if_modified(|state| {
                let is_first = state.is_none();
                state.get_or_insert_with(|| Arc::clone(&closed));
                is_first
            });
            if !is_first {
                return;
            }
            entries.holder = None;
            (std::mem::take(&mut entries.channels), std::mem::take(&mut entries.pings))
        };
        self.outbox.close();
        for channel in channels.values() {
            channel.lose(&closed);
        }
        drop(pings);
    }

    /// Why the link is closed, if it is.
    pub(crate) fn closed_now(&self) -> Option<Arc<Closed>> {
        self.closed.borrow().clone()
    }

    /// Something to wait on for the end, which does not keep the link open.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<Closed>>> {
        self.closed.subscribe()
    }
}

/// Waits until the link is closed.
pub(crate) async fn wait_closed(mut watch: watch::Receiver<Option<Arc<Closed>>>) -> Arc<Closed> {
    let closed = watch.wait_for(Option::is_some).await;
    let closed = closed.ok().and_then(|closed| closed.clone());
    closed.unwrap_or_else(|| Arc::new(Closed::new(CloseReason::Released, "the link was dropped")))
}

/// Whether what is started reads bytes of the host's: a terminal always does.
fn accepts_stdin(start: &Start) -> bool {
    match &start.task {
        Task::Exec(exec) => exec.stdin == StdinMode::Pipe || exec.terminal.is_some(),
        Task::File(_) | Task::Accept(_) => true,
    }
}

fn too_long(what: &str) -> Error {
    let why = format!("its words and variables do not fit {} KiB", MAX_PAYLOAD / 1024);
    Error::new(ErrorKind::Usage, what, why).hint("hand large data over by stdin or by a file")
}

/// What a guest says of itself, as a reason.
pub(crate) fn guest_says(why: &str) -> String {
    format!("the guest agent says: {}", printable(why))
}
