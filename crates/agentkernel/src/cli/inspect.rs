//! `agentkernel inspect`: a live sandbox, and its posture as the host reads it now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentkernel_core::{Control, Error, Posture, SandboxName, nearest};
use agentkernel_oci::Record;
use serde::Serialize;

use super::Format;
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, paint};

/// Show a live sandbox, and whether its isolation holds
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1 if --posture finds a control that does not hold.")]
pub struct Args {
    /// Name of the sandbox, as given by --name or told by run --format json
    name: SandboxName,

    /// Read every control from the host now, beside what it must be
    #[arg(long)]
    posture: bool,

    /// Print text, or one JSON object
    #[arg(long, value_name = "FORMAT", default_value = "text", value_enum)]
    format: Format,
}

/// The JSON form. `schema` counts up when a reader of an older one would be misled.
#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    name: &'a str,
    backend: &'a str,
    pid: Option<i32>,
    cgroup: Option<&'a str>,
    created_s: u64,
    /// `null` unless it was asked for.
    posture: Option<PostureJson<'a>>,
}

#[derive(Serialize)]
struct PostureJson<'a> {
    holds: bool,
    controls: &'a [Control],
}

/// Finds the sandbox and prints what is known.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let runtime_dir = environment.runtime_dir();
    let record = agentkernel_oci::find(&runtime_dir, &args.name).map_err(|error| {
        let live = agentkernel_oci::live(&runtime_dir);
        with_nearest(error, &args.name, live.iter().map(|record| record.name.as_str()))
    })?;
    let posture = args.posture.then(|| record.posture(&runtime_dir));
    match args.format {
        Format::Text => output::print(&text(&record, posture.as_ref()))?,
        Format::Json => output::print_json(&json(&record, posture.as_ref()))?,
    }
    Ok(u8::from(posture.is_some_and(|posture| !posture.holds())))
}

fn with_nearest<'a>(error: Error, name: &SandboxName, live: impl Iterator<Item = &'a str>) -> Error {
    match nearest(name.as_str(), live) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error,
    }
}

fn json<'a>(record: &'a Record, posture: Option<&'a Posture>) -> Json<'a> {
    Json {
        schema: 1,
        name: record.name.as_str(),
        backend: record.backend.as_str(),
        pid: record.init.map(|init| init.pid),
        cgroup: record.cgroup.as_deref(),
        created_s: record.created_s,
        posture: posture.map(|posture| PostureJson { holds: posture.holds(), controls: &posture.controls }),
    }
}

fn text(record: &Record, posture: Option<&Posture>) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let unknown = || "none".to_owned();
    let rows = [
        row("name", record.name.to_string()),
        row("backend", format!("{}: {}", record.backend, record.backend.description())),
        row("pid", record.init.map_or_else(unknown, |init| init.pid.to_string())),
        row("cgroup", record.cgroup.clone().unwrap_or_else(unknown)),
        row("age", format!("{} s", age(record.created_s).as_secs())),
    ];
    let facts = paint::lines(&paint::table(&["sandbox", ""], rows));
    match posture {
        Some(posture) => format!("{facts}\n{}", posture_text(posture)),
        None => facts,
    }
}

fn posture_text(posture: &Posture) -> String {
    let rows = posture.controls.iter().map(|control| {
        let held = if control.held { "yes" } else { "NO" };
        vec![control.name.clone(), control.expected.clone(), control.actual.clone(), held.into()]
    });
    let table = paint::lines(&paint::table(&["control", "expected", "actual", "held"], rows));
    let broken = posture.broken().count();
    let all = posture.controls.len();
    if posture.holds() {
        format!("{table}\nall {all} controls hold\n")
    } else {
        format!("{table}\n{broken} of {all} controls DO NOT hold\n")
    }
}

fn age(created_s: u64) -> Duration {
    let created = UNIX_EPOCH + Duration::from_secs(created_s);
    SystemTime::now().duration_since(created).unwrap_or_default()
}
