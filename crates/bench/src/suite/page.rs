//! The page of benchmarks: the product's brief's tables with our figures beside its own, of stored results and nothing else.

mod brief;
mod cell;

use std::path::Path;

use agentkernel_core::{Error, ErrorKind, Result};

use self::brief::{ByFigure, ByTarget};
use self::cell::{Cell, emulated, show};
use super::benchmark::Benchmark;
use super::document::Document;
use super::machine::EMULATED;
use super::recommend;
use super::record::{Record, Row};
use super::stored::{Level, Stored};
use super::table;
use crate::refusal::host;
use crate::results;

/// What is generated of a file is between these.
const BEGIN: &str = "<!-- begin: agentkernel bench report --page -->";
const END: &str = "<!-- end -->";

/// The page.
#[must_use]
pub fn of(stored: &Stored) -> String {
    let mut page = header(stored);
    page += &by_target(stored, &brief::HEADLINE);
    page += &by_target(stored, &brief::PHASES);
    page += &by_figure(stored, &brief::FIRECRACKER);
    page += &by_figure(stored, &brief::HYPERLIGHT);
    page += &by_target(stored, &brief::CONCURRENT);
    page += &by_figure(stored, &brief::APPLE);
    page += &by_target(stored, &brief::ENGINES);
    page += &by_figure(stored, &brief::DAEMON);
    page += "The brief uses a machine again (~95 %). A warm sandbox of ours is used once, and never returns to the pool.\n\n";
    brief::STRESS.iter().for_each(|stress| page += &by_figure(stored, stress));
    page += &format!("## Choosing a backend\n\n{}\n", recommend::markdown(stored));
    page + &rest(stored) + &in_software(stored)
}

/// Puts the page into a file, in the place that is marked in it.
///
/// # Errors
/// The file cannot be read or written, or has no such place.
pub fn write(page: &str, file: &Path) -> Result<()> {
    let failed = |why: std::io::Error| host("write the page", file.display(), why);
    let text = std::fs::read_to_string(file).map_err(failed)?;
    let text = replaced(&text, page).ok_or_else(|| {
        let why = "it has no place for what is generated";
        Error::new(ErrorKind::Usage, "write the page", why)
            .on(file.display())
            .hint(format!("mark one by a line '{BEGIN}' and a line '{END}'"))
    })?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    results::save(folder, name, &text).map_err(failed)
}

fn replaced(text: &str, page: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", page.trim()))
}

/// The machine and the runs.
fn header(stored: &Stored) -> String {
    let Some(newest) = stored.newest() else { return String::new() };
    let environment = &newest.facts.environment;
    let memory = environment.memory_bytes.map_or(String::new(), |bytes| format!(", {} GiB", bytes >> 30));
    let mut text = format!(
        "Lines named *here* are ours: {} ({} processors{memory}), {}, {}, {}; {} build of agentkernel {}. All others are the \
         brief's own words, of machines of its own. ms, p50, unless it says otherwise; what has no figure says why.\n\n",
        environment.cpu,
        environment.cores,
        environment.system,
        environment.kernel.split(" (").next().unwrap_or_default(),
        environment.virtualisation,
        newest.facts.build,
        newest.facts.version,
    );
    if let Some(mark) = &newest.facts.kvm {
        text += &format!(
            "KVM is emulated here ({mark}): a line of a virtual machine says so, and is compared with no other.\n\n"
        );
    }
    text += "| run | plans | samples | load before, after | failures, timeouts |\n|---|---|---|---|---|\n";
    stored.runs().iter().for_each(|run| text += &of_run(run));
    if stored.others > 0 {
        text += &format!("\n{} runs of other machines or builds are not on this page.\n", stored.others);
    }
    text + "\n"
}

fn of_run(run: &Document) -> String {
    let load = |text: &str| text.split(' ').next().unwrap_or_default().to_owned();
    let plans: Vec<&str> = run.facts.plan.benchmarks.iter().map(|benchmark| benchmark.key()).collect();
    let rows = || run.benchmarks.iter().chain(&run.unfinished).flat_map(|record| &record.rows);
    let sum = |count: fn(&Row) -> u32| rows().map(count).sum::<u32>();
    format!(
        "| {}{} | {} | {} | {}, {} | {}, {} |\n",
        run.facts.started_utc,
        if run.complete { "" } else { " (ended early)" },
        plans.join(" "),
        run.facts.plan.iterations,
        load(&run.facts.load_before),
        load(&run.facts.load_after),
        sum(|row| row.failures),
        sum(|row| row.timeouts),
    )
}

fn heading(title: &str, columns: &[String]) -> String {
    format!("## {title}\n\n| {} |\n{}|\n", columns.join(" | "), "|---".repeat(columns.len()))
}

