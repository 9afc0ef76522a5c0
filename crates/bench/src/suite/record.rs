//! What one benchmark gave: raw samples, and what they say together.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::benchmark::Benchmark;
use super::subject::Sample;
use crate::random::Random;
use crate::refusal::{Cause, Failure, Refusal};
use crate::statistics;

/// The whole of a sample, among the figures of its parts.
pub const TOTAL: &str = "total";
/// Of a sample of memory: each page in proportion to how many share it.
pub const PSS: &str = "pss";
/// Of a sample of memory: each page in full.
pub const RSS: &str = "rss";
/// What the control group is charged with, which also has what is in no process's page tables.
pub const CHARGED: &str = "charged";
/// [`PSS`] with 64 MiB written to inside.
pub const PSS_TOUCHED: &str = "pss_touched";
/// [`CHARGED`] with 64 MiB written to inside.
pub const CHARGED_TOUCHED: &str = "charged_touched";
/// Of many that wait together: by how much more memory the host cannot drop, for each of them.
pub const MARGINAL: &str = "marginal";

/// What figures are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Nanoseconds.
    Time,
    /// Bytes.
    Bytes,
}

/// One finished benchmark.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Which.
    pub benchmark: Benchmark,
    /// One for each target and number at once.
    pub rows: Vec<Row>,
}

/// What one target gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Whose.
    pub target: String,
    /// How many were taken at once.
    pub at_once: u32,
    /// Why there are no samples, where there are none.
    pub could_not_run: Option<String>,
    /// Wrong ones, warm-ups included: the first one ends the run.
    #[serde(default)]
    pub failures: u32,
    /// Those that took too long: likewise.
    #[serde(default)]
    pub timeouts: u32,
    /// What the samples say, by part; `total` is the whole. Of samples of memory there are none.
    pub figures: BTreeMap<String, Figures>,
    /// What samples of memory say, by kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bytes: BTreeMap<String, Bytes>,
    /// The total against that of the first target with the same number at once.
    pub of_baseline: Option<OfBaseline>,
    /// Each batch of those taken at once, from the first beginning to the last end.
    pub batches_ns: Vec<u64>,
    /// Warm-ups are not among them.
    pub samples: Vec<Sample>,
}

/// A summary of samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each says in its name which figure it is, and its unit")]
pub struct Figures {
    pub count: usize,
    pub min_ns: f64,
    pub p50_ns: f64,
    pub p95_ns: f64,
    pub p99_ns: f64,
    pub max_ns: f64,
    pub mad_ns: f64,
    pub p50_ci95_low_ns: f64,
    pub p50_ci95_high_ns: f64,
}

/// How many times as much as the baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each says in its name which figure it is")]
pub struct OfBaseline {
    pub baseline: String,
    pub p50_ratio: f64,
    pub p50_ratio_ci95_low: f64,
    pub p50_ratio_ci95_high: f64,
}

/// A summary of memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each says in its name which figure it is, and its unit")]
pub struct Bytes {
    pub count: usize,
    pub min_bytes: f64,
    pub p50_bytes: f64,
    pub p95_bytes: f64,
    pub max_bytes: f64,
    pub p50_ci95_low_bytes: f64,
    pub p50_ci95_high_bytes: f64,
}

impl Row {
    /// Of samples that are yet to be taken.
    #[must_use]
    pub fn new(target: &str, at_once: u32) -> Self {
        Self { target: target.to_owned(), at_once, ..Self::default() }
    }

    /// Of a target that cannot run here.
    #[must_use]
    pub fn absent(target: &str, why: String) -> Self {
        Self { target: target.to_owned(), could_not_run: Some(why), ..Self::default() }
    }

    /// What it is compared by: the whole time, or of memory the proportional share, or what each of many takes.
    #[must_use]
    pub fn values_compared(&self) -> Vec<f64> {
        let bytes = [PSS, MARGINAL].map(|kind| self.bytes_of(kind));
        bytes.into_iter().find(|bytes| !bytes.is_empty()).unwrap_or_else(|| self.values(TOTAL))
    }

    /// The p50 of that, and its unit.
    #[must_use]
    pub fn p50_compared(&self) -> Option<(f64, Unit)> {
        let bytes = self.bytes.get(PSS).or_else(|| self.bytes.get(MARGINAL));
        let bytes = bytes.map(|bytes| (bytes.p50_bytes, Unit::Bytes));
        bytes.or_else(|| self.figures.get(TOTAL).map(|figures| (figures.p50_ns, Unit::Time)))
    }

