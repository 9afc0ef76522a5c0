//! What to boot next, decided from numbers alone.

use std::cmp::Reverse;

use tokio::time::Instant;

/// One key, as far as it matters for this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct View {
    /// How many there should be.
    pub(crate) target: usize,
    /// How many lie ready.
    pub(crate) ready: usize,
    /// How many are being booted.
    pub(crate) booting: usize,
    /// How many may be booted at once: fewer after failures.
    pub(crate) boots_max: usize,
    /// Memory of one more.
    pub(crate) bytes_each: u64,
    /// Memory of those that are there and those that are booting.
    pub(crate) bytes: u64,
    /// When somebody asked for it last.
    pub(crate) used: Instant,
}

/// What limits all keys together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Boots that may be begun now.
    pub(crate) boots: usize,
    pub(crate) warm_max: usize,
    pub(crate) memory_max_bytes: u64,
}

impl View {
    fn present(&self) -> usize {
        self.ready + self.booting
    }

    /// Whether half of what there should be lies ready.
    pub(crate) fn is_half_full(&self) -> bool {
        self.ready >= self.target.div_ceil(2)
    }

    fn wants_one(&self) -> bool {
        self.present() < self.target && self.booting < self.boots_max
    }
}

/// For which keys to boot one sandbox, in this order; a key may come more than once. The key that has the
/// fewest comes first, and of these the one that was asked for last.
pub(crate) fn choose(mut views: Vec<View>, limits: Limits) -> Vec<usize> {
    let mut chosen = Vec::new();
    let mut present: usize = views.iter().map(View::present).sum();
    let mut bytes: u64 = views.iter().map(|view| view.bytes).sum();
    while chosen.len() < limits.boots && present < limits.warm_max {
        let room = limits.memory_max_bytes.saturating_sub(bytes);
        let fits = |view: &View| view.wants_one() && view.bytes_each <= room;
        let next = views.iter().enumerate().filter(|(_, view)| fits(view));
        let Some((at, _)) = next.min_by_key(|(_, view)| (view.present(), Reverse(view.used))) else { break };
        views[at].booting += 1;
        present += 1;
        bytes += views[at].bytes_each;
        chosen.push(at);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::time::Duration;

    use super::*;

    const PLENTY: Limits = Limits { boots: 100, warm_max: 100, memory_max_bytes: 1000 };

    /// A key that was asked for at the same moment as all others.
    fn view(target: usize, ready: usize) -> View {
        static NOW: OnceLock<Instant> = OnceLock::new();
        let (booting, boots_max, bytes_each) = (0, usize::MAX, 10);
        View { target, ready, booting, boots_max, bytes_each, bytes: 0, used: *NOW.get_or_init(Instant::now) }
    }

    #[test]
    fn every_key_is_filled_up_to_its_target_and_the_emptiest_first() {
        assert_eq!(choose(vec![view(3, 1), view(2, 0), view(1, 1)], PLENTY), [1, 0, 1, 0]);
    }

    #[test]
    fn of_equals_the_one_asked_for_last_comes_first() {
        let earlier = view(1, 0);
        let later = View { used: earlier.used + Duration::from_secs(1), ..earlier };
        assert_eq!(choose(vec![earlier, later], PLENTY), [1, 0]);
    }

    #[test]
    fn what_is_booting_counts_as_being_there() {
        assert_eq!(choose(vec![View { booting: 2, ..view(3, 0) }], PLENTY), [0]);
    }

    #[test]
    fn no_limit_is_passed() {
        let all = || vec![view(8, 0), view(8, 0)];
        assert_eq!(choose(all(), Limits { boots: 3, ..PLENTY }).len(), 3);
        assert_eq!(choose(all(), Limits { warm_max: 5, ..PLENTY }).len(), 5);
        assert_eq!(choose(all(), Limits { memory_max_bytes: 49, ..PLENTY }).len(), 4);
        assert_eq!(choose(vec![View { boots_max: 1, ..view(8, 0) }], PLENTY).len(), 1);
    }

    #[test]
    fn a_key_that_does_not_fit_is_passed_over_for_one_that_does() {
        let large = View { bytes_each: 600, bytes: 600, ..view(2, 1) };
        assert_eq!(choose(vec![large, view(2, 1)], PLENTY), [1]);
    }
}
