//! `agentkernel bench`: measures this machine's backends, and compares what was measured.

mod report;

use std::io::PipeWriter;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_bench::random;
use agentkernel_bench::refusal::{Failure as Refused, REFUSED};
use agentkernel_bench::suite::machine::work::{COPIED_BYTES, COPIED_FILES};
use agentkernel_bench::suite::machine::{Machine, Site, Wanted};
use agentkernel_bench::suite::{Benchmark, Document, Plan, compare, self_test, session, table};
use agentkernel_bench::workplace::Workplace;
use agentkernel_core::{Error, ErrorKind, parse_duration};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressDrawTarget};

use crate::environment::{self, Environment};
use crate::errors::{self, Failure};
use crate::{output, signals};

/// Where the folder of a run's own is made: not on a file system for temporary files, which may be mounted nosuid.
const WORK: &str = "/var/tmp";

/// Where runs are kept, unless it is said otherwise.
pub const RESULTS: &str = "benchmark-results";

/// Exit code where something is slower than it may be.
const SLOWER: u8 = 1;

/// Measure the backends of this machine, and compare what was measured
///
/// Every sample's exit code and output must be right: one that is not ends the run with exit code 3.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    subcommand: Words,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel bench run startup phases
  agentkernel bench run concurrent --backend oci --at-once 16 --vs docker,bwrap
  agentkernel bench compare benchmark-results/A benchmark-results/B
  agentkernel bench report benchmark-results/A
  agentkernel bench report --page --write BENCHMARKS.md

Exit codes: 0 measured, 1 slower than --check allows, 2 wrong usage, 3 a target was refused, 125 it could not be
measured, 130 interrupted; what was finished before is kept.";

#[derive(Debug, Subcommand)]
enum Words {
    Run(Box<RunArgs>),
    /// Compare two runs
    Compare {
        /// The folder of the first run
        first: PathBuf,
        /// The folder of the second run
        second: PathBuf,
    },
    Report(report::Args),
}

/// Measure
#[derive(Debug, clap::Args)]
struct RunArgs {
    /// startup, phases, exec, concurrent, stress, lifecycle, memory, cpu, syscalls, io, output, copy, fork
    #[arg(value_name = "PLAN", required_unless_present = "self_test", value_parser = Benchmark::named)]
    plans: Vec<Benchmark>,

    /// Only these backends of ours [default: all; one that cannot run here says why]
    #[arg(long, value_name = "NAME,…", value_delimiter = ',')]
    backend: Vec<String>,

    /// Each backend out of a daemon's pool as well, where one command is measured
    #[arg(long)]
    warm: bool,

    /// What works here only emulated, emulated; its figures are marked, and say nothing of the real thing
    #[arg(long)]
    emulate: bool,

    /// The daemon for what lives and what is warm, whose pool of what is measured is emptied after it [default: one of the
    /// run's own, which ends with it]
    #[arg(long, value_name = "URL")]
    daemon: Option<String>,

    /// Also these tools of others: docker, podman, bwrap, runc, runsc, wasmtime, and e2b:URL by E2B's client for Python (E2B_API_KEY)
    #[arg(long, value_name = "TOOL,…", value_delimiter = ',')]
    vs: Vec<String>,

    /// The image that docker and podman are told to use; nothing is fetched
    #[arg(long, value_name = "IMAGE", default_value = "docker.io/library/busybox")]
    image: String,

    /// Samples of each target
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    iterations: u32,

    /// Samples before them that are thrown away; of concurrent, stress and lifecycle one at most
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=1000))]
    warm_ups: u32,

    /// The most that are taken at once, in concurrent, stress and lifecycle; as many are warm, and wait in memory
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1000))]
    at_once: u32,

    /// Commands of each target in stress
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,

    /// Of every random decision [default: a random one]
    #[arg(long)]
    seed: Option<u64>,

    /// The most that one command may take
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,

    /// Where the folder of the run is made
    #[arg(long, value_name = "DIR", default_value = RESULTS)]
    output: PathBuf,

    /// Fail where something is slower than in this run
    #[arg(long, value_name = "DIR")]
    check: Option<PathBuf>,

    /// Measure nothing: try targets that fail, lie and hang, each of which must be refused
    #[arg(long, conflicts_with_all = ["plans", "check"])]
    self_test: bool,

    /// By how much it may be, in percent
    #[arg(long, value_name = "PERCENT", default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=1000))]
    tolerance: u32,
}

/// Does it.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    match &args.subcommand {
        Words::Run(args) => run(args, environment),
        Words::Compare { first, second } => {
            let changes = compare::changes(&Document::load(first)?, &Document::load(second)?);
            output::print(&compare::table(&changes))?;
            Ok(0)
        }
        Words::Report(args) => report::main(args),
    }
}

