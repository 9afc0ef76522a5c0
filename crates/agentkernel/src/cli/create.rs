//! `agentkernel create`: a sandbox that lives until somebody, or its time, ends it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use agentkernel_api::SandboxRequest;
use agentkernel_core::{Result, SandboxName, parse_duration};
use tokio::sync::Notify;

use super::command_flags::variables;
use super::flags::{self, SandboxFlags, usage};
use super::{daemon, serve, wire};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::{output, progress};

/// Make a sandbox that lives on, and print its name
///
/// Commands are run in it with exec. It lives until rm or stop, or until its time is up. A daemon holds it; if there
/// is none, and AGENTKERNEL_URL does not name one, one is started.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    sandbox: SandboxFlags,

    /// Set a variable for every command; with its name alone, to the value that it has here. May be repeated
    #[arg(short = 'e', long = "env", value_name = "KEY[=VALUE]")]
    env: Vec<OsString>,

    /// Remember something of it. May be repeated
    #[arg(short = 'l', long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,

    /// Kill it after this time, in ms, s, m or h [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Kill it when nobody has used it for this time [default: never]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    idle_timeout: Option<Duration>,

    /// Name of the sandbox: a-z, 0-9 and - [default: random]
    #[arg(long, value_name = "NAME")]
    name: Option<SandboxName>,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel create --name web --memory 1G --idle-timeout 30m
  name=$(agentkernel create -v .:/workspace/src) && agentkernel exec \"$name\" -- ls src
  agentkernel create --label task=42 --timeout 2h";

/// Makes it and prints its name.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let request = request(args, environment)?;
    serve::start_if_missing(environment)?;
    let sandbox = daemon::ask(environment, async |client| {
        // Never notified: the sign of life is over when the reply is there.
        let ready = Notify::new();
        tokio::select! {
            made = client.create(&request) => Ok(made?),
            never = progress::show(&ready) => match never {},
        }
    })?;
    match output::print(&format!("{}\n", sandbox.name)) {
        // It is there all the same.
        Err(Failure::Error(error)) => {
            Err(error.hint(format!("the sandbox was made: {}", sandbox.name)).into())
        }
        printed => printed.map(|()| 0),
    }
}

fn request(args: &Args, environment: &Environment) -> Result<SandboxRequest> {
    let settings = flags::settings(&args.sandbox.layer(environment)?, environment)?;
    let spec = args.sandbox.spec(args.name.as_ref(), environment, &settings)?;
    let request = wire::sandbox(&spec, settings.backend, args.name.as_ref(), args.sandbox.hostname());
    Ok(SandboxRequest {
        env: wire::variables(&variables(&args.env)?)?,
        labels: args.labels.iter().map(|text| label(text)).collect::<Result<BTreeMap<_, _>>>()?,
        timeout_ms: args.timeout.map(wire::milliseconds),
        idle_timeout_ms: args.idle_timeout.map(wire::milliseconds),
        ..request
    })
}

fn label(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(usage(format!("--label {text}"), "it is not a label; write KEY=VALUE")),
    }
}
