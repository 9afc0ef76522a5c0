//! A run as Markdown.

use std::fmt::Write as _;

use super::Benchmark;
use super::document::Document;
use super::machine::proving;
use super::record::{
    Bytes, CHARGED, CHARGED_TOUCHED, Figures, MARGINAL, PSS, PSS_TOUCHED, RSS, Record, Row, TOTAL, Unit,
};
use crate::text::{BYTES_OF_MIB, NANOSECONDS_OF_MS};

/// Parts that move one large file's bytes, and how many MiB these are.
const MOVES_BYTES: [(&str, f64); 4] =
    [("in", COPIED_MIB), ("out", COPIED_MIB), ("write", 64.0), ("read", 64.0)];
/// 100 MB.
const COPIED_MIB: f64 = 100e6 / BYTES_OF_MIB;
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
    text + &footing(document) + &isolation(document)
}

/// How much of each target's isolation was looked at.
fn isolation(document: &Document) -> String {
    let proven = &document.facts.proven;
    let all: Vec<String> = proven.iter().map(|(target, proven)| proving::in_words(target, proven)).collect();
    if all.is_empty() {
        String::new()
    } else {
        format!("\nIsolation, before anything was timed: {}.\n", all.join("; "))
    }
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
    let mut table = "| Target | n | PSS p50 (95 %) MiB | min | p95 | max | RSS p50 | charged | 64 MiB touched: PSS | charged | of the first (95 %) |\n"
        .to_owned();
    table += &("|---".repeat(11) + "|\n");
    let (many, one): (Vec<&Row>, Vec<&Row>) = record.rows.iter().partition(|row| row.at_once > 1);
    for row in one {
        let figures = row.bytes.get(PSS).zip(row.bytes.get(RSS)).map(|(pss, rss)| held(row, pss, rss));
        table += &line(row, 11, figures);
    }
    table += "\nAll processes in the sandbox's own control group, and what that group is charged with, which also has what no process has \
              mapped, such as gVisor's memory and files; not what waits outside of it: our supervisor, an engine's shim.\n";
    if many.is_empty() { table } else { table + &marginal(&many) }
}

/// What each of many takes.
fn marginal(rows: &[&Row]) -> String {
    let mut table =
        "\n| Target | at once | n | p50 of each (95 %) MiB | min | max | of the first (95 %) |\n".to_owned();
    table += &("|---".repeat(7) + "|\n");
    for row in rows {
        let figures = row.bytes.get(MARGINAL).map(|bytes| {
            format!(
                "| {} | {} | {} | {} ({}–{}) | {} | {} | {} |\n",
                row.target,
                row.at_once,
                bytes.count,
                mib(bytes.p50_bytes),
                mib(bytes.p50_ci95_low_bytes),
                mib(bytes.p50_ci95_high_bytes),
                mib(bytes.min_bytes),
                mib(bytes.max_bytes),
                of_baseline(row),
            )
        });
        table += &line(row, 7, figures);
    }
    table
        + "\nBy how much more memory the host cannot drop once so many wait, for each of them: whoever it is counted for, \
           supervisors, shims and the kernel included.\n"
}

fn held(row: &Row, pss: &Bytes, rss: &Bytes) -> String {
    let p50 = |kind: &str| row.bytes.get(kind).map_or("–".to_owned(), |bytes| mib(bytes.p50_bytes));
    format!(
        "| {} | {} | {} ({}–{}) | {} | {} | {} | {} | {} | {} | {} | {} |\n",
        row.target,
        pss.count,
        mib(pss.p50_bytes),
        mib(pss.p50_ci95_low_bytes),
        mib(pss.p50_ci95_high_bytes),
        mib(pss.min_bytes),
        mib(pss.p95_bytes),
        mib(pss.max_bytes),
        mib(rss.p50_bytes),
        p50(CHARGED),
        p50(PSS_TOUCHED),
        p50(CHARGED_TOUCHED),
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
    let moved = MOVES_BYTES.iter().find(|(moves, _)| *moves == part);
    let Some((_, mib)) = moved.filter(|_| figures.p50_ns > 0.0) else { return ms };
    let per_second = mib * NANOSECONDS_OF_SECOND / figures.p50_ns;
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
