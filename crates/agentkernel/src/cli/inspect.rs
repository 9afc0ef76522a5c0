//! `agentkernel inspect`: a live sandbox, and its posture as the host reads it now.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentkernel_api as api;
use agentkernel_client::Connection;
use agentkernel_core::{Control, Error, Posture, SandboxName, nearest};
use agentkernel_oci::{Record, RuntimeDir};
use serde::Serialize;

use super::{Format, daemon};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, paint};

/// Show a sandbox, and whether its isolation holds
///
/// With a daemon, any sandbox that it holds or remembers; without one, those of runs that are under way.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit code 1 if --posture finds a control that does not hold.")]
#[command(
    after_long_help = "Examples:\n  agentkernel inspect web\n  agentkernel inspect web --posture --format json\n\n\
Exit code 1 if --posture finds a control that does not hold."
)]
pub struct Args {
    /// Name of the sandbox, as given by --name or told by create or run --format json
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
    /// What the daemon knows, if it holds or remembers it.
    sandbox: Option<&'a api::Sandbox>,
    /// `null` unless it was asked for.
    posture: Option<PostureJson<'a>>,
}

#[derive(Serialize)]
struct PostureJson<'a> {
    holds: bool,
    controls: &'a [Control],
}

/// What is known of a sandbox, by the daemon or on this host.
struct Known {
    sandbox: Option<api::Sandbox>,
    record: Option<Record>,
}

/// Finds the sandbox and prints what is known.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let runtime_dir = environment.runtime_dir();
    let known = find(args, environment, &runtime_dir)?;
    let posture = if args.posture { posture(&known, environment, &runtime_dir)? } else { None };
    match args.format {
        Format::Text => output::print(&text(args, &known, posture.as_ref()))?,
        Format::Json => output::print_json(&json(args, &known, posture.as_ref()))?,
    }
    Ok(u8::from(posture.is_some_and(|posture| !posture.holds())))
}

fn find(args: &Args, environment: &Environment, runtime_dir: &RuntimeDir) -> Result<Known, Failure> {
    if let Some(sandbox) = ask_daemon(args, environment)? {
        let host_name = sandbox.host_name.as_deref().and_then(|name| name.parse::<SandboxName>().ok());
        let record = host_name.filter(|_| !environment.is_daemon_named());
        let record = record.and_then(|name| agentkernel_oci::find(runtime_dir, &name).ok());
        return Ok(Known { sandbox: Some(sandbox), record });
    }
    let record = agentkernel_oci::find(runtime_dir, &args.name).map_err(|error| {
        let live = agentkernel_oci::live(runtime_dir);
        let names = live.iter().map(|record| record.name.as_str());
        let remembered = remembered(environment);
        with_nearest(error, &args.name, names.chain(remembered.iter().map(String::as_str)))
    })?;
    Ok(Known { sandbox: None, record: Some(record) })
}

/// The sandbox, if there is a daemon that knows it.
fn ask_daemon(args: &Args, environment: &Environment) -> Result<Option<api::Sandbox>, Failure> {
    if !environment.is_daemon_named() && Connection::unix(&environment.socket()).is_err() {
        return Ok(None);
    }
    daemon::ask(environment, async |client| match client.sandbox(args.name.as_str()).await {
        Ok(sandbox) => Ok(Some(sandbox)),
        // It may be that of a run in another process of this host.
        Err(error)
            if error.kind() == Some(api::ErrorKind::NoSuchSandbox) && !environment.is_daemon_named() =>
        {
            Ok(None)
        }
        Err(error) => Err(daemon::about(&client, args.name.as_str(), error).await),
    })
}

/// The names that the daemon knows; none if there is no daemon.
fn remembered(environment: &Environment) -> Vec<String> {
    if Connection::unix(&environment.socket()).is_err() {
        return Vec::new();
    }
    let list = daemon::ask(environment, async |client| Ok(client.list(true).await?));
    list.map_or_else(|_| Vec::new(), |list| list.sandboxes.into_iter().map(|sandbox| sandbox.name).collect())
}

