//! Where the time of one run went.

use std::time::Duration;

/// Time by phase. A phase that a backend cannot see is `None`, never zero. The phases and the
/// residual sum up to the total exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Phases {
    /// Waiting for a turn.
    pub queue: Option<Duration>,
    /// Taking a warm sandbox from a pool.
    pub acquire: Option<Duration>,
    /// Building the boundary, until its first process runs.
    pub boot: Option<Duration>,
    /// From there until the guest agent has answered and the posture is proven.
    pub ready: Option<Duration>,
    /// From the request to run the command until its last byte and exit status are here.
    pub exec: Option<Duration>,
    /// Taking everything down until nothing is left on the host.
    pub stop: Option<Duration>,
    /// The whole, measured by itself.
    pub total: Duration,
}

impl Phases {
    /// The phases in order, by name.
    #[must_use]
    pub fn named(&self) -> [(&'static str, Option<Duration>); 6] {
        [
            ("queue", self.queue),
            ("acquire", self.acquire),
            ("boot", self.boot),
            ("ready", self.ready),
            ("exec", self.exec),
            ("stop", self.stop),
        ]
    }

    /// The part of the total that belongs to no phase.
    #[must_use]
    pub fn residual(&self) -> Duration {
        let known: Duration = self.named().iter().filter_map(|(_, time)| *time).sum();
        self.total.saturating_sub(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_and_residual_sum_up_to_the_total() {
        let phases = Phases {
            boot: Some(Duration::from_millis(5)),
            exec: Some(Duration::from_millis(2)),
            total: Duration::from_millis(9),
            ..Phases::default()
        };
        let sum: Duration = phases.named().iter().filter_map(|(_, time)| *time).sum();
        assert_eq!(sum + phases.residual(), phases.total);
    }
}
