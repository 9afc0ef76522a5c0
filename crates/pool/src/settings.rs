//! The limits of a pool, and the one home of their defaults.

use std::num::NonZero;
use std::ops::RangeInclusive;
use std::thread::available_parallelism;
use std::time::Duration;

use agentkernel_core::{ByteSize, Error, ErrorKind, Result};

/// How a pool behaves. Every number is the most, or the longest, that there is.
#[derive(Debug, Clone)]
pub struct PoolSettings {
    /// Between how many warm sandboxes the target of a key moves, unless
    /// [`Pool::set_target`](crate::Pool::set_target) says otherwise. From 0: what nobody asks for any
    /// more is not kept.
    pub target: RangeInclusive<usize>,
    /// Warm sandboxes of all keys together, those that are booting included.
    pub warm_max: usize,
    /// Memory promised to all of these together. What has been leased is no longer counted, nor what is
    /// being stopped.
    pub memory_max: ByteSize,
    /// What the host has left, if it tells.
    pub memory_left: fn() -> Option<ByteSize>,
    /// As long as the host has less left, nothing is booted before somebody asks for it.
    pub memory_reserve: ByteSize,
    /// How soon is looked again whether it has.
    pub memory_wait: Duration,
    /// Keys; the one that was asked for longest ago makes room for a new one.
    pub keys_max: usize,
    /// Whether specs with mounts are pooled.
    pub mounts: bool,

    /// Refills at once. Each cold boot under way takes the place of one, but one refill always goes on.
    pub refills_max: usize,
    /// How long a refill waits after the last lease, as long as half of the target lies ready: the boot of a sandbox works
    /// as much as three short commands, and would take the processors from those that have just begun. A burst is so
    /// answered from what is there, and replenished when it is over or has taken half.
    pub refill_pause: Duration,
    /// The longest that a refill waits so where less than half lies ready, and the longest that it waits for the time of a boot.
    pub refill_pause_max: Duration,
    /// Cold boots at once; others queue.
    pub colds_max: usize,
    /// How long a request may queue for a cold boot.
    pub queue_wait_max: Duration,
    /// How long a boot may take.
    pub boot_deadline: Duration,
    /// How long it may take to stop a sandbox of the pool.
    pub stop_deadline: Duration,

    /// How old a warm sandbox may become. A quarter of it is left to chance.
    pub age_max: Duration,
    /// How often a warm sandbox is pinged.
    pub check_interval: Duration,
    /// How long it may take to answer, and to be resized.
    pub check_deadline: Duration,
    /// A sandbox that has answered so recently is leased without being asked again.
    pub checked_within: Duration,

    /// For how long a burst is remembered: at least this long, at most twice.
    pub demand_window: Duration,
    /// Requests that come together within this time, or within that of a boot, make one burst.
    pub lead_min: Duration,

    /// How long to wait after the first failure of a refill; each further one doubles it.
    pub backoff_min: Duration,
    /// The longest such wait.
    pub backoff_max: Duration,
    /// So many failures in a row open the circuit. A sandbox that ends before it was asked for the first
    /// time, or does not answer then, is one of them.
    pub circuit_failures: u32,
}

impl Default for PoolSettings {
    fn default() -> Self {
        let cores = available_parallelism().map_or(1, NonZero::get);
        Self {
            target: 0..=8,
            warm_max: 64,
            memory_max: ByteSize::mib(8192),
            memory_left: || None,
            memory_reserve: ByteSize::mib(512),
            memory_wait: Duration::from_secs(1),
            keys_max: 16,
            mounts: false,
            refills_max: cores,
            // A command of a warm sandbox takes 2 to 6 ms from the lease to its client's end (BENCHMARKS.md).
            refill_pause: Duration::from_millis(10),
            // Two boots of a slow engine (BENCHMARKS.md).
            refill_pause_max: Duration::from_millis(300),
            // Booting is more waiting than work; beyond this it only gets slower for all.
            colds_max: 4 * cores,
            queue_wait_max: Duration::from_secs(30),
            boot_deadline: Duration::from_secs(60),
            stop_deadline: Duration::from_secs(30),
            age_max: Duration::from_secs(600),
            check_interval: Duration::from_secs(5),
            // A busy host answers late, and is no reason to boot more.
            check_deadline: Duration::from_secs(3),
            // One missed check is a busy host, two are a reason to ask.
            checked_within: Duration::from_secs(12),
            demand_window: Duration::from_secs(60),
            lead_min: Duration::from_millis(250),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(60),
            circuit_failures: 3,
        }
    }
}

impl PoolSettings {
    /// That they make sense.
    pub(crate) fn check(&self) -> Result<()> {
        let counts =
            [("keys_max", self.keys_max), ("refills_max", self.refills_max), ("colds_max", self.colds_max)];
        let times = [
            ("queue_wait_max", self.queue_wait_max),
            ("boot_deadline", self.boot_deadline),
            ("stop_deadline", self.stop_deadline),
            ("age_max", self.age_max),
            ("check_interval", self.check_interval),
            ("check_deadline", self.check_deadline),
            ("demand_window", self.demand_window),
            ("backoff_min", self.backoff_min),
        ];
        let zero = counts.iter().filter(|(_, count)| *count == 0).map(|(name, _)| name);
        if let Some(name) =
            zero.chain(times.iter().filter(|(_, time)| time.is_zero()).map(|(name, _)| name)).next()
        {
            return Err(refused(name, "it cannot be zero"));
        }
        check_target(&self.target)
    }
}

/// That a target has a low that is not above its high.
pub(crate) fn check_target(target: &RangeInclusive<usize>) -> Result<()> {
    if target.is_empty() { Err(refused("target", "its low is above its high")) } else { Ok(()) }
}

fn refused(setting: &str, why: &str) -> Error {
    Error::new(ErrorKind::Usage, "set up the pool", why).on(setting)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense_and_nonsense_is_refused_by_name() {
        assert_eq!(PoolSettings::default().check(), Ok(()));
        let refused = |settings: PoolSettings| settings.check().expect_err("refused").subject;
        let settings = PoolSettings::default;
        assert_eq!(refused(PoolSettings { colds_max: 0, ..settings() }), "colds_max");
        assert_eq!(refused(PoolSettings { age_max: Duration::ZERO, ..settings() }), "age_max");
        #[expect(clippy::reversed_empty_ranges, reason = "this is the nonsense")]
        let target = 2..=1;
        assert_eq!(refused(PoolSettings { target, ..settings() }), "target");
    }
}
