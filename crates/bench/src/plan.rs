//! What is measured, how often, and in which order: decided before anything is started.

use serde::Serialize;

use crate::random::Random;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// From spawn to exit, out of a root folder that was made a moment ago.
    ColdStart,
    /// From spawn to exit, out of a root folder that was used before.
    WarmStart,
    /// Of an idle sandbox: what all processes in its control group hold.
    Memory,
    /// An integer loop without system calls, timed inside.
    Cpu,
    /// A walk with a stat for every entry, timed inside.
    Walk,
}

impl Metric {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] = [Self::ColdStart, Self::WarmStart, Self::Memory, Self::Cpu, Self::Walk];

    /// For a person.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::ColdStart => "Cold start",
            Self::WarmStart => "Warm start",
            Self::Memory => "Memory per idle sandbox (PSS)",
            Self::Cpu => "CPU-bound loop",
            Self::Walk => "Syscall-bound walk",
        }
    }

    /// In which unit its samples count, as the end of a key.
    #[must_use]
    pub fn unit(self) -> &'static str {
        if self == Self::Memory { "bytes" } else { "ns" }
    }

    /// In the files.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::ColdStart => "cold_start",
            Self::WarmStart => "warm_start",
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Walk => "walk",
        }
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Plan {
    /// What is measured, one after the other.
    pub metrics: Vec<Metric>,
    /// Whom it is measured of; the last is the baseline of the others.
    pub targets: Vec<String>,
    /// Samples of each target and metric.
    pub iterations: u32,
    /// Samples before them that are thrown away.
    pub warm_ups: u32,
    /// Of every random decision.
    pub seed: u64,
}

/// One sample to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Of what.
    pub metric: Metric,
    /// Index of the target.
    pub target: usize,
    /// Which round of the metric, from 0; `None` for a warm-up.
    pub round: Option<u32>,
}

impl Plan {
    /// Every sample of a metric, in its order: each round has all targets once, in an order of its own, so that whatever
    /// changes on the machine meanwhile meets all of them.
    #[must_use]
    pub fn orders(&self, metric: Metric) -> Vec<Order> {
        let salt = Metric::ALL.iter().position(|one| *one == metric).unwrap_or(0) as u64;
        let targets: Vec<usize> = (0..self.targets.len()).collect();
        let rounds = rounds(self.seed.wrapping_add(salt), &targets, self.warm_ups, self.iterations);
        rounds.into_iter().map(|(target, round)| Order { metric, target, round }).collect()
    }

    /// Index of the target that the others are compared with.
    #[must_use]
    pub fn baseline(&self) -> usize {
        self.targets.len().saturating_sub(1)
    }
}

/// Every target once in each round, warm-ups (rounds without a number) first, in an order of each round's own that the
/// seed gives again.
#[must_use]
pub fn rounds(seed: u64, targets: &[usize], warm_ups: u32, iterations: u32) -> Vec<(usize, Option<u32>)> {
    let mut random = Random::new(seed);
    let rounds = (0..warm_ups).map(|_| None).chain((0..iterations).map(Some));
    rounds
        .flat_map(|round| {
            let mut targets = targets.to_vec();
            random.shuffle(&mut targets);
            targets.into_iter().map(move |target| (target, round))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(seed: u64) -> Plan {
        let targets = vec!["a".to_owned(), "b".to_owned()];
        Plan { metrics: Metric::ALL.to_vec(), targets, iterations: 50, warm_ups: 2, seed }
    }

    #[test]
    fn each_round_has_every_target_once() {
        let orders = plan(3).orders(Metric::WarmStart);
        assert_eq!(orders.len(), 2 * 52);
        for round in orders.chunks(2) {
            assert_eq!(round[0].round, round[1].round);
            assert_ne!(round[0].target, round[1].target);
        }
        assert!(orders[..4].iter().all(|order| order.round.is_none()), "warm-ups come first");
    }

    #[test]
    fn the_order_is_random_and_the_seed_gives_it_again() {
        let firsts = |seed, metric| -> Vec<usize> {
            plan(seed).orders(metric).chunks(2).map(|round| round[0].target).collect()
        };
        let order = firsts(3, Metric::ColdStart);
        assert_eq!(order, firsts(3, Metric::ColdStart));
        assert_ne!(order, firsts(4, Metric::ColdStart));
        assert_ne!(order, firsts(3, Metric::WarmStart));
        let share = order.iter().sum::<usize>();
        assert!((10..43).contains(&share), "{share} of 52 rounds begin with the second target");
    }
}
