//! What can be measured, and how often it is.

use serde::{Deserialize, Serialize};

/// A plan by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Benchmark {
    /// One command in a sandbox of its own, from spawn to exit of the whole process.
    Startup,
    /// Where such a command's time goes.
    Phases,
    /// Many commands truly at once: 1, 2, 4, … of them.
    Concurrent,
    /// Many commands, each in a sandbox of its own, always so many at once.
    Stress,
}

impl Benchmark {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 4] = [Self::Startup, Self::Phases, Self::Concurrent, Self::Stress];

    /// Its name on the command line and in the files.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Startup => "startup",
            Self::Phases => "phases",
            Self::Concurrent => "concurrent",
            Self::Stress => "stress",
        }
    }

    /// For a person.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup: one command in a sandbox of its own, whole process",
            Self::Phases => "Phases of such a command",
            Self::Concurrent => "Concurrent: commands truly at once",
            Self::Stress => "Stress: many commands, always so many at once",
        }
    }

    /// Whether many are taken at once.
    #[must_use]
    pub fn is_rush(self) -> bool {
        matches!(self, Self::Concurrent | Self::Stress)
    }

    /// The one of this name.
    ///
    /// # Errors
    /// Names all there are.
    pub fn named(word: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::key).join(", ");
        Self::ALL.into_iter().find(|one| one.key() == word).ok_or_else(|| format!("there are {}", all()))
    }
}

/// A whole run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// What is measured, one after the other.
    pub benchmarks: Vec<Benchmark>,
    /// Samples of each target; at once, at least so many.
    pub iterations: u32,
    /// Samples before them that are thrown away.
    pub warm_ups: u32,
    /// Of every random decision.
    pub seed: u64,
    /// The most that are taken at once.
    pub at_once_max: u32,
    /// Commands of each target in `stress`.
    pub stress_count: u32,
}

impl Plan {
    /// How many at once are tried: 1, 2, 4, … and the most.
    #[must_use]
    pub fn levels(&self, benchmark: Benchmark) -> Vec<u32> {
        match benchmark {
            Benchmark::Concurrent => {
                let doubled = std::iter::successors(Some(1_u32), |level| level.checked_mul(2));
                let mut levels: Vec<u32> = doubled.take_while(|level| *level < self.at_once_max).collect();
                levels.push(self.at_once_max);
                levels
            }
            Benchmark::Stress => vec![self.at_once_max],
            _ => vec![1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_double_up_to_the_most() {
        let levels = |at_once_max| {
            let plan = Plan {
                benchmarks: vec![],
                iterations: 1,
                warm_ups: 0,
                seed: 0,
                at_once_max,
                stress_count: 1,
            };
            plan.levels(Benchmark::Concurrent)
        };
        assert_eq!(levels(1), [1]);
        assert_eq!(levels(10), [1, 2, 4, 8, 10]);
        assert_eq!(levels(16), [1, 2, 4, 8, 16]);
    }

    #[test]
    fn a_name_finds_its_benchmark_and_a_wrong_one_all_names() {
        assert!(Benchmark::ALL.into_iter().all(|one| Benchmark::named(one.key()) == Ok(one)));
        let refused = Benchmark::named("speed").expect_err("refused");
        assert_eq!(refused, "there are startup, phases, concurrent, stress");
    }
}
