//! Which clock says what.
//!
//! Time that decides is monotonic: nobody can set that clock, so that no sandbox dies, or lives on, because somebody
//! set the wall clock. The wall clock is for display alone. Across a restart of the daemon a deadline is kept as a
//! reading of the monotonic clock together with the id of the host's boot: that clock goes on from process to process
//! until the host is booted anew, and then no sandbox lives any more.

#[cfg(test)]
mod jumps;

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::time::{ClockId, clock_gettime};
use tokio::time::Instant;

/// A deadline as it is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDeadline {
    /// Reading of the monotonic clock, in nanoseconds.
    pub monotonic_ns: u64,
    /// Of which boot of the host.
    pub boot_id: String,
}

impl StoredDeadline {
    /// A deadline so long from now.
    pub fn after(remaining: Duration) -> Self {
        Self { monotonic_ns: now_ns().saturating_add(nanoseconds(remaining)), boot_id: boot_id() }
    }

    /// How long it still is.
    pub fn remaining(&self) -> Duration {
        self.remaining_at(now_ns(), &boot_id())
    }

    /// A pure function of two clocks that nobody can set.
    fn remaining_at(&self, now_ns: u64, boot_id: &str) -> Duration {
        if self.boot_id == boot_id {
            Duration::from_nanos(self.monotonic_ns.saturating_sub(now_ns))
        } else {
            Duration::ZERO
        }
    }
}

/// Milliseconds since 1970, for display.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let wall_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    #[cfg(test)]
    let wall_ms = jumps::jumped(wall_ms);
    wall_ms
}

/// The same for a moment to come.
pub fn wall_ms_at(moment: Instant) -> u64 {
    wall_ms().saturating_add(milliseconds(moment.saturating_duration_since(Instant::now())))
}

/// Whole nanoseconds.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Whole milliseconds.
pub fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, rest) = (now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs());
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Where there is none, every process is a boot of its own, which ends what cannot be judged.
fn boot_id() -> String {
    let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
    read.map_or_else(|_| format!("process {}", std::process::id()), |id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_depends_on_the_monotonic_clock_alone() {
        let deadline = StoredDeadline { monotonic_ns: 10_000, boot_id: "a".into() };
        assert_eq!(deadline.remaining_at(4_000, "a"), Duration::from_nanos(6_000));
        assert_eq!(deadline.remaining_at(10_000, "a"), Duration::ZERO);
        assert_eq!(deadline.remaining_at(u64::MAX, "a"), Duration::ZERO);
    }

    #[test]
    fn another_boot_of_the_host_leaves_no_time() {
        let deadline = StoredDeadline { monotonic_ns: u64::MAX, boot_id: "a".into() };
        assert_eq!(deadline.remaining_at(0, "b"), Duration::ZERO);
    }

    #[test]
    fn a_deadline_that_was_just_written_down_is_as_long_as_it_was() {
        let remaining = StoredDeadline::after(Duration::from_secs(60)).remaining();
        assert!(remaining > Duration::from_secs(59) && remaining <= Duration::from_secs(60));
    }
}
