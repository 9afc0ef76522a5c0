//! Two runs, one against the other.

use super::document::Document;
use super::record::{Row, Unit};
use super::table::figure;
use crate::random::Random;
use crate::statistics;

/// By how much two runs' ratios to their baseline may differ and still be called the same.
const SAME: f64 = 0.15;

/// What became of one target.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Benchmark, target and how many at once.
    pub what: String,
    /// The p50 of the first run and of the second.
    pub p50: (f64, f64),
    /// Their unit.
    pub unit: Unit,
    /// Second by first.
    pub ratio: statistics::Ratio,
    /// Whether the ratios to each run's own baseline differ by more than 15 %; `None` without a baseline.
    pub is_apart: Option<bool>,
}

/// Every target that both have.
#[must_use]
pub fn changes(first: &Document, second: &Document) -> Vec<Change> {
    let mut changes = Vec::new();
    for record in &first.benchmarks {
        let others = second.record(record.benchmark).map(|record| record.rows.as_slice()).unwrap_or_default();
        for row in &record.rows {
            let same = |other: &&Row| other.target == row.target && other.at_once == row.at_once;
            let Some(other) = others.iter().find(same) else { continue };
            changes.extend(change(record.benchmark.key(), row, other, first.facts.plan.seed));
        }
    }
    changes
}

fn change(benchmark: &str, row: &Row, other: &Row, seed: u64) -> Option<Change> {
    let ratio = statistics::ratio(&other.values_compared(), &row.values_compared(), &mut Random::new(seed))?;
    let (p50, unit) = row.p50_compared()?;
    let baselines = row.of_baseline.as_ref().zip(other.of_baseline.as_ref());
    Some(Change {
        what: format!("{benchmark} {} × {}", row.target, row.at_once),
        p50: (p50, other.p50_compared()?.0),
        unit,
        ratio,
        is_apart: baselines.map(|(one, two)| (two.p50_ratio / one.p50_ratio - 1.0).abs() > SAME),
    })
}

/// Those that are slower by more than the tolerance (0.2 is 20 %), as far as 95 % of the interval can say.
#[must_use]
pub fn slower(changes: &[Change], tolerance: f64) -> Vec<&Change> {
    changes.iter().filter(|change| change.ratio.interval.low > 1.0 + tolerance).collect()
}

/// As a Markdown table.
#[must_use]
pub fn table(changes: &[Change]) -> String {
    let mut text =
        "| What | first p50 | second p50 | second / first (95 %) | to its own baseline |\n".to_owned();
    text += "|---|---|---|---|---|\n";
    for Change { what, p50, unit, ratio, is_apart } in changes {
        let apart = match is_apart {
            None => "–",
            Some(true) => "differs by more than 15 %",
            Some(false) => "within 15 %",
        };
        let (low, high) = (ratio.interval.low, ratio.interval.high);
        let figures = format!(
            "{} | {} | {:.2} × ({low:.2}–{high:.2})",
            figure(p50.0, *unit),
            figure(p50.1, *unit),
            ratio.p50
        );
        text += &format!("| {what} | {figures} | {apart} |\n");
    }
    text
}
