//! `results.json`: everything that was measured, raw samples first of all.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::environment::Environment;
use crate::image::Image;
use crate::measure::{Measured, Outcome, Series};
use crate::plan::{Metric, Plan};
use crate::proof::Proof;
use crate::random::Random;
use crate::refusal::Failure;
use crate::sandbox::{GroupLimits, Target};
use crate::statistics::{self, Ratio, Summary};
use crate::workload;

/// What the file is.
pub const SCHEMA: &str = "agentkernel-bench/sandbox";

/// Changes whenever a reader of the old one would misread the new one.
pub const SCHEMA_VERSION: u32 = 1;

/// All that is known of a run besides its samples.
#[derive(Debug, Clone, Serialize)]
pub struct Facts {
    /// When it began.
    pub started_utc: String,
    /// What of the source the harness was built from; `null` if nobody told.
    pub commit: Option<String>,
    /// The plan.
    pub plan: Plan,
    /// The machine.
    pub environment: Environment,
    /// The machine's load before.
    pub load_before: String,
    /// Who is measured.
    pub targets: Vec<Target>,
    /// The digest of the bundle's configuration, with the work of a warm start.
    pub bundle_sha256: String,
    /// The digest of the root folder: names, permission bits and contents.
    pub rootfs_sha256: String,
    /// Where the root folder came from.
    pub rootfs: String,
    /// The image that it is of; `null` if it is of none.
    pub image: Option<Image>,
    /// What the sandboxes may use.
    pub limits: GroupLimits,
    /// The most that a sandbox may take to its end.
    pub deadline_ms: u64,
    /// That the targets isolate.
    pub proofs: Vec<Proof>,
}

/// What is only known at the end, or after each metric.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Course {
    /// The machine's load when this was written.
    pub load_after: String,
    /// What became of the page cache before cold starts.
    pub page_cache: String,
    /// The same work without a sandbox, p50.
    pub work_alone_ns: Option<u64>,
}

/// The figures of a target for one metric.
pub fn summary(plan: &Plan, measured: &Measured, target: usize) -> Option<Summary> {
    statistics::summary(&measured.targets[target].values(measured.metric), &mut Random::new(plan.seed))
}

/// A target against the baseline.
pub fn ratio(plan: &Plan, measured: &Measured, target: usize) -> Option<Ratio> {
    let values = |index: usize| measured.targets[index].values(measured.metric);
    statistics::ratio(&values(target), &values(plan.baseline()), &mut Random::new(plan.seed))
}

/// The whole file.
#[must_use]
pub fn document(facts: &Facts, course: &Course, outcome: &Outcome) -> Value {
    json!({
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "complete": outcome.failure.is_none() && outcome.measured.len() == facts.plan.metrics.len(),
        "failure": outcome.failure.as_ref().map(failure),
        "facts": facts,
        "course": course,
        "metrics": outcome.measured.iter().map(|one| metric(&facts.plan, one)).collect::<Vec<_>>(),
    })
}

fn failure(failure: &Failure) -> Value {
    match failure {
        Failure::Refused(refusal) => json!({"words": failure.to_string(), "refusal": refusal}),
        Failure::Error(_) | Failure::Interrupted => json!({"words": failure.to_string(), "refusal": null}),
    }
}

fn metric(plan: &Plan, measured: &Measured) -> Value {
    let series = measured.targets.iter().enumerate();
    let targets: Map<String, Value> = series
        .map(|(index, series)| (plan.targets[index].clone(), target(plan, measured, index, series)))
        .collect();
    json!({
        "metric": measured.metric,
        "work": workload::amount_of(measured.metric),
        "baseline": plan.targets.get(plan.baseline()),
        "targets": targets,
    })
}

fn target(plan: &Plan, measured: &Measured, index: usize, series: &Series) -> Value {
    let of_baseline = (index != plan.baseline()).then(|| ratio(plan, measured, index)).flatten();
    json!({
        "samples": series.samples,
        "failures": series.failures,
        "timeouts": series.timeouts,
        "summary": summary(plan, measured, index).map(|summary| summary_words(&summary, measured.metric)),
        "of_baseline": of_baseline.map(|ratio| ratio_words(&ratio, measured.metric)),
    })
}

fn summary_words(summary: &Summary, metric: Metric) -> Value {
    let figures = [
        ("min", summary.min),
        ("p50", summary.p50),
        ("p95", summary.p95),
        ("p99", summary.p99),
        ("max", summary.max),
        ("mad", summary.mad),
        ("p50_ci95_low", summary.p50_interval.low),
        ("p50_ci95_high", summary.p50_interval.high),
    ];
    let unit = metric.unit();
    let mut words: Map<String, Value> =
        figures.iter().map(|(name, value)| (format!("{name}_{unit}"), json!(value))).collect();
    words.insert("count".into(), json!(summary.count));
    Value::Object(words)
}

fn ratio_words(ratio: &Ratio, metric: Metric) -> Value {
    let mut words = Map::new();
    words.insert("p50_ratio".into(), json!(ratio.p50));
    words.insert("p50_ratio_ci95_low".into(), json!(ratio.interval.low));
    words.insert("p50_ratio_ci95_high".into(), json!(ratio.interval.high));
    words.insert(format!("p50_difference_{}", metric.unit()), json!(ratio.difference));
    Value::Object(words)
}

/// Writes a file whole or not at all.
pub fn save(folder: &Path, name: &str, content: &str) -> io::Result<()> {
    let unfinished = folder.join(format!(".{name}.unfinished"));
    fs::write(&unfinished, content)?;
    fs::rename(unfinished, folder.join(name))
}
