//! `agentkernel run --snapshot`: one command in a sandbox that goes on from a snapshot, and ends with it.

use std::cell::OnceCell;
use std::time::Duration;

use agentkernel_api::RestoreRequest;
use agentkernel_core::{Result, SnapshotName};
use agentkernel_runtime::config::Settings;

use super::Args;
use crate::cli::flags::usage;
use crate::cli::session::Session;
use crate::cli::{daemon, rm, serve, wire};
use crate::environment::Environment;
use crate::errors::Failure;

/// How long it lives when nothing runs in it any more and nobody has removed it: we were killed, or interrupted before we
/// were told of it.
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
    let each = RestoreRequest {
        name: args.name.as_ref().map(ToString::to_string),
        idle_timeout_ms: Some(wire::milliseconds(FORGOTTEN_AFTER)),
        ..RestoreRequest::default()
    };
    let session = Session::of(&command, &args.flags, limit);
    serve::start_if_missing(environment)?;
    daemon::ask(environment, async |client| {
        let made = OnceCell::new();
        let open = async || {
            let sandbox = client.restore(snapshot.as_str(), &each).await?;
            let id = made.get_or_init(|| sandbox.id);
            Ok(client.exec_stream(id, &request).await?)
        };
        let ran = session.hear(open).await;
        // What nobody has told us of is not ours to remove: the name may be another's.
        let Some(id) = made.get() else { return ran };
        let removed = rm::remove(&client, id, true).await;
        ran.and_then(|code| removed.map(|()| code))
    })
}
