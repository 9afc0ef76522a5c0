//! Who takes samples: one implementation that starts programs, and in tests one that only counts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::benchmark::Benchmark;
use super::machine::course::Missing;
use crate::refusal::Failure;

/// One right piece of work. There is no sample of a wrong one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Which round it was taken in.
    pub round: Option<u32>,
    /// When it began, from an instant that all samples of a run share.
    pub began_ns: u64,
    /// From its beginning to its end by the monotonic clock.
    pub total_ns: u64,
    /// Its parts by name, which add up to the total; `null` where the target cannot tell.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, Option<u64>>,
    /// Where memory is measured, what is held of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bytes: BTreeMap<String, u64>,
    /// How it ended: always as the work ends.
    pub exit_code: i32,
    /// The digest of what it said: always that of the work's result.
    pub stdout_sha256: String,
}

/// One sample to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Task {
    /// Of what.
    pub benchmark: Benchmark,
    /// Index of the target.
    pub target: usize,
    /// `None` for a warm-up.
    pub round: Option<u32>,
}

/// Why a target is not measured.
#[derive(Debug, Clone)]
pub enum NotReady {
    /// It cannot run here: a row of its own, and no failure.
    Absent(String),
    /// It would be no other than another target, whose row is enough.
    Elsewhere,
    /// The run ends.
    Failure(Failure),
}

impl From<Missing> for NotReady {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::Absent(why) => Self::Absent(why),
            Missing::Elsewhere => Self::Elsewhere,
        }
    }
}

impl From<Failure> for NotReady {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

/// Takes samples, of which many may be taken at once.
pub trait Subject: Sync {
    /// The targets' names. The first is the baseline of the others.
    fn targets(&self) -> Vec<String>;

    /// Makes a target ready for a benchmark, and takes nothing that is timed.
    fn prepare(&mut self, target: usize, benchmark: Benchmark) -> Result<(), NotReady>;

    /// Waits until so many samples can be taken at once as they should be, such as for a pool to be filled again. Nothing of
    /// it is timed.
    fn settle(&self, task: &Task, at_once: u32) -> Result<(), Failure>;

    /// Why there is no sample of one of this target alone, where only many have a figure.
    fn alone(&self, _target: usize) -> Option<String> {
        None
    }

    /// Makes so many, looks at what they take together, and removes them. `None` where it has no figure.
    fn crowd(&self, task: &Task, count: u32) -> Result<Option<Sample>, Failure>;

    /// Takes one sample. It is guaranteed that what it returns was right.
    fn take(&self, task: &Task) -> Result<Sample, Failure>;

    /// Takes down what was made ready for this benchmark, also after a failure.
    fn finish(&mut self, target: usize, benchmark: Benchmark) -> Result<(), Failure>;

    /// Ends what all benchmarks share.
    fn end(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}
