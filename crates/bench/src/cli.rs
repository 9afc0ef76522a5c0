//! The program: from words to a run, and from a run to files and a table.

mod arguments;
mod origin;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use agentkernel_core::{Availability, Error, ErrorKind, Result};
use agentkernel_oci::engine::Engine;
use agentkernel_oci::{HostFacts, IdBlock};

pub use arguments::{Arguments, Variables};
use origin::Origin;

use crate::environment::{self, Environment};
use crate::executor::Executor as _;
use crate::measure::{self, Outcome};
use crate::plan::{Metric, Plan};
use crate::proof;
use crate::refusal::{Cause, Failure, Refusal, host};
use crate::report;
use crate::results::{self, Course, Facts};
use crate::sandbox::{Bundle, Group, PageCache, Sandboxes, Site, target};
use crate::workload;
use crate::workplace::Workplace;
use crate::{self_test, text};

/// Does what the words say.
pub fn run(arguments: &Arguments) -> Result<(), Failure> {
    if arguments.self_test { test_ourselves(arguments) } else { compare(arguments) }
}

fn say(line: &str) {
    // Nothing can be done if nobody reads it.
    drop(writeln!(io::stderr().lock(), "agentkernel-bench: {line}"));
}

fn test_ourselves(arguments: &Arguments) -> Result<(), Failure> {
    let work = Workplace::new(&arguments.work_dir, None)?;
    let right = self_test::run(work.path(), &mut say)?;
    work.remove()?;
    if right {
        say("every fake runtime was refused for its own reason, and the honest one was not");
        return Ok(());
    }
    let why = "a fake runtime was not refused as it must be; see above".to_owned();
    Err(Failure::Refused(Refusal {
        target: "the harness itself".into(),
        while_measuring: "self-test".into(),
        cause: Cause::Incredible { why },
    }))
}

/// gVisor against runc.
fn compare(arguments: &Arguments) -> Result<(), Failure> {
    let origin = Origin::of(arguments)?;
    let host_facts = HostFacts::gather();
    refuse_without_root(&host_facts)?;
    let (gvisor, strictest) = target::find(Engine::Gvisor, &arguments.folders)?;
    let (runc, _) = target::find(Engine::Runc, &arguments.folders)?;
    let block = IdBlock::borrow()?;
    let bundle = Bundle::new(&host_facts, &block, arguments.size, &strictest)?;
    let work = Workplace::new(&arguments.work_dir, Some(&bundle.group))?;
    let group = Group::at(&bundle.group).map_err(|why| host("find the group", &bundle.group, why))?;
    let measured = origin.source(work.path()).map_err(Failure::Error).and_then(|source| {
        let site = Site {
            work: work.path().to_owned(),
            source,
            bundle,
            group,
            deadline: arguments.deadline,
            seed: arguments.seed,
            page_cache: if arguments.keep_page_cache { PageCache::Keep } else { PageCache::Drop },
        };
        let mut sandboxes = Sandboxes::new(site, vec![gvisor, runc])?;
        session(arguments, &host_facts, &mut sandboxes)
    });
    let ended = if arguments.keep {
        say(&format!("the bundles are kept in {} until the next run", work.path().display()));
        Ok(())
    } else {
        work.remove()
    };
    block.give_back().map_err(|why| host("give the block of ids back", "/run/agentkernel/ids", why))?;
    measured?;
    Ok(ended?)
}

/// From the proof to the table.
fn session(arguments: &Arguments, host_facts: &HostFacts, sandboxes: &mut Sandboxes) -> Result<(), Failure> {
    let mut facts = facts(arguments, host_facts, sandboxes)?;
    for index in 0..sandboxes.targets().len() {
        let proof = proof::take(sandboxes, index)?;
        say(&format!(
            "{}: all {} controls hold; {}",
            proof.target,
            proof.checks.len(),
            proof.inside["kernel"]
        ));
        facts.proofs.push(proof);
    }
    let folder = output_folder(arguments, &facts.started_utc)?;
    let mut watch = |outcome: &Outcome| {
        if let Some(measured) = outcome.measured.last() {
            say(&format!("{}: done", measured.metric.title()));
        }
        save(&folder, &facts, &Course { load_after: environment::load(), ..Course::default() }, outcome)
    };
    let outcome = measure::measure(&facts.plan, sandboxes, &mut watch);
    let course = Course {
        load_after: environment::load(),
        page_cache: sandboxes.page_cache(),
        work_alone_ns: sandboxes.overhead_ns(),
    };
    save(&folder, &facts, &course, &outcome)?;
    if let Some(failure) = outcome.failure {
        return Err(failure);
    }
    let printed = io::stdout().lock().write_all(report::table(&facts.plan, &outcome).as_bytes());
    printed.map_err(|why| host("print the table", "stdout", why))?;
    say(&format!("results.json and methodology.txt are in {}", folder.display()));
    Ok(())
}

fn save(folder: &Path, facts: &Facts, course: &Course, outcome: &Outcome) -> Result<(), Failure> {
    let failed = |why: io::Error| host("save the results", folder.display(), why);
    let document = serde_json::to_string_pretty(&results::document(facts, course, outcome));
    let document = document.map_err(|why| failed(io::Error::other(why)))?;
    results::save(folder, "results.json", &document).map_err(failed)?;
    results::save(folder, "methodology.txt", &report::methodology(facts, course)).map_err(failed)?;
    results::save(folder, "table.md", &report::table(&facts.plan, outcome)).map_err(failed)?;
    Ok(())
}

fn facts(arguments: &Arguments, host_facts: &HostFacts, sandboxes: &Sandboxes) -> Result<Facts> {
    let site = sandboxes.site();
    let targets = sandboxes.targets();
    Ok(Facts {
        started_utc: text::utc(SystemTime::now()),
        commit: arguments.commit.clone(),
        plan: Plan {
            metrics: arguments.metrics.clone(),
            targets: targets.iter().map(|target| target.name.clone()).collect(),
            iterations: arguments.iterations,
            warm_ups: arguments.warm_ups,
            seed: arguments.seed,
        },
        environment: Environment::gather(host_facts.hierarchy.describe()),
        load_before: environment::load(),
        targets: targets.to_vec(),
        bundle_sha256: text::sha256(&site.bundle.with(&workload::work_of(Metric::WarmStart, site.seed))),
        rootfs_sha256: sandboxes.rootfs_digest()?,
        rootfs: site.source.to_string(),
        image: site.source.image().cloned(),
        limits: site.bundle.limits,
        deadline_ms: u64::try_from(site.deadline.as_millis()).unwrap_or(u64::MAX),
        proofs: Vec::new(),
    })
}

fn refuse_without_root(facts: &HostFacts) -> Result<()> {
    let refused = |why: &str, hint: &str| Err(Error::new(ErrorKind::Unavailable, "measure", why).hint(hint));
    if !facts.root {
        return refused("only root can make the bundle's ids, groups and mounts", "run it as root (sudo)");
    }
    match facts.obstacle() {
        Some(Availability::Unavailable { needs, hint }) => refused(&format!("it needs {needs}"), &hint),
        _ => Ok(()),
    }
}

fn output_folder(arguments: &Arguments, started: &str) -> Result<PathBuf> {
    let folder = arguments.output.clone();
    let folder = folder.unwrap_or_else(|| Path::new("benchmark-results").join(started));
    fs::create_dir_all(&folder)
        .map_err(|why| host("make the folder of the results", folder.display(), why))?;
    Ok(folder)
}
