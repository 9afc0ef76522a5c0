//! The one task of a pool that boots sandboxes before anybody asks for them.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::plan::{self, Limits};
use crate::pool::Shared;
use crate::settings::PoolSettings;
use crate::shelf::{Order, Snapshot};
use crate::slot::{Slot, Warm};

/// Replenishes shelves for as long as the pool lives: after each lease, each loss, each failure's wait.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut boots = JoinSet::new();
    loop {
        let now = Instant::now();
        let again = shared.refill(now, &mut boots);
        tokio::select! {
            () = shared.wake.notified() => shared.pause().await,
            Some(_) = boots.join_next() => {}
            () = until(again) => {}
        }
        while boots.try_join_next().is_some() {}
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => pending().await,
    }
}

impl Shared {
    /// Takes off the shelves what is too much, begins to boot what is missing, and tells when to look
    /// again if nothing happens until then.
    fn refill(self: &Arc<Self>, now: Instant, boots: &mut JoinSet<()>) -> Option<Instant> {
        let shelves = self.shelves.all();
        shelves.iter().for_each(|shelf| shelf.trim(now));
        let seen: Vec<Snapshot> = shelves.iter().map(|shelf| shelf.view(now)).collect();
        let views = seen.iter().map(|snapshot| snapshot.view).collect();
        let chosen = plan::choose(views, self.limits(boots.len()));
        let is_short = self.is_short_of_memory_for(&chosen);
        if !is_short {
            for at in chosen {
                if let Some(order) = shelves[at].order(seen[at].size) {
                    boots.spawn(Arc::clone(self).fill(order));
                }
            }
        }
        let looks_again = is_short.then(|| now + self.settings.memory_wait);
        seen.iter().filter_map(|snapshot| snapshot.changes).chain(looks_again).min()
    }

    /// Whether the host has too little memory left for what nobody has asked for yet, if there is something.
    fn is_short_of_memory_for(&self, chosen: &[usize]) -> bool {
        let PoolSettings { memory_left, memory_reserve, .. } = *self.settings;
        let is_short = !chosen.is_empty() && memory_left().is_some_and(|left| left < memory_reserve);
        if self.is_short.swap(is_short, Ordering::Relaxed) != is_short {
            let reserve_mib = memory_reserve.get() >> 20;
            if is_short {
                tracing::warn!(reserve_mib, "the host is short of memory: nothing is kept warm anew");
            } else {
                tracing::info!("nothing waits for the host's memory any more");
            }
        }
        is_short
    }

    /// Lets whoever has just leased a sandbox have the processors for himself: as long as there are enough left for those
    /// who come next, and where there are not, for two boots. So a burst that takes all is answered first, and who comes
    /// after it waits at most three times as long as he would have.
    async fn pause(&self) {
        let PoolSettings { refill_pause, refill_pause_max, .. } = *self.settings;
        let boot = self.meter.boot_p50().unwrap_or_default();
        let pause = refill_pause.max((boot / 2).min(refill_pause_max));
        let longest = Instant::now() + (boot * 2).min(refill_pause_max);
        let mut until = Instant::now() + pause;
        loop {
            let until_now = if self.are_half_full() { until } else { until.min(longest) };
            tokio::select! {
                biased;
                () = sleep_until(until_now) => return,
                () = self.wake.notified() => until = Instant::now() + pause,
            }
        }
    }

    fn are_half_full(&self) -> bool {
        self.shelves.all().iter().all(|shelf| shelf.view(Instant::now()).view.is_half_full())
    }

    /// Those who wait for a cold boot come first: each takes the place of one refill, but never of the last.
    fn limits(&self, boots: usize) -> Limits {
        let colds = self.settings.colds_max - self.colds.available_permits();
        Limits {
            boots: self.settings.refills_max.saturating_sub(colds).max(1).saturating_sub(boots),
            warm_max: self.settings.warm_max,
            memory_max_bytes: self.settings.memory_max.get(),
        }
    }

    async fn fill(self: Arc<Self>, order: Order) {
        match self.boot(&order).await {
            Ok(slot) => order.fill(slot),
            Err(error) => order.fail(&error),
        }
    }

    async fn boot(&self, order: &Order) -> Result<Slot<Warm>> {
        let (spec, inside) = (order.spec()?, order.shelf().gate.enter());
        let deadline = self.settings.boot_deadline;
        let boot = async {
            let slot = Slot::boot(&*self.backend, &spec, inside).await?;
            // Nobody waits for it: there is time for what the first command would be slow at.
            slot.sandbox().rehearse().await?;
            Ok(slot)
        };
        timeout(deadline, boot).await.unwrap_or_else(|_| Err(too_slow(deadline)))
    }
}

/// The error of a boot that was given up.
pub(crate) fn too_slow(deadline: Duration) -> Error {
    Error::new(
        ErrorKind::Boot,
        "start the sandbox",
        format!("it was not ready within {} s", deadline.as_secs()),
    )
}