fn run(args: &RunArgs, environment: &Environment) -> Result<u8, Failure> {
    if args.self_test {
        return test_ourselves();
    }
    // What it is compared with is read first: a wrong name costs no run.
    let before = args.check.as_deref().map(Document::load).transpose()?;
    let seed = args.seed.map_or_else(random::seed, Ok)?;
    let plan = plan(args, seed);
    let work = Workplace::new(Path::new(WORK), None)?;
    let measured = measure(args, &plan, site(args, environment, seed, &work)?);
    let removed = work.remove();
    let (folder, document, failure) = match measured {
        Ok(measured) => measured,
        Err(failure) => return told(&failure),
    };
    removed?;
    output::print(&table::of(&document))?;
    errors::say(&format!("the results are in {}", folder.display()));
    match (failure, before) {
        (Some(failure), _) => told(&failure),
        (None, Some(before)) => check(&before, &document, args.tolerance),
        (None, None) => Ok(0),
    }
}

fn test_ourselves() -> Result<u8, Failure> {
    let work = Workplace::new(Path::new(WORK), None)?;
    let tested = self_test::run(work.path(), &mut |line| errors::say(line));
    work.remove()?;
    match tested {
        Ok(true) => Ok(0),
        Ok(false) => Ok(REFUSED),
        Err(failure) => told(&failure),
    }
}

fn site(args: &RunArgs, environment: &Environment, seed: u64, work: &Workplace) -> Result<Site, Failure> {
    let mut variables = environment.for_benchmarks();
    variables.extend(environment.api_key().filter(|_| args.daemon.is_some()));
    Ok(Site {
        program: environment::program().map_err(|why| host("find this program", why))?,
        folders: environment.search_path(),
        variables,
        deadline: args.timeout,
        seed,
        token: format!("ready-{seed:016x}"),
        image: args.image.clone(),
        at_once_max: args.at_once,
        copied_bytes: COPIED_BYTES,
        copied_files: COPIED_FILES,
        work: work.path().to_owned(),
        home: work.home(),
        machines: environment.microvm_home(),
        daemon: args.daemon.clone(),
        e2b_api_key: environment.e2b_api_key(),
    })
}

/// The folder of the results, what was measured, and why it ended early, if it did.
type Measured = (PathBuf, Document, Option<Refused>);

fn measure(args: &RunArgs, plan: &Plan, site: Site) -> Result<Measured, Refused> {
    let wanted = Wanted {
        backends: args.backend.clone(),
        warm: args.warm,
        emulate: args.emulate,
        rivals: args.vs.clone(),
    };
    let (mut machine, trigger) = Machine::new(site, &wanted)?;
    listen(trigger)?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let mut progress = |benchmark: Benchmark, done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_message(benchmark.key());
        bar.set_position(done as u64);
    };
    let measured = session::run(plan, &mut machine, &args.output, &mut progress);
    bar.finish_and_clear();
    measured
}

fn plan(args: &RunArgs, seed: u64) -> Plan {
    Plan {
        benchmarks: args.plans.clone(),
        iterations: args.iterations,
        warm_ups: args.warm_ups,
        seed,
        at_once_max: args.at_once,
        stress_count: args.count,
    }
}

fn told(failure: &Refused) -> Result<u8, Failure> {
    match failure {
        Refused::Error(error) => Err(error.clone().into()),
        other => {
            errors::say(&other.to_string());
            other.hint().into_iter().for_each(errors::say_hint);
            Ok(other.exit_code())
        }
    }
}

fn check(before: &Document, now: &Document, tolerance: u32) -> Result<u8, Failure> {
    let changes = compare::changes(before, now);
    if changes.is_empty() {
        let why = "the two runs have no target in common";
        return Err(Error::new(ErrorKind::Usage, "check the results", why).into());
    }
    let slower = compare::slower(&changes, f64::from(tolerance) / 100.0);
    for change in &slower {
        let ratio = change.ratio.p50;
        errors::say(&format!("{} is slower than {tolerance} % allow: {ratio:.2} ×", change.what));
    }
    Ok(if slower.is_empty() { 0 } else { SLOWER })
}

/// The first signal that wants the end interrupts the run, which then ends what it has started.
fn listen(trigger: PipeWriter) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| host("start the async runtime", why))?;
    let guard = runtime.enter();
    let mut signals = signals::listen(false).map_err(|why| host("listen to signals", why))?;
    drop(guard);
    std::thread::spawn(move || {
        runtime.block_on(async {
            // Of a caller who wants all of them ignored there is none.
            if signals.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        });
        drop(trigger);
    });
    Ok(())
}

fn host(what: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Host, what, why)
}
