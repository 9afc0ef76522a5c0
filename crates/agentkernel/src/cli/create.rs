//! `agentkernel create`: a sandbox that lives until somebody, or its time, ends it.

use std::ffi::OsString;

use agentkernel_api::{RestoreRequest, Sandbox, SandboxRequest};
use agentkernel_client::Client;
use agentkernel_core::{Result, SnapshotName};
use tokio::sync::Notify;

use super::command_flags::variables;
use super::flags::{self, SandboxFlags, usage};
use super::life::LifeFlags;
use super::{daemon, serve, wire};
use crate::environment::Environment;
use crate::errors::{self, Failure};
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

    /// Go on from this snapshot, in a sandbox like the one that it was taken of
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "env")]
    snapshot: Option<SnapshotName>,

    #[command(flatten)]
    life: LifeFlags,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel create --name web --memory 1G --idle-timeout 30m
  name=$(agentkernel create -v .:/workspace/src) && agentkernel exec \"$name\" -- ls src
  agentkernel create --label task=42 --timeout 2h
  agentkernel create --snapshot prepared --name try-1";

/// Makes it and prints its name.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let sandbox = if let Some(snapshot) = &args.snapshot {
        if !args.sandbox.is_empty() {
            let why = "the snapshot says what the sandbox is; leave the flags out that do";
            return Err(usage(format!("--snapshot {snapshot}"), why).into());
        }
        let request = args.life.request()?;
        serve::start_if_missing(environment)?;
        made(environment, async |client| Ok(client.restore(snapshot.as_str(), &request).await?))?
    } else {
        let request = request(args, environment)?;
        serve::start_if_missing(environment)?;
        made(environment, async |client| Ok(client.create(&request).await?))?
    };
    tell(&[sandbox])
}

/// Has a daemon make something, with a sign of life meanwhile.
pub fn made<T>(
    environment: &Environment,
    make: impl AsyncFnOnce(&Client) -> Result<T, Failure>,
) -> Result<T, Failure> {
    daemon::ask(environment, async |client| {
        // Never notified: the sign of life is over when the reply is there.
        let ready = Notify::new();
        tokio::select! {
            made = make(&client) => made,
            never = progress::show(&ready) => match never {},
        }
    })
}

/// Prints the names of sandboxes that were made.
pub fn tell(sandboxes: &[Sandbox]) -> Result<u8, Failure> {
    errors::warn(sandboxes.iter().find_map(|sandbox| sandbox.warning.as_deref()));
    let names: Vec<_> = sandboxes.iter().map(|sandbox| sandbox.name.as_str()).collect();
    match output::print(&format!("{}\n", names.join("\n"))) {
        // They are there all the same.
        Err(Failure::Error(error)) => {
            let noun = if names.len() == 1 { "the sandbox was" } else { "the sandboxes were" };
            Err(error.hint(format!("{noun} made: {}", names.join(", "))).into())
        }
        printed => printed.map(|()| 0),
    }
}

fn request(args: &Args, environment: &Environment) -> Result<SandboxRequest> {
    let settings = flags::settings(&args.sandbox.layer(environment)?, environment)?;
    let name = args.life.name.as_ref();
    let spec = args.sandbox.spec(name, environment, &settings)?;
    let request = wire::sandbox(&spec, settings.backend, name, args.sandbox.hostname());
    let RestoreRequest { labels, timeout_ms, idle_timeout_ms, .. } = args.life.request()?;
    let env = wire::variables(&variables(&args.env)?)?;
    Ok(SandboxRequest { env, labels, timeout_ms, idle_timeout_ms, ..request })
}
