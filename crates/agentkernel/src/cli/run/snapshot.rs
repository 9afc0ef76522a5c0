//! `agentkernel run --snapshot`: one command in a sandbox that goes on from a snapshot, and ends with it.

use std::time::Duration;

use agentkernel_api::{CommandRequest, ErrorKind, RestoreRequest};
use agentkernel_client::Client;
use agentkernel_core::{Result, SnapshotName};
use agentkernel_runtime::config::Settings;
use agentkernel_runtime::run::random_name;

use super::Args;
use crate::cli::flags::usage;
use crate::cli::session::Session;
use crate::cli::{daemon, rm, serve, wire};
use crate::environment::Environment;
use crate::errors::Failure;

/// How long it lives when nothing runs in it any more and nobody has removed it, for we were killed.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// Runs it. Returns the exit code.
pub fn main(args: &Args, snapshot: &SnapshotName, environment: &Environment) -> Result<u8, Failure> {
    if !args.sandbox.is_empty() {
        let why = "the snapshot says what the sandbox is; leave the flags out that do";
        return Err(usage(format!("--snapshot {snapshot}"), why).into());
    }
    args.flags.check_terminal()?;
    let command = args.flags.command(&args.command, args.run.timeout)?;
    let limit = args.run.output_limit.unwrap_or(Settings::OUTPUT_LIMIT);
    let request = wire::command(&command, Some(limit.get()))?;
    // Known before it is there: whoever is interrupted meanwhile has to remove it.
    let name = args.name.clone().map_or_else(random_name, Ok)?.to_string();
    let each = RestoreRequest {
        name: Some(name.clone()),
        idle_timeout_ms: Some(wire::milliseconds(FORGOTTEN_AFTER)),
        ..RestoreRequest::default()
    };
    let session = Session::of(&command, &args.flags, limit);
    serve::start_if_missing(environment)?;
    daemon::ask(environment, async |client| {
        let ran = session.hear(async || open(&client, snapshot, &each, &name, &request).await).await;
        if is_anothers(&ran) {
            return ran;
        }
        // It may never have been there.
        let removed = rm::remove(&client, &name, true).await;
        ran.and_then(|code| removed.map(|()| code))
    })
}

async fn open(
    client: &Client,
    snapshot: &SnapshotName,
    each: &RestoreRequest,
    name: &str,
    request: &CommandRequest,
) -> Result<agentkernel_client::CommandStream, Failure> {
    client.restore(snapshot.as_str(), each).await?;
    Ok(client.exec_stream(name, request).await?)
}

/// Whether the sandbox of the name that was asked for is another, which was there before.
fn is_anothers(ran: &Result<u8, Failure>) -> bool {
    matches!(ran, Err(Failure::Daemon(error)) if error.kind() == Some(ErrorKind::NameTaken))
}
