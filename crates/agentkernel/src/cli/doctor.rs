//! `agentkernel doctor`: what works here, and what the rest needs.

use std::path::PathBuf;
use std::sync::Arc;

use agentkernel_bench::environment::Environment as Machine;
use agentkernel_bench::suite::recommend::{self, Choice};
use agentkernel_bench::suite::stored::Stored;
use agentkernel_core::{Availability, Error, ErrorKind};
use agentkernel_oci::{HostFacts, Zygote};
use agentkernel_runtime::doctor::{self, Answer, Diagnosis, HostPosture};
use serde::Serialize;

use super::bench::RESULTS;
use super::{Format, block_on, daemon};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, paint};

/// What measures what is chosen by.
const MEASURE: &str = "measure this machine first: agentkernel bench run startup --warm";

/// Try each backend, and say what works here and what the rest needs
///
/// Also whether the daemon answers that the other words would ask.
///
/// Exit code 0 if at least one backend works, else 1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print text, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    format: Format,

    /// Say which backend to choose for what, by what agentkernel bench has measured on this machine
    #[arg(long)]
    recommend: bool,

    /// Where the results of agentkernel bench are
    #[arg(long, value_name = "DIR", requires = "recommend", default_value = RESULTS)]
    results: PathBuf,
}

/// The JSON form. `schema` counts up when a reader of an older one would be misled.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    version: &'static str,
    #[serde(flatten)]
    diagnosis: &'a Diagnosis,
    daemon: DaemonState,
}

/// The daemon that would be asked.
#[derive(Serialize)]
struct DaemonState {
    /// Where it is looked for; `null` if that cannot be read.
    address: Option<String>,
    /// What it is, if it answers.
    #[serde(flatten)]
    answer: Option<DaemonAnswer>,
    /// Why not.
    why: Option<String>,
}

#[derive(Serialize)]
struct DaemonAnswer {
    version: String,
    pid: u32,
}

/// Examines the host and prints what was found.
pub fn main(args: &Args, environment: &Environment, zygote: Arc<Zygote>) -> Result<u8, Failure> {
    if args.recommend {
        return recommend(args);
    }
    let registry = environment.registry(zygote);
    let diagnosis = block_on(async { Ok(doctor::examine(&registry).await) })?;
    let daemon = daemon_state(environment);
    match args.format {
        Format::Text => output::print(&text(&diagnosis, &daemon))?,
        Format::Json => {
            let json = Json { schema: 1, version: env!("CARGO_PKG_VERSION"), diagnosis: &diagnosis, daemon };
            output::print_json(&json)?;
        }
    }
    Ok(u8::from(!diagnosis.is_usable()))
}

#[derive(Serialize)]
struct Recommendation<'a> {
    schema: u32,
    /// The newest of the runs that this is by.
    run: &'a str,
    choices: Vec<Choice>,
}

/// Chooses by the figures of this machine, and by no others.
fn recommend(args: &Args) -> Result<u8, Failure> {
    let stored = Stored::load(&args.results).map_err(|error| error.hint(MEASURE))?;
    let here = HostFacts::gather().hierarchy.describe();
    if !stored.is_of(&Machine::gather(here)) {
        let why = "the newest results there are of another machine";
        let error = Error::new(ErrorKind::Unavailable, "choose a backend", why);
        return Err(error.on(args.results.display()).hint(MEASURE).into());
    }
    let run = stored.newest().map_or("", |run| &run.facts.started_utc);
    let choices = recommend::choices(&stored);
    match args.format {
        Format::Json => output::print_json(&Recommendation { schema: 1, run, choices })?,
        Format::Text => {
            let rows = choices.into_iter().map(|Choice { use_case, backend, why, .. }| {
                vec![use_case.to_owned(), backend.unwrap_or_else(|| "none".into()), why]
            });
            let table = paint::lines(&paint::table(&["for", "choose", "because"], rows));
            output::print(&format!(
                "{table}\nBy the runs in {}, the newest of {run}.\n",
                args.results.display()
            ))?;
        }
    }
    Ok(0)
}

/// Asks the daemon what it is. That there is none is no fault: most words need none.
fn daemon_state(environment: &Environment) -> DaemonState {
    let address = environment.daemon().ok().map(|address| address.to_string());
    match daemon::ask(environment, async |client| Ok(client.info().await?)) {
        Ok(info) => {
            let answer = DaemonAnswer { version: info.version, pid: info.pid };
            DaemonState { address, answer: Some(answer), why: None }
        }
        Err(failure) => DaemonState { address, answer: None, why: failure.error().map(|error| error.why) },
    }
}

fn text(diagnosis: &Diagnosis, daemon: &DaemonState) -> String {
    let mut rows = Vec::new();
    for backend in &diagnosis.backends {
        let kind = backend.backend.to_string();
        match &backend.availability {
            Availability::Available { facts } => {
                rows.push(vec![kind, "available".into(), backend.description.clone()]);
                rows.extend(facts.iter().map(|(name, value)| continued(&format!("{name}: {value}"))));
            }
            Availability::Limited { facts, limitation } => {
                rows.push(vec![kind, "limited".into(), limitation.clone()]);
                rows.extend(facts.iter().map(|(name, value)| continued(&format!("{name}: {value}"))));
            }
            Availability::Unavailable { needs, hint } => {
                rows.push(vec![kind, "unavailable".into(), format!("needs {needs}")]);
                rows.push(continued(&format!("hint: {hint}")));
            }
        }
    }
    let backends = paint::lines(&paint::table(&["backend", "status", "details"], rows));
    let host = paint::lines(&paint::table(&["host", ""], host_rows(&diagnosis.host)));
    let daemon = paint::lines(&paint::table(&["daemon", ""], daemon_rows(daemon)));
    format!("{backends}\n{host}\n{daemon}")
}

fn daemon_rows(daemon: &DaemonState) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let answers = match &daemon.answer {
        Some(DaemonAnswer { version, pid }) => format!("yes: agentkernel {version}, process {pid}"),
        None => format!("no: {}", daemon.why.as_deref().unwrap_or_default()),
    };
    let address = daemon.address.clone().map(|address| row("address", address));
    address.into_iter().chain([row("answers", answers)]).collect()
}

fn continued(details: &str) -> Vec<String> {
    vec![String::new(), String::new(), details.to_owned()]
}

fn host_rows(host: &HostPosture) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let writable = if host.cgroups.writable { "writable" } else { "not writable for this user" };
    let mut rows = vec![
        row("kernel", format!("Linux {} on {}", host.kernel, host.architecture)),
        row("user namespaces", answer(&host.user_namespaces)),
        row("seccomp", answer(&host.seccomp)),
        row("cgroups", format!("{}, {writable}", host.cgroups.version)),
        row("kvm", host.kvm.describe()),
        row("swap", if host.swap { "on; sandboxes get none" } else { "off" }.into()),
    ];
    if let Some(hint) = host.kvm.hint() {
        rows.insert(5, row("", format!("hint: {hint}")));
    }
    rows
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Yes => "yes".into(),
        Answer::No { why } => format!("no: {why}"),
    }
}
