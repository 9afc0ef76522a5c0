//! What the two threads of the helper share: the machine's, and the one that hears orders.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentkernel_hyperlight::wire::{self, News};
use hyperlight_host::hypervisor::InterruptHandle;

/// How often a machine is interrupted until it has noticed: an interrupt that comes just before it runs is lost.
const INSIST: Duration = Duration::from_millis(10);

/// State of the command that runs.
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    runs: bool,
    is_killed: bool,
    has_started: bool,
    stdin: VecDeque<u8>,
    is_stdin_over: bool,
    handle: Option<Arc<dyn InterruptHandle>>,
}

impl Shared {
    pub fn new() -> Self {
        Self { state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that is done under the lock can panic halfway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says something to whoever started us.
    pub fn say(&self, news: &News) -> io::Result<()> {
        wire::write(news, io::stdout().lock())
    }

    /// An order to run something was heard: what comes now, stdin or the end, is meant for it.
    pub fn expect(&self) {
        *self.state() = State { runs: true, ..State::default() };
    }

    /// The machine's way to be interrupted.
    pub fn interrupt_by(&self, handle: Arc<dyn InterruptHandle>) {
        self.state().handle = Some(handle);
    }

    /// The command is over.
    pub fn is_over(&self) {
        *self.state() = State::default();
        self.changed.notify_all();
    }

    pub fn is_killed(&self) -> bool {
        self.state().is_killed
    }

    /// Interrupts the machine until the command is over.
    pub fn kill(&self) {
        let mut state = self.state();
        state.is_killed = state.runs;
        self.changed.notify_all();
        while state.is_killed {
            let handle = state.handle.clone();
            drop(state);
            if let Some(handle) = handle {
                handle.kill();
            }
            let waited = self.changed.wait_timeout(self.state(), INSIST);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Bytes for its stdin.
    pub fn give(&self, bytes: Vec<u8>) {
        self.state().stdin.extend(bytes);
        self.changed.notify_all();
    }

    /// There will be no more.
    pub fn end_stdin(&self) {
        self.state().is_stdin_over = true;
        self.changed.notify_all();
    }

    /// Takes at most so many bytes, for which it may wait so long; `None` at the end.
    pub fn take(&self, most: usize, wait: Duration) -> Option<Vec<u8>> {
        let is_nothing =
            |state: &mut State| state.stdin.is_empty() && !state.is_stdin_over && !state.is_killed;
        let waited = self.changed.wait_timeout_while(self.state(), wait, is_nothing);
        let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let count = state.stdin.len().min(most);
        let taken: Vec<u8> = state.stdin.drain(..count).collect();
        (!taken.is_empty() || !state.is_stdin_over).then_some(taken)
    }

    /// The machine says that the program has been executed, which is passed on once.
    pub fn begin(&self) -> io::Result<()> {
        let is_first = !std::mem::replace(&mut self.state().has_started, true);
        if is_first { self.say(&News::Started) } else { Ok(()) }
    }

    /// Passes on what a command does with its streams. It has begun by that: a module may do it while its instance is made.
    pub fn pass_on(&self, news: &News) -> io::Result<()> {
        self.begin()?;
        self.say(news)
    }

    pub fn has_started(&self) -> bool {
        self.state().has_started
    }
}
