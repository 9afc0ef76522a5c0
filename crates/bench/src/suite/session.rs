//! A run from its plan to its files.

use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use agentkernel_core::Result;

use super::benchmark::Plan;
use super::document::{Document, Facts, SCHEMA, SCHEMA_VERSION};
use super::machine::{Machine, Site};
use super::measure::{Outcome, Progress, measure};
use super::{Benchmark, methodology, plot, table};
use crate::environment::{self, Environment};
use crate::refusal::{Failure, host};
use crate::{results, statistics, text};

/// How often nothing is measured, to know what that takes.
const NOTHINGS: usize = 1001;
/// The table beside the results.
const TABLE: &str = "table.md";
/// How they came about, beside them.
const METHODOLOGY: &str = "methodology.txt";

/// Measures, saving after each benchmark into a folder of its own below `output`. The run that ended early comes with
/// its failure.
///
/// # Errors
/// Nothing could be begun.
pub fn run(
    plan: &Plan,
    machine: &mut Machine,
    output: &Path,
    progress: Progress<'_>,
) -> Result<(PathBuf, Document, Option<Failure>), Failure> {
    let facts = facts(plan, machine)?;
    let folder = output.join(&facts.started_utc);
    std::fs::create_dir_all(&folder)
        .map_err(|why| host("make the folder of the results", folder.display(), why))?;
    let outcome = measure(plan, machine, progress, &mut |outcome| {
        save(&folder, &document(&facts, outcome))?;
        Ok(())
    });
    let facts = Facts { proven: machine.proven(), ..facts };
    let document = document(&facts, &outcome);
    save(&folder, &document)?;
    Ok((folder, document, outcome.failure))
}

/// What was measured first of all, then what is made of it.
fn save(folder: &Path, document: &Document) -> Result<()> {
    document.save(folder)?;
    let plots = plot::save(document, folder)?;
    let plots: String = plots.iter().map(|name| format!("![{name}]({name})\n")).collect();
    let failed = |why| host("save the table", folder.display(), why);
    results::save(folder, METHODOLOGY, &methodology::of(document)).map_err(failed)?;
    results::save(folder, TABLE, &format!("{}\n{plots}", table::of(document))).map_err(failed)
}

fn document(facts: &Facts, outcome: &Outcome) -> Document {
    let done: Vec<Benchmark> = outcome.records.iter().map(|record| record.benchmark).collect();
    Document {
        schema: SCHEMA.into(),
        schema_version: SCHEMA_VERSION,
        complete: outcome.failure.is_none() && done == facts.plan.benchmarks,
        failure: outcome.failure.as_ref().map(ToString::to_string),
        facts: Facts { load_after: environment::load(), ..facts.clone() },
        benchmarks: outcome.records.clone(),
        unfinished: outcome.unfinished.clone(),
    }
}

fn facts(plan: &Plan, machine: &Machine) -> Result<Facts> {
    let site: &Site = machine.site();
    let digest = text::sha256_of_file(&site.program);
    Ok(Facts {
        started_utc: text::utc(SystemTime::now()),
        version: env!("CARGO_PKG_VERSION").into(),
        program_sha256: digest.map_err(|why| host("read the program", site.program.display(), why))?,
        build: if cfg!(debug_assertions) { "debug" } else { "release" }.into(),
        plan: plan.clone(),
        environment: Environment::gather(agentkernel_oci::HostFacts::gather().hierarchy.describe()),
        load_before: environment::load(),
        load_after: String::new(),
        targets: machine.described(),
        deadline_ms: u64::try_from(site.deadline.as_millis()).unwrap_or(u64::MAX),
        harness_ns: nothing(),
        proven: machine.proven(),
        kvm: machine.kvm(),
    })
}

/// What judging a result takes, p50. What else the harness has in a sample (fork, exec, wait) the bare host's row shows.
fn nothing() -> u64 {
    let mut taken: Vec<u64> = (0..NOTHINGS)
        .map(|_| {
            let began = Instant::now();
            std::hint::black_box(text::sha256(std::hint::black_box(b"ready\n")));
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    statistics::middle(&mut taken)
}
