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
    /// One command into a sandbox that runs.
    Exec,
    /// Many commands truly at once: 1, 2, 4, … of them.
    Concurrent,
    /// Many commands, each in a sandbox of its own, always so many at once.
    Stress,
    /// A sandbox's whole life, word by word: one at a time, and many at once.
    Lifecycle,
    /// What a sandbox holds of the host's memory while it waits.
    Memory,
    /// Computing, by the clock inside.
    Cpu,
    /// System calls, by the clock inside.
    Syscalls,
    /// A file written, read and removed, by the clock inside.
    Io,
    /// 100 MB that a command says, through all that is between it and its caller.
    Output,
    /// Files copied into a sandbox that runs, and out of it.
    Copy,
    /// A running sandbox made into two.
    Fork,
}

impl Benchmark {
    /// All of them, in the order in which they are told.
    pub const ALL: [Self; 13] = [
        Self::Startup,
        Self::Phases,
        Self::Exec,
        Self::Concurrent,
        Self::Stress,
        Self::Lifecycle,
        Self::Memory,
        Self::Cpu,
        Self::Syscalls,
        Self::Io,
        Self::Output,
        Self::Copy,
        Self::Fork,
    ];

    /// Its name on the command line and in the files.
    #[must_use]
    pub fn key(self) -> &'static str {
        self.words().0
    }

    /// For a person.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.words().1
    }

    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Startup => ("startup", "Startup: one command in a sandbox of its own, whole process"),
            Self::Phases => ("phases", "Phases of such a command"),
            Self::Exec => ("exec", "Exec: one command into a running sandbox, whole process"),
            Self::Concurrent => ("concurrent", "Concurrent: commands truly at once"),
            Self::Stress => ("stress", "Stress: many commands, always so many at once"),
            Self::Lifecycle => ("lifecycle", "Lifecycle: create, start, exec, stop, rm, a process each"),
            Self::Memory => ("memory", "Memory of a sandbox that waits"),
            Self::Cpu => ("cpu", "CPU: 100,000,000 rounds of an integer loop, by the clock inside"),
            Self::Syscalls => ("syscalls", "System calls, by the clock inside"),
            Self::Io => ("io", "I/O: 64 MiB written and read in a writable place, by the clock inside"),
            Self::Output => ("output", "Output: 100 MB that a command says, whole process"),
            Self::Copy => ("copy", "Copy: 100 MB and 10,000 small files, in and out"),
            Self::Fork => ("fork", "Fork: a running sandbox made into two"),
        }
    }

    /// The parts of a sample that are told, in their order.
    #[must_use]
    pub fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Phases => &["queue", "acquire", "boot", "ready", "exec", "stop", "residual"],
            Self::Lifecycle => &["create", "start", "exec", "stop", "rm", "residual"],
            Self::Syscalls => &["getpid", "stat", "open_read_close", "fork_exec", "residual"],
            Self::Io => &["write", "read", "residual"],
            Self::Fork => &["fork", "exec", "residual"],
            Self::Copy => &["in", "out", "tree_in", "tree_out", "residual"],
            _ => &[],
        }
    }

    /// Whether many are taken at once.
    #[must_use]
    pub fn is_rush(self) -> bool {
        matches!(self, Self::Concurrent | Self::Stress | Self::Lifecycle)
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
            Benchmark::Lifecycle | Benchmark::Memory if self.at_once_max > 1 => vec![1, self.at_once_max],
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
        let all = "startup, phases, exec, concurrent, stress, lifecycle, memory, cpu, syscalls, io, output, copy, fork";
        assert_eq!(refused, format!("there are {all}"));
    }
}