fn by_target(stored: &Stored, table: &ByTarget) -> String {
    let columns: Vec<String> = table.columns.iter().map(|column| (*column).to_owned()).collect();
    let mut text = heading(table.title, &columns);
    for (brief, target) in table.lines {
        if brief.first().is_some_and(|name| !name.is_empty()) {
            text += &format!("| {} |\n", brief.join(" | "));
        }
        text += &line(stored, table.cells, target);
    }
    let benchmark = match table.cells.first() {
        Some(Cell::P50(benchmark, ..) | Cell::Batch(benchmark, _)) => *benchmark,
        _ => Benchmark::Startup,
    };
    let is_new =
        |target: &&str| !target.ends_with(EMULATED) && !table.lines.iter().any(|(_, known)| known == target);
    for target in stored.targets(benchmark).into_iter().filter(|_| table.has_others).filter(is_new) {
        text += &line(stored, table.cells, target);
    }
    text + "\n"
}

/// The name of a target of ours in a table.
fn named(stored: &Stored, target: &str) -> String {
    let name = target.split('@').next().unwrap_or(target);
    let measured = stored.row(Benchmark::Startup, name, Level::One);
    let mark = measured.and_then(|(_, run)| emulated(run, name));
    mark.map_or(format!("`{name}` *here*"), |mark| format!("`{name}` *here, emulated ({mark})*"))
}

/// Our line: its figures, or why it has none.
fn line(stored: &Stored, cells: &[Cell], target: &str) -> String {
    let shown: Vec<Result<String, String>> = cells.iter().map(|cell| show(stored, target, *cell)).collect();
    let name = named(stored, target);
    if let (true, Some(Err(why))) = (shown.iter().all(Result::is_err), shown.first()) {
        return format!("| {name} | could not run here, because {why} {}\n", "|".repeat(cells.len()));
    }
    let shown: Vec<String> = shown.into_iter().map(|cell| cell.unwrap_or_else(|_| "–".into())).collect();
    format!("| {name} | {} |\n", shown.join(" | "))
}

fn by_figure(stored: &Stored, table: &ByFigure) -> String {
    let ours = table.targets.iter().map(|target| named(stored, target));
    let columns: Vec<String> = table.columns.iter().map(|column| (*column).to_owned()).chain(ours).collect();
    let mut text = heading(table.title, &columns);
    for (brief, cell) in table.lines {
        let shown =
            table.targets.iter().map(|target| show(stored, target, *cell).unwrap_or_else(|_| "–".into()));
        text += &format!("| {} | {} |\n", brief.join(" | "), shown.collect::<Vec<_>>().join(" | "));
    }
    let reasons: Vec<String> =
        table.targets.iter().filter_map(|target| absent(stored, table, target)).collect();
    if reasons.is_empty() { text + "\n" } else { format!("{text}\n{}\n\n", reasons.join("\n")) }
}

/// Why a whole column is empty.
fn absent(stored: &Stored, table: &ByFigure, target: &str) -> Option<String> {
    let mut shown = table.lines.iter().map(|(_, cell)| show(stored, target, *cell));
    let why = shown.next()?.err()?;
    shown
        .all(|cell| cell.is_err())
        .then(|| format!("- {}: could not run here, because {why}", named(stored, target)))
}

/// What the brief has no table for.
fn rest(stored: &Stored) -> String {
    let mut text = String::new();
    let all = [
        Benchmark::Exec,
        Benchmark::Memory,
        Benchmark::Cpu,
        Benchmark::Syscalls,
        Benchmark::Io,
        Benchmark::Copy,
        Benchmark::Fork,
    ];
    for benchmark in all {
        let record = stored.runs().iter().find_map(|run| run.record(benchmark));
        if let Some(record) = record {
            text += &format!("## {}\n\n{}\n", benchmark.title(), table::of_record(record));
        }
    }
    text
}

/// Machines that are emulated in software are told of apart from all others.
fn in_software(stored: &Stored) -> String {
    let mut text = String::new();
    for benchmark in Benchmark::ALL {
        let mut records = stored.runs().iter().filter_map(|run| run.record(benchmark));
        let rows = records.find_map(|record| {
            let rows = record.rows.iter().filter(|row| row.target.ends_with(EMULATED)).cloned();
            Some(rows.collect::<Vec<_>>()).filter(|rows| !rows.is_empty())
        });
        let Some(rows) = rows else { continue };
        let table = table::of_record(&Record { benchmark, rows });
        text += &format!("### {}\n\n{table}\n", benchmark.title());
    }
    if text.is_empty() {
        text
    } else {
        format!("## Emulated in software\n\nThese say nothing of machines that are not.\n\n{text}")
    }
}

#[cfg(test)]
mod tests;
