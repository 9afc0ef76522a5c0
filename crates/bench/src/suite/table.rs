//! A run as Markdown.

use std::fmt::Write as _;

use super::Benchmark;
use super::document::{Document, Figures, Record, Row, TOTAL};
use super::machine::phases::{PHASES, RESIDUAL};
use crate::text::NANOSECONDS_OF_MS;

/// Every finished benchmark as a table of its own.
#[must_use]
pub fn of(document: &Document) -> String {
    let mut text = String::new();
    for record in &document.benchmarks {
        let table = if record.benchmark == Benchmark::Phases { phases(record) } else { totals(record) };
        // Writing to a string does not fail.
        write!(text, "## {}\n\n{table}\n", record.benchmark.title()).ok();
    }
    text + &footing(document)
}

fn footing(document: &Document) -> String {
    let facts = &document.facts;
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
    let harness_ns = facts.harness_ns as f64;
    let state = document.failure.as_ref().map_or(String::new(), |why| format!("It ended early: {why}.\n"));
    format!(
        "{} build, {}, {} processors, {}; load {} before and {} after; seed {}. Targets are interleaved, warm-ups dropped; \
         intervals are bootstrap, 95 %. Judging a result takes the harness {} ms, outside of the time.\n{state}",
        facts.build,
        facts.environment.cpu,
        facts.environment.cores,
        facts.environment.kernel.split(" (").next().unwrap_or_default(),
        load(&facts.load_before),
        load(&facts.load_after),
        facts.plan.seed,
        ms(harness_ns),
    )
}

fn load(text: &str) -> &str {
    text.split(' ').next().unwrap_or_default()
}

fn totals(record: &Record) -> String {
    let mut table = "| Target | at once | n | p50 (95 %) ms | min | p95 | p99 | max | MAD | a second | of the first (95 %) |\n"
        .to_owned();
    table += &("|---".repeat(11) + "|\n");
    for row in &record.rows {
        let line = match (&row.could_not_run, row.figures.get(TOTAL)) {
            (Some(why), _) => format!("| {} | could not run here, because {why} |||||||||\n", row.target),
            (None, Some(figures)) => total(row, figures),
            (None, None) => format!("| {} | not measured |||||||||\n", row.target),
        };
        table += &line;
    }
    table
}

fn total(row: &Row, figures: &Figures) -> String {
    let of_baseline = row.of_baseline.as_ref().map_or("–".to_owned(), |ratio| {
        let (low, high) = (ratio.p50_ratio_ci95_low, ratio.p50_ratio_ci95_high);
        format!("{:.2} × ({low:.2}–{high:.2})", ratio.p50_ratio)
    });
    let per_second = row.per_second().map_or("–".to_owned(), |rate| format!("{rate:.1}"));
    format!(
        "| {} | {} | {} | {} ({}–{}) | {} | {} | {} | {} | {} | {per_second} | {of_baseline} |\n",
        row.target,
        row.at_once,
        figures.count,
        ms(figures.p50_ns),
        ms(figures.p50_ci95_low_ns),
        ms(figures.p50_ci95_high_ns),
        ms(figures.min_ns),
        ms(figures.p95_ns),
        ms(figures.p99_ns),
        ms(figures.max_ns),
        ms(figures.mad_ns),
    )
}

fn phases(record: &Record) -> String {
    let parts: Vec<&str> = PHASES.into_iter().chain([RESIDUAL, TOTAL]).collect();
    let mut table = format!("| Target (p50, ms) | {} |\n", parts.join(" | "));
    table += &("|---".repeat(parts.len() + 1) + "|\n");
    for row in &record.rows {
        let cells = match &row.could_not_run {
            Some(why) => format!("not told, because {why} {}", "|".repeat(parts.len() - 1)),
            None => parts.iter().map(|part| cell(row, part)).collect::<Vec<_>>().join(" | "),
        };
        table += &format!("| {} | {cells} |\n", row.target);
    }
    table
        + "\nIn each sample the phases and the residual are the total exactly; their medians need not be. – is not seen.\n"
}

fn cell(row: &Row, part: &str) -> String {
    row.figures.get(part).map_or("–".into(), |figures| ms(figures.p50_ns))
}

/// Nanoseconds as milliseconds, with three digits that mean something.
#[must_use]
pub fn ms(ns: f64) -> String {
    let ms = ns / NANOSECONDS_OF_MS;
    match ms {
        _ if ms < 0.1 => format!("{ms:.4}"),
        _ if ms < 10.0 => format!("{ms:.2}"),
        _ => format!("{ms:.1}"),
    }
}