    /// The samples' bytes of a kind.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "bytes below 2^53: petabytes")]
    pub fn bytes_of(&self, kind: &str) -> Vec<f64> {
        self.samples.iter().filter_map(|sample| sample.bytes.get(kind)).map(|bytes| *bytes as f64).collect()
    }

    /// The samples' times of a part; `total` is the whole.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53: days")]
    pub fn values(&self, part: &str) -> Vec<f64> {
        let of = |sample: &Sample| match part {
            TOTAL => Some(sample.total_ns),
            part => sample.parts.get(part).copied().flatten(),
        };
        self.samples.iter().filter_map(of).map(|ns| ns as f64).collect()
    }

    /// How many were done in a second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "counts and nanoseconds below 2^53")]
    pub fn per_second(&self) -> Option<f64> {
        let whole: u64 = if self.batches_ns.is_empty() {
            self.samples.iter().map(|sample| sample.total_ns).sum()
        } else {
            self.batches_ns.iter().sum()
        };
        (whole > 0).then(|| self.samples.len() as f64 * 1e9 / whole as f64)
    }

    /// Counts what gave no sample.
    pub fn count(&mut self, failure: &Failure) {
        match failure {
            Failure::Refused(Refusal { cause: Cause::TimedOut { .. }, .. }) => self.timeouts += 1,
            Failure::Refused(_) => self.failures += 1,
            // Not the target's doing.
            Failure::Error(_) | Failure::Interrupted => {}
        }
    }

    fn summarise(&mut self, seed: u64) {
        for kind in [PSS, RSS, CHARGED, PSS_TOUCHED, CHARGED_TOUCHED, MARGINAL] {
            let summary = statistics::summary(&self.bytes_of(kind), &mut Random::new(seed));
            self.bytes.extend(summary.map(|summary| (kind.to_owned(), Bytes::from(summary))));
        }
        if !self.bytes.is_empty() {
            return;
        }
        let parts = self.samples.iter().flat_map(|sample| sample.parts.keys().cloned());
        let parts: std::collections::BTreeSet<String> = parts.chain([TOTAL.to_owned()]).collect();
        for part in parts {
            let summary = statistics::summary(&self.values(&part), &mut Random::new(seed));
            self.figures.extend(summary.map(|summary| (part, Figures::from(summary))));
        }
    }
}

impl From<statistics::Summary> for Figures {
    fn from(summary: statistics::Summary) -> Self {
        Self {
            count: summary.count,
            min_ns: summary.min,
            p50_ns: summary.p50,
            p95_ns: summary.p95,
            p99_ns: summary.p99,
            max_ns: summary.max,
            mad_ns: summary.mad,
            p50_ci95_low_ns: summary.p50_interval.low,
            p50_ci95_high_ns: summary.p50_interval.high,
        }
    }
}

impl From<statistics::Summary> for Bytes {
    fn from(summary: statistics::Summary) -> Self {
        Self {
            count: summary.count,
            min_bytes: summary.min,
            p50_bytes: summary.p50,
            p95_bytes: summary.p95,
            max_bytes: summary.max,
            p50_ci95_low_bytes: summary.p50_interval.low,
            p50_ci95_high_bytes: summary.p50_interval.high,
        }
    }
}

impl Record {
    /// With the figures of its rows.
    #[must_use]
    pub fn new(benchmark: Benchmark, mut rows: Vec<Row>, seed: u64) -> Self {
        rows.iter_mut().for_each(|row| row.summarise(seed));
        let ratios: Vec<_> = rows.iter().map(|row| of_baseline(row, &rows, seed)).collect();
        rows.iter_mut().zip(ratios).for_each(|(row, ratio)| row.of_baseline = ratio);
        Self { benchmark, rows }
    }
}

fn of_baseline(row: &Row, rows: &[Row], seed: u64) -> Option<OfBaseline> {
    let same = |other: &&Row| other.at_once == row.at_once && !other.samples.is_empty();
    let baseline = rows.iter().find(same).filter(|baseline| baseline.target != row.target)?;
    let ratio =
        statistics::ratio(&row.values_compared(), &baseline.values_compared(), &mut Random::new(seed))?;
    Some(OfBaseline {
        baseline: baseline.target.clone(),
        p50_ratio: ratio.p50,
        p50_ratio_ci95_low: ratio.interval.low,
        p50_ratio_ci95_high: ratio.interval.high,
    })
}
