//! Processor time: how much the commands of a sandbox use, and on how many processors at once.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use agentkernel_core::Usage;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

/// A stretch of work that is no longer is counted by the clock: to ask the kernel for a thread's time twice takes as long as
/// half a call of a small function (0.6 µs of 1.3, measured). Far below the scheduler's slice, so that few that short are interrupted.
const SHORT: Duration = Duration::from_micros(100);

/// Nanoseconds that were used, for one command and for its sandbox.
pub(crate) type Meters = [Arc<AtomicU64>; 2];

/// The right to one processor, once it is free.
type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

/// A future that is driven only while its sandbox has a processor left, and whose time is counted.
pub(crate) struct Metered<F> {
    future: Pin<Box<F>>,
    processors: Arc<Semaphore>,
    turn: Option<Turn>,
    meters: Meters,
}

impl<F: Future> Metered<F> {
    pub(crate) fn new(future: F, processors: &Arc<Semaphore>, meters: Meters) -> Self {
        Self { future: Box::pin(future), processors: Arc::clone(processors), turn: None, meters }
    }

    /// A processor for one stretch of work.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Option<OwnedSemaphorePermit>> {
        if self.turn.is_none()
            && let Ok(permit) = Arc::clone(&self.processors).try_acquire_owned()
        {
            return Poll::Ready(Some(permit));
        }
        let turn = self.turn.get_or_insert_with(|| Box::pin(Arc::clone(&self.processors).acquire_owned()));
        let turn = turn.as_mut().poll(context).map(Result::ok);
        if turn.is_ready() {
            self.turn = None;
        }
        turn
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Poll::Ready(turn) = self.turn(context) else { return Poll::Pending };
        let began = Instant::now();
        let polled = self.future.as_mut().poll(context);
        let used = used_in(began.elapsed());
        let used_ns = u64::try_from(used.as_nanos()).unwrap_or(u64::MAX);
        for meter in &self.meters {
            meter.fetch_add(used_ns, Ordering::Relaxed);
        }
        drop(turn);
        polled
    }
}

/// What an instance has used that had so much memory and began then. The kernel's time is not told apart.
pub(crate) fn usage(used_ns: &AtomicU64, memory_bytes: usize, began: Instant) -> Usage {
    let user = Duration::from_nanos(used_ns.load(Ordering::Relaxed));
    Usage { user, system: Duration::ZERO, max_rss_kib: memory_bytes as u64 >> 10, wall: began.elapsed() }
}

/// What this thread has been seen to use.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// All of its time, when it was last asked for.
    whole: Duration,
    /// What was counted since then.
    counted: Duration,
}

/// The processor time of a stretch of work of this thread that took so long and has just ended: never less than it was, and
/// never more than the stretch took. What the thread did since it was last asked, and nobody counted, is taken for part of it.
fn used_in(took: Duration) -> Duration {
    thread_local!(static SEEN: Cell<Seen> = Cell::default());
    let seen = SEEN.get();
    if took <= SHORT {
        SEEN.set(Seen { counted: seen.counted + took, ..seen });
        return took;
    }
    let whole = thread_time();
    SEEN.set(Seen { whole, counted: Duration::ZERO });
    took.min(whole.saturating_sub(seen.whole).saturating_sub(seen.counted))
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::thread::{park_timeout, spawn};

    use super::*;

    /// What a stretch of work used, and how long it took.
    fn stretch(work: impl Fn()) -> (Duration, Duration) {
        let began = Instant::now();
        work();
        let took = began.elapsed();
        (used_in(took), took)
    }

    #[test]
    fn work_is_counted_and_waiting_is_not() {
        let compute = || {
            let before = thread_time();
            while thread_time() < before + Duration::from_millis(5) {}
        };
        let wait = || park_timeout(Duration::from_millis(30));
        let counted = spawn(move || {
            // What was done before a first stretch is not more than that stretch took.
            compute();
            let first = stretch(wait);
            (first, stretch(wait), stretch(compute), stretch(|| {}))
        });
        let (first, waited, computed, short) = counted.join().expect("no panic");
        assert!(first.0 >= Duration::from_millis(5) && first.0 < Duration::from_millis(25), "{first:?}");
        assert!(waited.0 < Duration::from_millis(5), "{waited:?}");
        assert!(computed.0 >= Duration::from_millis(5) && computed.0 <= computed.1, "{computed:?}");
        assert!(short.0 <= short.1.min(SHORT), "{short:?}");
    }
}
