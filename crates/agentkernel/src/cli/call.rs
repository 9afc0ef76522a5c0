//! `agentkernel call`: one function of a Wasm module, in an instance of its own.

use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::{Duration, Instant};

use agentkernel_api as api;
use agentkernel_client::Client;
use agentkernel_core::{ByteSize, Call, Limit, Phases, Returned, Usage, parse_duration};
use agentkernel_runtime::{BackendRequest, CallRequest, call};
use serde::Serialize;
use serde_json::Value;

use super::flags::{self, SandboxFlags};
use super::run::done::Way;
use super::run::{json, report};
use super::words::OneOf;
use super::{Format, block_on, daemon, wire};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::output;

/// What --backend may say.
pub const BACKENDS: &[&str] = &["auto", "hyperlight", "wasm"];

/// Call a function of a Wasm module, and print what it returned, as JSON
///
/// Each call has an instance of its own: nothing that an earlier call left in the module's memory is there. A module has
/// no files, no network and no variables, and what it prints in a call goes nowhere.
///
/// If a daemon answers (agentkernel serve), it is called there; else here. A daemon that AGENTKERNEL_URL names has to
/// answer.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// What holds it; auto is hyperlight, a micro VM, where that works, else wasm, software alone [default: auto]
    #[arg(long, value_name = "BACKEND", value_parser = OneOf::new(BACKENDS, BackendRequest::from_str))]
    backend: Option<BackendRequest>,

    /// Memory of the module, in bytes or with K, M, G, T, or unlimited, which is 4G [default: 512M]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Limit<ByteSize>>,

    /// Give the call up after this time, in ms, s, m or h [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Print on stderr where the time went, in milliseconds
    #[arg(long)]
    timing: bool,

    /// Print the result alone, or one JSON object with all that is known of the call [default: text]
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true, value_enum)]
    format: Format,

    /// Call it in this very process, even if there is a daemon
    #[arg(long)]
    no_daemon: bool,

    /// File of the module, binary or as text
    #[arg(value_name = "MODULE")]
    module: PathBuf,

    /// The function and its arguments as JSON: 'add(40, 2)'
    #[arg(value_name = "CALL", value_parser = Call::from_str)]
    call: Call,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel call math.wasm 'add(40, 2)'
  agentkernel call --timeout 100ms --memory 16M math.wasm 'fib(30)'
  agentkernel call --format json math.wasm 'sqrt(2.0)'

Exit codes: 0; or 2 wrong usage, 124 time limit, 125 failure of agentkernel, 126 not a module that can be run,
127 no such file, 134 the function trapped.";

/// A call that returned, wherever.
struct Done {
    choice: Option<(String, String)>,
    returned: Returned,
    phases: Phases,
    way: Way,
}

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    backend: Option<&'a str>,
    reason: Option<&'a str>,
    way: &'static str,
    origin: Option<&'static str>,
    values: &'a [Value],
    phases_ms: json::PhasesJson,
    usage: json::UsageJson,
}

/// Calls it and prints what it returned. Returns the exit code.
pub fn main(args: &Args, began: Instant, environment: &Environment) -> Result<u8, Failure> {
    let outcome = perform(args, began, environment);
    match (&outcome, args.format) {
        (Ok(done), Format::Text) => output::print(&text(&done.returned.values))?,
        (Ok(done), Format::Json) => print_json(done)?,
        (Err(failure), Format::Json) => {
            failure.error().map_or(Ok(()), |error| json::print_error(&error))?;
        }
        (Err(_), Format::Text) => {}
    }
    let done = outcome?;
    if args.timing {
        report::print_timing(&done.phases, done.way);
    }
    Ok(0)
}

/// The one result of most functions as it is; none as nothing, and several as an array.
fn text(values: &[Value]) -> String {
    match values {
        [] => String::new(),
        [one] => format!("{one}\n"),
        several => format!("{}\n", Value::from(several.to_vec())),
    }
}

fn print_json(done: &Done) -> Result<(), Failure> {
    output::print_json(&Json {
        schema: json::SCHEMA,
        backend: done.choice.as_ref().map(|(backend, _)| backend.as_str()),
        reason: done.choice.as_ref().map(|(_, reason)| reason.as_str()),
        way: done.way.who(),
        origin: done.way.origin(),
        values: &done.returned.values,
        phases_ms: json::phases(&done.phases),
        usage: json::usage(&done.returned.usage),
    })
}

fn perform(args: &Args, began: Instant, environment: &Environment) -> Result<Done, Failure> {
    let flags = SandboxFlags::of_module(args.backend, &args.module, args.memory);
    let settings = flags::settings(&flags.layer(environment)?, environment)?;
    flags::check_runs_modules(settings.backend, "call the function")?;
    let timeout = args.timeout.or(settings.timeout);
    let request = CallRequest {
        backend: settings.backend,
        spec: flags.spec(None, environment, &settings)?,
        call: Call { timeout, ..args.call.clone() },
        began,
    };
    if !args.no_daemon && (environment.is_daemon_named() || environment.socket().exists()) {
        match by_daemon(environment, &request) {
            Err(Failure::Daemon(error)) if error.has_not_begun() && !environment.is_daemon_named() => {}
            answer => return answer,
        }
    }
    let registry = environment.registry_for_modules();
    let report = block_on(async { Ok(call(&registry, &request).await?) })?;
    Ok(Done {
        choice: Some((report.choice.backend.to_string(), report.choice.reason)),
        returned: report.returned,
        phases: report.phases,
        way: Way { by_daemon: false, origin: Some(api::Origin::Cold) },
    })
}

fn by_daemon(environment: &Environment, request: &CallRequest) -> Result<Done, Failure> {
    let Call { function, arguments, timeout } = request.call.clone();
    let asked = api::CallRequest {
        sandbox: wire::sandbox(&request.spec, request.backend, None, None),
        call: api::FunctionCall { function, arguments, timeout_ms: timeout.map(wire::milliseconds) },
    };
    let client = Client::new(environment.daemon()?);
    let answer = block_on(async {
        match client.call(&asked).await {
            Err(error) if error.has_not_begun() => Err(error.into()),
            Err(error) => Err(daemon::explained(environment, &client, error).await.into()),
            Ok(result) => Ok(result),
        }
    })?;
    let usage: Usage = wire::usage(&answer.usage);
    Ok(Done {
        choice: None,
        returned: Returned { values: answer.values, usage },
        phases: wire::phases(&answer.phases, request.began.elapsed()),
        way: Way { by_daemon: true, origin: answer.origin },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_result_stands_alone_and_several_are_an_array() {
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[json!(42)]), "42\n");
        assert_eq!(text(&[json!(1), json!("NaN")]), "[1,\"NaN\"]\n");
    }
}
