//! What a pool has done, counted without a lock: for one key, and for all together.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use agentkernel_core::Error;

use crate::slot::BootTimes;
use crate::stats::{Counts, Discard, Discarded};
use crate::sync::{Mutex, lock};

/// How many of the last times are kept.
const SAMPLES_MAX: usize = 256;

/// Counters of one key, which count for the whole pool as well.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    hits: AtomicU64,
    misses: AtomicU64,
    boot_failures: AtomicU64,
    stop_failures: AtomicU64,
    discarded: [AtomicU64; Discard::ALL.len()],
    acquires: Samples,
    boots: Samples,
    last_error: Mutex<Option<Error>>,
    whole: Option<Arc<Meter>>,
}

impl Meter {
    /// A meter of a part of the pool.
    pub(crate) fn part_of(whole: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { whole: Some(Arc::clone(whole)), ..Self::default() })
    }

    /// A warm sandbox was leased, after so long.
    pub(crate) fn hit(&self, acquire: Duration) {
        self.each(|meter| {
            meter.hits.fetch_add(1, Ordering::Relaxed);
            meter.acquires.add(acquire);
        });
    }

    /// A sandbox that was booted for it was leased.
    pub(crate) fn miss(&self) {
        self.each(|meter| {
            meter.misses.fetch_add(1, Ordering::Relaxed);
        });
    }

    pub(crate) fn booted(&self, times: BootTimes) {
        self.each(|meter| meter.boots.add(times.boot + times.ready));
    }

    pub(crate) fn boot_failed(&self, error: &Error) {
        self.each(|meter| {
            meter.boot_failures.fetch_add(1, Ordering::Relaxed);
        });
        self.lost(error);
    }

    pub(crate) fn stop_failed(&self, error: &Error) {
        self.each(|meter| {
            meter.stop_failures.fetch_add(1, Ordering::Relaxed);
        });
        self.lost(error);
    }

    /// A sandbox was lost so.
    pub(crate) fn lost(&self, error: &Error) {
        self.each(|meter| *lock(&meter.last_error) = Some(error.clone()));
    }

    pub(crate) fn discarded(&self, cause: Discard) {
        self.each(|meter| {
            meter.discarded[cause as usize].fetch_add(1, Ordering::Relaxed);
        });
    }

    /// How long nearly all boots take.
    pub(crate) fn boot_p99(&self) -> Option<Duration> {
        let [_, p99] = self.boots.percentiles_ns([50, 99]);
        p99.map(Duration::from_nanos)
    }

    /// How long a boot takes.
    pub(crate) fn boot_p50(&self) -> Option<Duration> {
        let [p50] = self.boots.percentiles_ns([50]);
        p50.map(Duration::from_nanos)
    }

    /// What has been counted.
    pub(crate) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (hits, misses) = (load(&self.hits), load(&self.misses));
        let [acquire_p50_ns, acquire_p99_ns] = self.acquires.percentiles_ns([50, 99]);
        let [boot_p50_ns, boot_p99_ns] = self.boots.percentiles_ns([50, 99]);
        Counts {
            leased: hits + misses,
            hits,
            misses,
            discarded: Discarded::by_cause(|cause| load(&self.discarded[cause as usize])),
            boot_failures: load(&self.boot_failures),
            stop_failures: load(&self.stop_failures),
            last_error: lock(&self.last_error).as_ref().map(ToString::to_string),
            acquire_p50_ns,
            acquire_p99_ns,
            boot_p50_ns,
            boot_p99_ns,
        }
    }

    fn each(&self, count: impl Fn(&Self)) {
        count(self);
        if let Some(whole) = &self.whole {
            count(whole);
        }
    }
}

/// The last times of something.
#[derive(Debug)]
struct Samples {
    times_ns: Box<[AtomicU64; SAMPLES_MAX]>,
    added: AtomicUsize,
}

impl Default for Samples {
    fn default() -> Self {
        let times_ns = Box::new([const { AtomicU64::new(0) }; SAMPLES_MAX]);
        Self { times_ns, added: AtomicUsize::new(0) }
    }
}

impl Samples {
    fn add(&self, time: Duration) {
        let at = self.added.fetch_add(1, Ordering::Relaxed) % SAMPLES_MAX;
        let time_ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.times_ns[at].store(time_ns, Ordering::Relaxed);
    }

    /// By nearest rank, over the times that are kept; `None` where there are none.
    fn percentiles_ns<const N: usize>(&self, percents: [usize; N]) -> [Option<u64>; N] {
        let count = self.added.load(Ordering::Relaxed).min(SAMPLES_MAX);
        let mut times: Vec<u64> =
            self.times_ns[..count].iter().map(|time| time.load(Ordering::Relaxed)).collect();
        times.sort_unstable();
        percents.map(|percent| times.get((count * percent).div_ceil(100).saturating_sub(1)).copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_times_by_nearest_rank() {
        let samples = Samples::default();
        assert_eq!(samples.percentiles_ns([50, 99]), [None, None]);
        samples.add(Duration::from_nanos(7));
        assert_eq!(samples.percentiles_ns([50, 99]), [Some(7), Some(7)]);
        (0..1000).for_each(|_| samples.add(Duration::from_secs(1000)));
        (1..=256).rev().for_each(|time_ns| samples.add(Duration::from_nanos(time_ns)));
        assert_eq!(samples.percentiles_ns([50, 99, 100]), [Some(128), Some(254), Some(256)]);
    }

    #[test]
    fn what_counts_for_a_key_counts_for_the_pool() {
        let whole = Arc::new(Meter::default());
        let (one, other) = (Meter::part_of(&whole), Meter::part_of(&whole));
        one.hit(Duration::from_nanos(5));
        other.miss();
        other.discarded(Discard::Died);
        assert_eq!((one.counts().leased, other.counts().leased, whole.counts().leased), (1, 1, 2));
        assert_eq!((one.counts().discarded.died, whole.counts().discarded.died), (0, 1));
    }
}
