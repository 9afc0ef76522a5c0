//! A run as Markdown.

use std::fmt::Write as _;

use super::Benchmark;
use super::document::Document;
use super::record::{Bytes, Figures, PSS, RSS, Record, Row, TOTAL, Unit};
use crate::text::{BYTES_OF_MIB, NANOSECONDS_OF_MS};

/// Parts that move one large file's bytes, in copy and in io alike.
const MOVES_BYTES: [&str; 4] = ["in", "out", "write", "read"];
/// How many these are.
const MOVED_MIB: f64 = 64.0;
const NANOSECONDS_OF_SECOND: f64 = 1e9;

/// Every benchmark as a table of its own.
#[must_use]
pub fn of(document: &Document) -> String {
    let mut text = String::new();
    for record in &document.benchmarks {
        // Writing to a string does not fail.
        write!(text, "## {}\n\n{}\n", record.benchmark.title(), of_record(record)).ok();
    }
    if let Some(record) = &document.unfinished {
        write!(text, "## Not finished: {}\n\n{}\n", record.benchmark.title(), of_record(record)).ok();
    }
    text + &footing(document)
}

fn footing(document: &Document) -> String {
    let facts = &document.facts;
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53")]
    let harness_ns = facts.harness_ns as f64;
    let records = document.benchmarks.iter().chain(&document.unfinished);
    let rows: Vec<&Row> = records.flat_map(|record| &record.rows).collect();
    let failures: u32 = rows.iter().map(|row| row.failures).sum();
    let timeouts: u32 = rows.iter().map(|row| row.timeouts).sum();
    let state = document.failure.as_ref().map_or(String::new(), |why| format!("It ended early: {why}.\n"));
    format!(
        "{} build, {}, {} processors, {}; load {} before and {} after; seed {}. Targets are interleaved, warm-ups dropped; \
         intervals are bootstrap, 95 %; {failures} failures, {timeouts} timeouts. Judging a result takes the harness {} ms, outside of the time.\n{state}",
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

/// A benchmark's table.
#[must_use]
pub fn of_record(record: &Record) -> String {
    let of_time = || if record.benchmark.parts().is_empty() { String::new() } else { parts(record) };
    match record.benchmark {
        Benchmark::Memory => memory(record),
        Benchmark::Phases => of_time(),
        _ => totals(record) + &of_time(),
    }
}

fn totals(record: &Record) -> String {
    let mut table = "| Target | at once | n | p50 (95 %) ms | min | p95 | p99 | max | MAD | a second | of the first (95 %) |\n"
        .to_owned();
    table += &("|---".repeat(11) + "|\n");
    for row in &record.rows {
        table += &line(row, 11, row.figures.get(TOTAL).map(|figures| total(row, figures)));
    }
    table
}

/// A row, or why there are no figures.
fn line(row: &Row, columns: usize, figures: Option<String>) -> String {
    let lacks = "|".repeat(columns - 1);
    match (&row.could_not_run, figures) {
        (Some(why), _) => format!("| {} | could not run here, because {why} {lacks}\n", row.target),
        (None, Some(figures)) => figures,
        (None, None) => {
            let (failures, timeouts) = (row.failures, row.timeouts);
            format!("| {} | not measured: {failures} failures, {timeouts} timeouts {lacks}\n", row.target)
        }
    }
}

fn of_baseline(row: &Row) -> String {
    row.of_baseline.as_ref().map_or("–".to_owned(), |ratio| {
        let (low, high) = (ratio.p50_ratio_ci95_low, ratio.p50_ratio_ci95_high);
        format!("{:.2} × ({low:.2}–{high:.2})", ratio.p50_ratio)
    })
}

fn total(row: &Row, figures: &Figures) -> String {
    let of_baseline = of_baseline(row);
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

fn memory(record: &Record) -> String {
    let mut table =
        "| Target | n | PSS p50 (95 %) MiB | min | p95 | max | RSS p50 | of the first (95 %) |\n".to_owned();
    table += &("|---".repeat(8) + "|\n");
    for row in &record.rows {
        let figures = row.bytes.get(PSS).zip(row.bytes.get(RSS)).map(|(pss, rss)| held(row, pss, rss));
        table += &line(row, 8, figures);
    }
    table
        + "\nAll processes in the sandbox's own control group; not what waits outside of it: our supervisor, an engine's shim.\n"
}

fn held(row: &Row, pss: &Bytes, rss: &Bytes) -> String {
    format!(
        "| {} | {} | {} ({}–{}) | {} | {} | {} | {} | {} |\n",
        row.target,
        pss.count,
        mib(pss.p50_bytes),
        mib(pss.p50_ci95_low_bytes),
        mib(pss.p50_ci95_high_bytes),
        mib(pss.min_bytes),
        mib(pss.p95_bytes),
        mib(pss.max_bytes),
        mib(rss.p50_bytes),
        of_baseline(row),
    )
}

/// The p50 of each part.
fn parts(record: &Record) -> String {
    let parts: Vec<&str> = record.benchmark.parts().iter().copied().chain([TOTAL]).collect();
    let mut table = format!("\n| Target (p50, ms) | at once | {} |\n", parts.join(" | "));
    table += &("|---".repeat(parts.len() + 2) + "|\n");
    for row in &record.rows {
        let cells = || parts.iter().map(|part| cell(row, part)).collect::<Vec<_>>().join(" | ");
        let figures = (!row.samples.is_empty())
            .then(|| format!("| {} | {} | {} |\n", row.target, row.at_once, cells()));
        table += &line(row, parts.len() + 2, figures);
    }
    table
        + "\nIn each sample the parts and the residual are the total exactly; their medians need not be. – is not seen.\n"
}

fn cell(row: &Row, part: &str) -> String {
    let Some(figures) = row.figures.get(part) else { return "–".into() };
    let ms = ms(figures.p50_ns);
    if !MOVES_BYTES.contains(&part) || figures.p50_ns <= 0.0 {
        return ms;
    }
    let per_second = MOVED_MIB * NANOSECONDS_OF_SECOND / figures.p50_ns;
    format!("{ms} ({per_second:.0} MiB/s)")
}

/// A figure with its unit.
#[must_use]
pub fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::Time => format!("{} ms", ms(value)),
        Unit::Bytes => format!("{} MiB", mib(value)),
    }
}

/// Bytes as mebibytes, with three digits that mean something.
#[must_use]
pub fn mib(bytes: f64) -> String {
    let mib = bytes / BYTES_OF_MIB;
    if mib < 10.0 { format!("{mib:.2}") } else { format!("{mib:.1}") }
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
