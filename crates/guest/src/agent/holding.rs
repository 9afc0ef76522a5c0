//! The machine is kept as it is, and goes on: in its own place, and in any number of others.
//!
//! ```text
//!              Hold: all that runs is frozen          Renew: the machine is itself            anything else
//!  attached ────────────────────────────────▶ held ─────────────────────────────▶ renewed ──────────────────▶ attached
//!                                             │ ▲                                    │ Hello, of another host
//!                                             ▼ │                                    ▼
//!                                  kept, and continued elsewhere          attached to it, with the survivors
//! ```
//!
//! Nothing that runs in it goes on before it has been renewed, so that no copy of a program draws the numbers of its
//! sibling; and before it is known who hears what it says.

use agentkernel_protocol::{Hello, ToGuest, ToHost};
use rustix::event::{PollFd, PollFlags, poll};

use super::greeting::check_protocol;
use super::last_words::LastWords;
use super::{Agent, End};
use crate::machine;
use crate::stream::Received;

/// How long the host may take to hear what was said before.
const LAST_WORDS_S: i64 = 10;

impl Agent {
    /// Holds everything, until it is renewed.
    pub(super) fn hold(&mut self) -> Result<(), End> {
        let why_not = self.hold_all().err();
        let is_held = why_not.is_none();
        self.stream.send(0, &ToHost::Held(why_not));
        if !is_held {
            return Ok(());
        }
        // All of it: what is still here when the machine is kept would be said again by each of its copies.
        self.stream.finish(LAST_WORDS_S);
        let (_, ToGuest::Renew(steps)) = self.await_message()? else {
            return Err(End::violation("it is held, and only Renew may come"));
        };
        let keeper = self.keeper.as_ref().ok_or_else(|| End::violation("nobody can renew this"))?;
        // Not renewed is not itself: this is the end of it.
        let evidence = keeper.renew(&steps).map_err(End::Violation)?;
        self.stream.send(0, &ToHost::Renewed(evidence));
        self.stream.finish(LAST_WORDS_S);
        let (channel, message) = self.await_message()?;
        if let (0, ToGuest::Hello(hello)) = (channel, &message) {
            self.serve_another(hello)?;
        }
        self.freeze(false).map_err(End::Violation)?;
        if matches!(message, ToGuest::Hello(_)) { Ok(()) } else { self.obey(channel, message) }
    }

    fn hold_all(&self) -> Result<(), String> {
        if self.keeper.is_none() {
            return Err("nobody can renew this".into());
        }
        self.freeze(true).inspect_err(|_| drop(self.freeze(false)))
    }

    fn freeze(&self, frozen: bool) -> Result<(), String> {
        let group = self.spawner.group().ok_or("its commands have no control group of their own")?;
        group.freeze(frozen).map_err(|why| format!("freeze: {why}"))
    }

    /// While everything is held.
    fn await_message(&mut self) -> Result<(u32, ToGuest), End> {
        loop {
            if let Some(message) = self.stream.next_message()? {
                return Ok(message);
            }
            let Some(input) = self.stream.input() else { return Err(End::Asked) };
            poll(&mut [PollFd::from_borrowed_fd(input, PollFlags::IN)], None).ok();
            if let Ok(Received::End) | Err(_) = self.stream.receive() {
                self.take_another_call()?;
            }
        }
    }

    /// A VMM whose host calls ends the call when it keeps the machine, here and in each that continues from it. Whoever calls
    /// then is told what was said before, by which he knows that his call was not ended as well.
    fn take_another_call(&mut self) -> Result<(), End> {
        let listener = self.listener.as_ref().ok_or(End::Asked)?;
        let call = machine::accept(listener).map_err(|_| End::Asked)?;
        self.stream.replace(call).map_err(|_| End::Asked)?;
        self.stream.send(0, &ToHost::Held(None));
        self.stream.finish(LAST_WORDS_S);
        Ok(())
    }

    /// A host on the same stream that is not the one that has held the machine: it continues elsewhere.
    fn serve_another(&mut self, hello: &Hello) -> Result<(), End> {
        check_protocol(hello).map_err(End::Mismatch)?;
        self.take_token(hello);
        self.let_go_of_host();
        self.stream.forget_queued(); // that was for the other one, who has heard of all that ended before
        self.last_words = LastWords::default();
        let survivors = self.survivors(hello.output_window);
        self.introduce(survivors);
        Ok(())
    }
}
