//! What a pool tells of itself, ready to be written as JSON.

use serde::Serialize;

use crate::circuit::CircuitState;

/// A pool at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PoolStats {
    /// Sandboxes that wait for a tenant.
    pub warm: usize,
    /// Sandboxes that will.
    pub booting: usize,
    /// The most that both together may be.
    pub warm_max: usize,
    /// Memory promised to both.
    pub memory_promised_bytes: u64,
    /// The most that it may be.
    pub memory_max_bytes: u64,
    /// Whether nothing is booted before somebody asks for it, because the host has too little memory left.
    pub short_of_memory: bool,
    /// All keys together, those that are gone included.
    pub total: Counts,
    /// Each key, by name.
    pub keys: Vec<KeyStats>,
}

/// One key of a pool at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyStats {
    /// The key in words.
    pub key: String,
    /// Sandboxes that wait for a tenant.
    pub warm: usize,
    /// Sandboxes that will.
    pub booting: usize,
    /// How many there should be now.
    pub target: usize,
    /// The least that the target may be.
    pub target_low: usize,
    /// The most that the target may be.
    pub target_high: usize,
    /// Memory promised to them.
    pub memory_promised_bytes: u64,
    /// Whether refills work.
    pub circuit: CircuitState,
    /// Refills that failed, or whose sandboxes never answered, since the last that did not.
    pub failures_in_a_row: u32,
    /// How long until a refill is tried again.
    pub retry_in_ms: Option<u64>,
    /// What has happened.
    #[serde(flatten)]
    pub counts: Counts,
}

/// What has happened since the beginning. Percentiles are of the last 256 times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Leases, warm and cold.
    pub leased: u64,
    /// Leases of warm sandboxes.
    pub hits: u64,
    /// Leases of sandboxes that had to be booted for it.
    pub misses: u64,
    /// Sandboxes that became nobody's.
    pub discarded: Discarded,
    /// Boots that failed, for the shelf or for somebody who waited.
    pub boot_failures: u64,
    /// Sandboxes of which something may be left on the host.
    pub stop_failures: u64,
    /// The last of either, or the end of the last sandbox that never answered.
    pub last_error: Option<String>,
    /// From the request until a warm sandbox was leased.
    pub acquire_p50_ns: Option<u64>,
    /// The same for 99 of 100.
    pub acquire_p99_ns: Option<u64>,
    /// From the beginning of a boot until exec worked.
    pub boot_p50_ns: Option<u64>,
    /// The same for 99 of 100.
    pub boot_p99_ns: Option<u64>,
}

/// Why a warm sandbox became nobody's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Discard {
    Aged,
    Unhealthy,
    Died,
    Evicted,
    Drained,
    Surplus,
}

impl Discard {
    pub(crate) const ALL: [Self; 6] =
        [Self::Aged, Self::Unhealthy, Self::Died, Self::Evicted, Self::Drained, Self::Surplus];
}

/// How many warm sandboxes became nobody's, and why.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Discarded {
    /// They waited for too long.
    pub aged: u64,
    /// They did not answer, or could not be resized.
    pub unhealthy: u64,
    /// They ended by themselves.
    pub died: u64,
    /// Another key needed the room.
    pub evicted: u64,
    /// Somebody asked for it.
    pub drained: u64,
    /// The target fell.
    pub surplus: u64,
}

impl Discarded {
    pub(crate) fn by_cause(count: impl Fn(Discard) -> u64) -> Self {
        Self {
            aged: count(Discard::Aged),
            unhealthy: count(Discard::Unhealthy),
            died: count(Discard::Died),
            evicted: count(Discard::Evicted),
            drained: count(Discard::Drained),
            surplus: count(Discard::Surplus),
        }
    }

    /// All of them.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.aged + self.unhealthy + self.died + self.evicted + self.drained + self.surplus
    }
}
