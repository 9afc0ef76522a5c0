//! Who takes a sample: hyperfine's three methods, one implementation that starts sandboxes and one that only counts.

use serde::Serialize;

use crate::plan::{Metric, Order};
use crate::refusal::Failure;

/// What one right run of a target gave. There is no sample of a wrong one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Which round it was taken in; `null` for a warm-up.
    pub round: Option<u32>,
    /// From before the spawn to after the exit of the runtime's program, by the monotonic clock.
    pub wall_ns: u64,
    /// What the work took by the clock inside; `null` where the whole launch is measured.
    pub inside_ns: Option<u64>,
    /// Proportional share of memory of all processes in the sandbox's group; `null` where it is not measured.
    pub pss_bytes: Option<u64>,
    /// The same processes' resident memory, which counts shared pages for each of them.
    pub rss_bytes: Option<u64>,
    /// How many processes those were.
    pub processes: Option<usize>,
    /// How many processes of the host besides them run a program that one of them runs: of the pages that they share,
    /// `pss_bytes` counts a part only.
    pub sharers: Option<usize>,
    /// How it ended: always as the work ends.
    pub exit_code: i32,
    /// The digest of what it said: always that of the work's result.
    pub stdout_sha256: String,
}

impl Sample {
    /// The figure that this metric is about.
    #[must_use]
    pub fn value(&self, metric: Metric) -> Option<u64> {
        match metric {
            Metric::ColdStart | Metric::WarmStart => Some(self.wall_ns),
            Metric::Cpu | Metric::Walk => self.inside_ns,
            Metric::Memory => self.pss_bytes,
        }
    }
}

/// Takes samples.
pub trait Executor {
    /// Measures what [`Executor::overhead_ns`] tells. It is called once, before the first sample.
    fn calibrate(&mut self) -> Result<(), Failure>;

    /// Takes one sample. It is guaranteed that nothing of the target is left when it returns, in either way; and that what
    /// it returns was right. It is not guaranteed that the next sample can be taken after a failure.
    fn sample(&mut self, order: &Order) -> Result<Sample, Failure>;

    /// What starting a program that does the same work without a sandbox takes: it is told beside the figures, and not
    /// taken off them.
    fn overhead_ns(&self) -> Option<u64>;
}
