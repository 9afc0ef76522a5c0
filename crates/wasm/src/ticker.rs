//! The clock of the engine: how often a module that computes gives the processor back.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use wasmtime::{Engine, EngineWeak};

/// Time between two epochs: how long a module computes at a stretch, and how late its deadline may be noticed.
const TICK: Duration = Duration::from_millis(1);

/// Ticks for which it goes on after the last module has ended: to wake a thread takes longer than most calls.
const LINGER: u32 = 50;

/// Counts the engine's epochs while something runs, and sleeps while nothing does.
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Default)]
struct State {
    running: AtomicUsize,
    is_awake: AtomicBool,
}

/// Something that runs.
pub(crate) struct Running(Arc<State>);

impl Ticker {
    /// Begins to count. The thread ends with the ticker.
    pub(crate) fn start(engine: &Engine) -> Result<Self> {
        let state = Arc::new(State::default());
        let (engine, watched) = (engine.weak(), Arc::downgrade(&state));
        let spawned =
            thread::Builder::new().name("wasm-epochs".into()).spawn(move || count(&engine, &watched));
        let thread = spawned.map_err(|why| Error::new(ErrorKind::Host, "start a thread", why))?;
        Ok(Self { state, thread: thread.thread().clone() })
    }

    /// Counts for as long as the value lives.
    pub(crate) fn run(&self) -> Running {
        self.state.running.fetch_add(1, Ordering::SeqCst);
        if !self.state.is_awake.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.state))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state = Arc::default();
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::SeqCst);
    }
}

fn count(engine: &EngineWeak, state: &Weak<State>) {
    let mut idle = 0;
    while let (Some(engine), Some(state)) = (engine.upgrade(), state.upgrade()) {
        if state.running.load(Ordering::SeqCst) > 0 {
            idle = 0;
            engine.increment_epoch();
        } else {
            idle += 1;
        }
        let may_sleep = idle > LINGER && state.may_sleep();
        drop((engine, state));
        if may_sleep {
            thread::park();
            idle = 0;
        } else {
            thread::park_timeout(TICK);
        }
    }
}

impl State {
    /// Whether it may sleep until it is woken. Whoever begins after the question wakes it; whoever began before is seen.
    fn may_sleep(&self) -> bool {
        self.is_awake.store(false, Ordering::SeqCst);
        self.running.load(Ordering::SeqCst) == 0
    }
}
