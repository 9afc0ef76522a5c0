//! Who is inside of something that may be closed: for those who wait until nobody is left.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts what is inside. A gate within another one counts for both.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    inside: AtomicUsize,
    closed: AtomicBool,
    changed: Notify,
    outer: Option<Arc<Gate>>,
}

/// One that is inside, until it is dropped.
#[derive(Debug)]
pub(crate) struct Inside {
    gate: Arc<Gate>,
}

impl Gate {
    /// A gate within this one.
    pub(crate) fn within(outer: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { outer: Some(Arc::clone(outer)), ..Self::default() })
    }

    /// Counts one more. Whether the gate is closed is for the one who enters to look at.
    pub(crate) fn enter(self: &Arc<Self>) -> Inside {
        self.with_outer(|gate| {
            gate.inside.fetch_add(1, Ordering::AcqRel);
        });
        Inside { gate: Arc::clone(self) }
    }

    /// Tells everybody inside to leave.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Waits until it is closed.
    pub(crate) async fn closed(&self) {
        self.until(Self::is_closed).await;
    }

    /// Waits until nobody is inside.
    pub(crate) async fn empty(&self) {
        self.until(|gate| gate.inside.load(Ordering::Acquire) == 0).await;
    }

    async fn until(&self, holds: impl Fn(&Self) -> bool) {
        loop {
            // First listens, then looks: nothing that happens in between is missed.
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if holds(self) {
                return;
            }
            changed.await;
        }
    }

    fn with_outer(&self, each: impl Fn(&Self)) {
        let mut next = Some(self);
        while let Some(gate) = next {
            each(gate);
            next = gate.outer.as_deref();
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gate.with_outer(|gate| {
            if gate.inside.fetch_sub(1, Ordering::AcqRel) == 1 {
                gate.changed.notify_waiters();
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn is_empty(gate: &Gate) -> bool {
        timeout(Duration::from_millis(1), gate.empty()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_within_an_inner_gate_is_within_the_outer_one() {
        let outer = Arc::new(Gate::default());
        let inner = Gate::within(&outer);
        let inside = inner.enter();
        assert!(!is_empty(&outer).await && !is_empty(&inner).await);
        drop(inside);
        assert!(is_empty(&outer).await && is_empty(&inner).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_one_to_leave_wakes_those_who_wait() {
        let gate = Arc::new(Gate::default());
        let (one, other) = (gate.enter(), gate.enter());
        let waits = tokio::spawn({
            let gate = gate.clone();
            async move { gate.empty().await }
        });
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        drop(other);
        waits.await.expect("woken");
    }
}
