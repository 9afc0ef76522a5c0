//! One host is lost, and another one comes by the door.
//!
//! ```text
//!                the stream ends or fails             a stream comes by the door
//!  attached ─────────────────────────────▶ detached ────────────────────────────▶ a newcomer waits
//!     ▲                                       ▲                                         │
//!     │                                       └──── silence, wrong token, no Hello ─────┤
//!     └───────────────────────────────── Hello with the same token ─────────────────────┘
//! ```
//!
//! While nobody listens, the output of processes waits in their pipes; all else goes on. A newcomer that
//! has not proven itself changes nothing, not even for a host that is still there.

use agentkernel_protocol::{Hello, MAX_CHANNELS, Survivor, ToGuest, ToHost};

use super::greeting::{self, GREETING_WAIT_NS};
use super::{Agent, End};
use crate::door::Knock;
use crate::stream::{Received, Stream};
use crate::sys;

/// How often a lost host's stream is still read: more often than its buffer can be full.
const LAST_READS_MAX: usize = 64;

/// A host that has come by the door and has not greeted yet.
pub(super) struct Newcomer {
    pub(super) stream: Stream,
    /// When it has been silent for too long.
    until_ns: u64,
}

impl Agent {
    /// Whether a host can still come once this one is lost.
    pub(super) fn expects_another(&self) -> bool {
        self.door.is_some() || self.newcomer.is_some()
    }

    /// The stream has ended or failed. This is the end, unless another host can come.
    pub(super) fn lose_host(&mut self) -> Result<(), End> {
        if self.expects_another() { self.detach() } else { Err(End::Asked) }
    }

    /// Does what the host had still said, and goes on without it.
    fn detach(&mut self) -> Result<(), End> {
        self.stream.mute();
        for _ in 0..LAST_READS_MAX {
            match self.stream.receive() {
                Ok(Received::Bytes) => self.obey_received()?,
                Ok(Received::Nothing | Received::End) | Err(_) => break,
            }
        }
        self.let_go_of_host();
        self.stream.hang_up();
        self.chunk = Vec::new();
        sys::return_freed_memory();
        Ok(())
    }

    /// Nobody is told of what runs any more.
    pub(super) fn let_go_of_host(&mut self) {
        let channels: Vec<u32> = self.processes.keys().copied().collect();
        for channel in channels {
            self.hear_status(channel); // what has started by now goes on
        }
        self.processes.retain(|_, process| process.lose_host());
    }

    /// Sees who is at the door.
    pub(super) fn answer_door(&mut self) {
        match self.door.as_ref().map(super::Door::answer) {
            Some(Knock::Stream(stream)) => {
                // What is no stream at all cannot be made one, and is closed.
                let Ok(stream) = Stream::duplex(stream) else { return };
                let until_ns = sys::monotonic_ns().saturating_add(GREETING_WAIT_NS);
                self.newcomer = Some(Newcomer { stream, until_ns });
            }
            Some(Knock::Closed) => self.door = None,
            Some(Knock::Nothing | Knock::Garbled) | None => {}
        }
    }

    /// When the newcomer must have greeted.
    pub(super) fn newcomer_due_ns(&self) -> Option<u64> {
        self.newcomer.as_ref().map(|newcomer| newcomer.until_ns)
    }

    /// Sends a newcomer away that was silent for too long.
    pub(super) fn lose_patience(&mut self, now_ns: u64) {
        if self.newcomer_due_ns().is_some_and(|until_ns| until_ns <= now_ns) {
            self.send_away(None);
        }
    }

    /// Reads from the newcomer once. Only a proper greeting makes it the host.
    pub(super) fn hear_newcomer(&mut self) -> Result<(), End> {
        let Some(newcomer) = &mut self.newcomer else { return Ok(()) };
        match newcomer.stream.receive() {
            Ok(Received::Bytes) => {}
            Ok(Received::Nothing) => return Ok(()),
            Ok(Received::End) | Err(_) => {
                self.send_away(None);
                return Ok(());
            }
        }
        match newcomer.stream.next_message() {
            Ok(None) => {}
            Ok(Some((0, ToGuest::Hello(hello)))) => return self.admit(&hello),
            Ok(Some(_)) => self.send_away(Some(greeting::NO_HELLO.into())),
            Err(error) => self.send_away(Some(error.to_string())),
        }
        Ok(())
    }

    fn send_away(&mut self, reason: Option<String>) {
        if let (Some(newcomer), Some(reason)) = (&mut self.newcomer, reason) {
            newcomer.stream.send(0, &ToHost::Fault(reason));
            newcomer.stream.flush().ok();
        }
        self.newcomer = None;
        sys::return_freed_memory();
    }

    /// Makes the newcomer the host, if it is one that may have this sandbox.
    fn admit(&mut self, hello: &Hello) -> Result<(), End> {
        if let Err(reason) = self.recognise(hello) {
            self.send_away(Some(reason));
            return Ok(());
        }
        if self.stream.is_open() {
            self.detach()?;
        }
        let Some(newcomer) = self.newcomer.take() else { return Ok(()) };
        self.stream = newcomer.stream;
        let survivors = self.survivors(hello.output_window);
        self.introduce(survivors);
        // Whatever it sent along with its greeting is waiting in the decoder already.
        self.obey_received()?;
        self.flush()
    }

    /// All that another host must know: who runs, and the last words that it may not have heard.
    pub(super) fn survivors(&mut self, window: u32) -> Vec<Survivor> {
        let now_ns = sys::monotonic_ns();
        let room = MAX_CHANNELS - self.processes.len().min(MAX_CHANNELS);
        let mut survivors: Vec<_> = self.last_words.latest(room).cloned().collect();
        let last_words = &mut self.last_words;
        self.processes.retain(|channel, process| {
            process.find_host(window, now_ns);
            let survivor = process.survivor(*channel);
            let stays = survivor.ended.is_none();
            if !stays {
                last_words.remember(survivor.clone());
            }
            survivors.push(survivor);
            stays
        });
        survivors.sort_unstable_by_key(|survivor| survivor.channel);
        survivors
    }
}
