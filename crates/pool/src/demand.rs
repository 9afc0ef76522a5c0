//! How many warm sandboxes are wanted, as far as the past can tell.
//!
//! The rule: a pool must hold what is asked for while one boot takes its time, the *lead*. So the demand
//! at a moment is the number of requests during the lead before it, and the demand to be ready for is
//! its peak over this window of time and the one before. A burst is thus answered at its first request
//! and forgotten after two quiet windows.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Requests for sandboxes of one key.
#[derive(Debug)]
pub(crate) struct Demand {
    /// Requests of the last lead, no more than anybody wants to know of.
    recent: VecDeque<Instant>,
    peak: usize,
    peak_before: usize,
    window_began: Instant,
}

impl Demand {
    pub(crate) fn new(now: Instant) -> Self {
        Self { recent: VecDeque::new(), peak: 0, peak_before: 0, window_began: now }
    }

    /// One more request. More than `most` at once count as `most`.
    pub(crate) fn request(&mut self, now: Instant, lead: Duration, most: usize) {
        self.recent.push_back(now);
        while self.recent.front().is_some_and(|first| now.duration_since(*first) > lead) {
            self.recent.pop_front();
        }
        while self.recent.len() > most {
            self.recent.pop_front();
        }
        self.peak = self.peak.max(self.recent.len());
    }

    /// The peak of this window of time and of the one before.
    pub(crate) fn peak(&mut self, now: Instant, window: Duration) -> usize {
        let passed = now.duration_since(self.window_began);
        if passed >= window {
            self.peak_before = if passed < window * 2 { self.peak } else { 0 };
            self.peak = 0;
            self.window_began = now;
        }
        self.peak.max(self.peak_before)
    }

    /// When the peak may fall next.
    pub(crate) fn falls_at(&self, window: Duration) -> Instant {
        self.window_began + window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAD: Duration = Duration::from_millis(100);
    const WINDOW: Duration = Duration::from_secs(60);

    #[test]
    fn requests_within_one_lead_add_up_and_others_do_not() {
        let begin = Instant::now();
        let mut demand = Demand::new(begin);
        for number in 0..5 {
            demand.request(begin + LEAD / 10 * number, LEAD, 8);
        }
        assert_eq!(demand.peak(begin, WINDOW), 5);
        let mut demand = Demand::new(begin);
        for number in 0..5 {
            demand.request(begin + LEAD * 2 * number, LEAD, 8);
        }
        assert_eq!(demand.peak(begin, WINDOW), 1);
    }

    #[test]
    fn a_flood_is_remembered_as_the_most_that_counts() {
        let begin = Instant::now();
        let mut demand = Demand::new(begin);
        (0..100_000).for_each(|_| demand.request(begin, LEAD, 8));
        assert_eq!((demand.peak(begin, WINDOW), demand.recent.len()), (8, 8));
        demand.request(begin, LEAD, 0);
        assert_eq!((demand.peak(begin, WINDOW), demand.recent.len()), (8, 0));
    }

    #[test]
    fn a_burst_is_remembered_for_one_window_and_forgotten_after_two() {
        let begin = Instant::now();
        let mut demand = Demand::new(begin);
        (0..5).for_each(|_| demand.request(begin, LEAD, 8));
        assert_eq!(demand.peak(begin + WINDOW / 2, WINDOW), 5);
        let next = demand.falls_at(WINDOW);
        assert_eq!((next, demand.peak(next, WINDOW)), (begin + WINDOW, 5));
        demand.request(next, LEAD, 8);
        assert_eq!(demand.peak(demand.falls_at(WINDOW), WINDOW), 1);
        assert_eq!(demand.peak(demand.falls_at(WINDOW), WINDOW), 0);
    }

    #[test]
    fn a_long_silence_counts_at_once() {
        let begin = Instant::now();
        let mut demand = Demand::new(begin);
        demand.request(begin, LEAD, 8);
        assert_eq!(demand.peak(begin + WINDOW * 3, WINDOW), 0);
    }
}
