//! What to do after failures: wait longer each time, and say so when it looks hopeless.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::random::jittered;
use crate::settings::PoolSettings;

/// Failures of refills of one key, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    failures: u32,
    /// Nothing is tried before.
    until: Option<Instant>,
    /// Sandboxes boot and do not last, so that a boot that works proves nothing.
    needs_proof: bool,
}

/// Whether refills of a key work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CircuitState {
    /// They do, as far as is known.
    Closed,
    /// They have failed so often that requests say so; one more is tried from time to time.
    Open,
}

impl Circuit {
    /// A boot worked.
    pub(crate) fn booted(&mut self) {
        if !self.needs_proof {
            *self = Self::default();
        }
    }

    /// A sandbox lasted until it was asked and answered, or until it was leased.
    pub(crate) fn proven(&mut self) {
        *self = Self::default();
    }

    /// A boot failed. Each failure doubles the wait, up to the longest.
    pub(crate) fn failed(&mut self, now: Instant, settings: &PoolSettings) {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let wait = settings.backoff_min.saturating_mul(factor).min(settings.backoff_max);
        self.until = Some(now + jittered(wait));
        self.failures = self.failures.saturating_add(1);
    }

    /// A boot worked, and its sandbox did not last: as bad as a boot that fails.
    pub(crate) fn did_not_last(&mut self, now: Instant, settings: &PoolSettings) {
        self.failed(now, settings);
        self.needs_proof = true;
    }

    /// How many may be booted at once: after a failure one alone has to show that it works again.
    pub(crate) fn boots_max(&self, now: Instant) -> usize {
        match self.until {
            None => usize::MAX,
            Some(until) => usize::from(now >= until),
        }
    }

    /// When the next may be tried, if that is not now.
    pub(crate) fn opens_at(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    pub(crate) fn state(&self, settings: &PoolSettings) -> CircuitState {
        if self.failures >= settings.circuit_failures { CircuitState::Open } else { CircuitState::Closed }
    }

    /// How long until the next is tried.
    pub(crate) fn retry_in(&self, now: Instant) -> Option<Duration> {
        self.opens_at(now).map(|until| until - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> PoolSettings {
        let (backoff_min, backoff_max) = (Duration::from_secs(1), Duration::from_secs(60));
        PoolSettings { backoff_min, backoff_max, circuit_failures: 3, ..PoolSettings::default() }
    }

    #[test]
    fn every_failure_doubles_the_wait_up_to_the_longest() {
        let (now, mut circuit) = (Instant::now(), Circuit::default());
        assert_eq!(circuit.boots_max(now), usize::MAX);
        for longest_s in [1, 2, 4, 8, 16, 32, 60, 60].into_iter().chain([60; 50]) {
            circuit.failed(now, &settings());
            let wait = circuit.retry_in(now).expect("it waits");
            let longest = Duration::from_secs(longest_s);
            assert!((longest * 3 / 4..=longest).contains(&wait), "{wait:?} where {longest:?} is the most");
            assert_eq!((circuit.boots_max(now), circuit.boots_max(now + wait)), (0, 1));
        }
        circuit.booted();
        assert_eq!((circuit.boots_max(now), circuit.failures()), (usize::MAX, 0));
    }

    #[test]
    fn it_opens_after_a_streak_and_closes_at_the_first_success() {
        let (now, mut circuit) = (Instant::now(), Circuit::default());
        let mut states = Vec::new();
        for _ in 0..3 {
            circuit.failed(now, &settings());
            states.push(circuit.state(&settings()));
        }
        assert_eq!(states, [CircuitState::Closed, CircuitState::Closed, CircuitState::Open]);
        circuit.booted();
        assert_eq!(circuit.state(&settings()), CircuitState::Closed);
    }

    #[test]
    fn where_sandboxes_do_not_last_a_boot_that_works_proves_nothing() {
        let (now, mut circuit) = (Instant::now(), Circuit::default());
        for failures in 1..=3 {
            circuit.booted();
            circuit.did_not_last(now, &settings());
            assert_eq!(circuit.failures(), failures);
        }
        circuit.proven();
        assert_eq!((circuit.failures(), circuit.boots_max(now)), (0, usize::MAX));
        circuit.failed(now, &settings());
        circuit.booted();
        assert_eq!(circuit.failures(), 0);
    }
}