fn with_nearest<'a>(error: Error, name: &SandboxName, live: impl Iterator<Item = &'a str>) -> Error {
    match nearest(name.as_str(), live) {
        Some(near) => error.hint(format!("did you mean '{near}'?")),
        None => error,
    }
}

fn posture(
    known: &Known,
    environment: &Environment,
    runtime_dir: &RuntimeDir,
) -> Result<Option<Posture>, Failure> {
    if let Some(record) = &known.record {
        return Ok(Some(record.posture(runtime_dir)));
    }
    let Some(sandbox) = &known.sandbox else { return Ok(None) };
    let posture = daemon::ask(environment, async |client| Ok(client.posture(&sandbox.id).await?))?;
    let control = |control: api::Control| Control {
        name: control.name,
        expected: control.expected,
        actual: control.actual,
        held: control.held,
    };
    Ok(Some(Posture { controls: posture.controls.into_iter().map(control).collect() }))
}

fn json<'a>(args: &'a Args, known: &'a Known, posture: Option<&'a Posture>) -> Json<'a> {
    let Known { sandbox, record } = known;
    let backend = sandbox.as_ref().map(|sandbox| sandbox.backend.as_str());
    Json {
        schema: 1,
        name: sandbox.as_ref().map_or(args.name.as_str(), |sandbox| &sandbox.name),
        backend: backend.or(record.as_ref().map(|record| record.backend.as_str())).unwrap_or_default(),
        pid: record.as_ref().and_then(|record| record.init).map(|init| init.pid),
        cgroup: record.as_ref().and_then(|record| record.cgroup.as_deref()),
        created_s: sandbox
            .as_ref()
            .map(|sandbox| sandbox.created_ms / 1000)
            .or(record.as_ref().map(|record| record.created_s))
            .unwrap_or_default(),
        sandbox: sandbox.as_ref(),
        posture: posture.map(|posture| PostureJson { holds: posture.holds(), controls: &posture.controls }),
    }
}

fn text(args: &Args, known: &Known, posture: Option<&Posture>) -> String {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![row("name", args.name.to_string())];
    if let Some(sandbox) = &known.sandbox {
        rows.extend(sandbox_rows(sandbox));
    }
    if let Some(record) = &known.record {
        let unknown = || "none".to_owned();
        rows.extend([
            row("backend", format!("{}: {}", record.backend, record.backend.description())),
            row("pid", record.init.map_or_else(unknown, |init| init.pid.to_string())),
            row("cgroup", record.cgroup.clone().unwrap_or_else(unknown)),
            row("age", format!("{} s", age(record.created_s).as_secs())),
        ]);
    }
    let facts = paint::lines(&paint::table(&["sandbox", ""], rows));
    match posture {
        Some(posture) => format!("{facts}\n{}", posture_text(posture)),
        None => facts,
    }
}

/// What only the daemon knows.
fn sandbox_rows(sandbox: &api::Sandbox) -> Vec<Vec<String>> {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let limits = &sandbox.limits;
    let mut rows = vec![
        row("id", sandbox.id.clone()),
        row("state", sandbox.state.to_string()),
        row("reason", sandbox.reason.clone()),
        row("warning", sandbox.warning.clone().unwrap_or_else(|| "none".into())),
        row(
            "limits",
            format!(
                "memory {}, cpus {}, pids {}, disk {}",
                limits.memory, limits.cpus, limits.pids, limits.disk
            ),
        ),
    ];
    if let Some(cause) = sandbox.cause {
        let detail = sandbox.detail.as_deref().unwrap_or_default();
        rows.push(row("cause", format!("{cause}: {}", paint::one_line(detail))));
    }
    let now = paint::now_ms();
    let left = |deadline: u64| row("time left", paint::age(deadline.saturating_sub(now)));
    rows.extend(sandbox.deadline_ms.filter(|_| sandbox.cause.is_none()).map(left));
    rows.extend(sandbox.idle_timeout_ms.map(|ms| row("idle timeout", paint::age(ms))));
    let label = |(key, value): (&String, &String)| row("label", paint::one_line(&format!("{key}={value}")));
    rows.extend(sandbox.labels.iter().map(label));
    rows
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
