//! Processor time: how much the commands of a sandbox use, and on how many processors at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use agentkernel_core::Usage;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

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
        let began = thread_time();
        let polled = self.future.as_mut().poll(context);
        let used = thread_time().saturating_sub(began);
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

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}
