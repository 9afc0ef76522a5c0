//! The clock of the engine: how often a module that computes gives the processor back.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use wasmtime::{Engine, EngineWeak};

/// Time between two epochs: how long a module computes at a stretch, and how late its deadline may be noticed.
const TICK: Duration = Duration::from_millis(1);

/// Counts the engine's epochs while something runs, and sleeps while nothing does.
pub(crate) struct Ticker {
    running: Arc<AtomicUsize>,
    thread: Thread,
}

/// Something that runs.
pub(crate) struct Running(Arc<AtomicUsize>);

impl Ticker {
    /// Begins to count. The thread ends with the ticker.
    pub(crate) fn start(engine: &Engine) -> Result<Self> {
        let running = Arc::new(AtomicUsize::new(0));
        let (engine, watched) = (engine.weak(), Arc::downgrade(&running));
        let spawned =
            thread::Builder::new().name("wasm-epochs".into()).spawn(move || count(&engine, &watched));
        let thread = spawned.map_err(|why| Error::new(ErrorKind::Host, "start a thread", why))?;
        Ok(Self { running, thread: thread.thread().clone() })
    }

    /// Counts for as long as the value lives.
    pub(crate) fn run(&self) -> Running {
        if self.running.fetch_add(1, Ordering::AcqRel) == 0 {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.running))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.running = Arc::default();
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn count(engine: &EngineWeak, running: &Weak<AtomicUsize>) {
    while let (Some(engine), Some(running)) = (engine.upgrade(), running.upgrade()) {
        let is_busy = running.load(Ordering::Acquire) > 0;
        drop(running);
        if is_busy {
            engine.increment_epoch();
        }
        drop(engine);
        if is_busy {
            thread::park_timeout(TICK);
        } else {
            thread::park();
        }
    }
}
