//! One figure of a table, as the stored results have it, or why there is none.

use crate::statistics::mean;
use crate::suite::benchmark::Benchmark;
use crate::suite::document::Document;
use crate::suite::recommend;
use crate::suite::record::{PSS, Row, TOTAL};
use crate::suite::stored::{Level, Stored};
use crate::suite::table::{mib, ms};
use crate::text::NANOSECONDS_OF_MS;

/// Which figure.
#[derive(Debug, Clone, Copy)]
pub enum Cell {
    /// The p50 of a part.
    P50(Benchmark, &'static str, Level),
    /// The p95 of the whole.
    P95(Benchmark, Level),
    /// The p99 of the whole.
    P99(Benchmark, Level),
    /// The mean of a part: the brief's averages are such.
    Mean(Benchmark, &'static str, Level),
    /// How many in a second.
    Rate(Benchmark, Level),
    /// From the first beginning to the last end of a batch, p50 of them; and how many were in it.
    Batch(Benchmark, Level),
    /// All batches together.
    All(Benchmark, Level),
    /// How many were right.
    Success(Benchmark, Level),
    /// The proportional share of memory.
    Memory,
    /// What is between the sandbox and the host.
    Boundary,
    /// Ten samples together, one of each round.
    Ten(Benchmark),
}

/// Backends that are nothing without KVM.
const NEED_KVM: [&str; 2] = ["firecracker", "hyperlight"];

/// The figure of a target, or why there is none. `NAME@macos` is a target of another system.
pub fn show(stored: &Stored, target: &str, cell: Cell) -> Result<String, String> {
    let (benchmark, level) = match cell {
        Cell::Memory => (Benchmark::Memory, Level::One),
        Cell::Boundary => (Benchmark::Startup, Level::One),
        Cell::Ten(benchmark) => (benchmark, Level::One),
        Cell::P50(benchmark, _, level)
        | Cell::Mean(benchmark, _, level)
        | Cell::P95(benchmark, level)
        | Cell::P99(benchmark, level)
        | Cell::Rate(benchmark, level)
        | Cell::Batch(benchmark, level)
        | Cell::All(benchmark, level)
        | Cell::Success(benchmark, level) => (benchmark, level),
    };
    let row = row(stored, target, benchmark, level)?;
    figure(row, cell).ok_or_else(|| format!("{} does not tell it", benchmark.key()))
}

fn row<'a>(stored: &'a Stored, target: &str, benchmark: Benchmark, level: Level) -> Result<&'a Row, String> {
    let is_linux = stored.newest().is_some_and(|run| run.facts.environment.kernel.starts_with("Linux"));
    let target = match target.split_once('@') {
        Some((_, "macos")) if is_linux => return Err("it is of macOS, and this is Linux".into()),
        Some((target, _)) => target,
        None => target,
    };
    match stored.row(benchmark, target, level) {
        Some((row, _)) => row.could_not_run.clone().map_or(Ok(row), Err),
        None => Err(format!("it has not been measured: agentkernel bench run {}", benchmark.key())),
    }
}

fn figure(row: &Row, cell: Cell) -> Option<String> {
    let total = || row.figures.get(TOTAL);
    Some(match cell {
        Cell::P50(_, part, _) => ms(row.figures.get(part)?.p50_ns),
        Cell::P95(..) => ms(total()?.p95_ns),
        Cell::P99(..) => ms(total()?.p99_ns),
        Cell::Mean(_, part, _) => ms(mean(&row.values(part))?),
        Cell::Rate(..) => format!("{:.1}", row.per_second()?),
        Cell::Batch(..) => batch(row)?,
        Cell::All(..) => ms(row.batches_ns.iter().map(|ns| number(*ns)).sum()),
        Cell::Success(..) => success(row),
        Cell::Memory => format!("{} MiB", mib(row.bytes.get(PSS)?.p50_bytes)),
        Cell::Ten(_) => ten(row)?,
        Cell::Boundary => recommend::boundary_of(&row.target).to_owned(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "nanoseconds below 2^53: days")]
fn number(ns: u64) -> f64 {
    ns as f64
}

fn batch(row: &Row) -> Option<String> {
    let mut batches = row.batches_ns.clone();
    let middle = if batches.is_empty() { return None } else { crate::statistics::middle(&mut batches) };
    Some(format!("{} ms for {}", ms(number(middle)), row.at_once))
}

fn success(row: &Row) -> String {
    let right = row.samples.len();
    let all = right + (row.failures + row.timeouts) as usize;
    format!("{right} of {all}")
}

/// Ten that really were taken, one in each of the first ten rounds.
fn ten(row: &Row) -> Option<String> {
    let taken = row.values(TOTAL);
    let sum: f64 = taken.get(..10)?.iter().sum();
    Some(format!("{:.2} s", sum / NANOSECONDS_OF_MS / 1000.0))
}

/// How the machines of this target are emulated in this run, if they are: then a figure of it is no native one.
#[must_use]
pub fn emulated(run: &Document, target: &str) -> Option<String> {
    let needs_kvm = NEED_KVM.iter().any(|name| target.starts_with(name));
    run.facts.kvm.clone().filter(|_| needs_kvm)
}
