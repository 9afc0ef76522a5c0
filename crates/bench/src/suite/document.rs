//! `results.json` of a run: everything that was measured, raw samples first of all.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use agentkernel_core::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use super::benchmark::{Benchmark, Plan};
use super::subject::Sample;
use crate::environment::Environment;
use crate::random::Random;
use crate::refusal::host;
use crate::results;
use crate::statistics;

/// What the file is.
pub const SCHEMA: &str = "agentkernel-bench/run";
/// Changes whenever a reader of the old one would misread the new one.
pub const SCHEMA_VERSION: u32 = 1;
/// The file's name in the folder of its run.
pub const FILE: &str = "results.json";
/// The whole of a sample, among the figures of its parts.
pub const TOTAL: &str = "total";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: String,
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Whether every planned benchmark is in it.
    pub complete: bool,
    /// Why not, in words.
    pub failure: Option<String>,
    /// All that is known besides the samples.
    pub facts: Facts,
    /// The finished benchmarks.
    pub benchmarks: Vec<Record>,
}

/// What the figures depend on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// When it began.
    pub started_utc: String,
    /// Version of the program that is measured.
    pub version: String,
    /// The program's digest.
    pub program_sha256: String,
    /// How it was built: "debug" or "release".
    pub build: String,
    /// The plan.
    pub plan: Plan,
    /// The machine.
    pub environment: Environment,
    /// Its load before.
    pub load_before: String,
    /// The load when this was written.
    pub load_after: String,
    /// The words of each target's startup, and what it says of its version.
    pub targets: BTreeMap<String, String>,
    /// The most that a sample may take.
    pub deadline_ms: u64,
    /// What judging a result takes, p50: after the time, not in it.
    pub harness_ns: u64,
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
    /// What the samples say, by part; `total` is the whole.
    pub figures: BTreeMap<String, Figures>,
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

    /// The samples' figures of a part; `total` is the whole.
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

    fn summarise(&mut self, seed: u64) {
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
    let ratio = statistics::ratio(&row.values(TOTAL), &baseline.values(TOTAL), &mut Random::new(seed))?;
    Some(OfBaseline {
        baseline: baseline.target.clone(),
        p50_ratio: ratio.p50,
        p50_ratio_ci95_low: ratio.interval.low,
        p50_ratio_ci95_high: ratio.interval.high,
    })
}

impl Document {
    /// Reads one: a file, or the folder of a run.
    ///
    /// # Errors
    /// It is not there, is no such file, or one of another version.
    pub fn load(path: &Path) -> Result<Self> {
        let file = if path.is_dir() { path.join(FILE) } else { path.to_owned() };
        let text = fs::read_to_string(&file).map_err(|why| host("read the results", file.display(), why))?;
        Self::parse(&text).map_err(|why| {
            Error::new(ErrorKind::Usage, "read the results", why)
                .on(file.display())
                .hint("name a folder that agentkernel bench run has written")
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_str(text).map_err(|why| why.to_string())?;
        let (schema, version) = (&value["schema"], &value["schema_version"]);
        if schema != SCHEMA {
            return Err(format!("its schema is {schema}, not \"{SCHEMA}\""));
        }
        if version != SCHEMA_VERSION {
            return Err(format!("its schema version is {version}, and {SCHEMA_VERSION} is understood"));
        }
        serde_json::from_value(value).map_err(|why| why.to_string())
    }

    /// Writes it into the folder of its run, whole or not at all.
    ///
    /// # Errors
    /// The folder's disk is full, for example.
    pub fn save(&self, folder: &Path) -> Result<()> {
        let failed = |why: std::io::Error| host("save the results", folder.display(), why);
        let text = serde_json::to_string(self).map_err(|why| failed(why.into()))?;
        results::save(folder, FILE, &text).map_err(failed)
    }

    /// The record of a benchmark.
    #[must_use]
    pub fn record(&self, benchmark: Benchmark) -> Option<&Record> {
        self.benchmarks.iter().find(|record| record.benchmark == benchmark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_another_schema_or_version_are_refused() {
        let refused = |text: &str| Document::parse(text).expect_err("refused");
        let ours = format!("{{\"schema\":\"{SCHEMA}\",\"schema_version\":2}}");
        assert!(refused(&ours).contains("schema version is 2, and 1 is understood"));
        assert!(
            refused("{\"schema\":\"agentkernel-bench/sandbox\",\"schema_version\":1}").contains("schema is")
        );
        assert!(refused("no").contains("expected"));
    }
}
