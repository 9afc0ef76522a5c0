//! `agentkernel rm`: ends and forgets sandboxes.

use agentkernel_api::{ErrorKind, State};
use agentkernel_client::{Client, Error};
use agentkernel_core::{Error as CoreError, ErrorKind as CoreKind};

use super::{change, daemon};
use crate::environment::Environment;
use crate::errors::Failure;

/// Forget sandboxes that have ended; with -f, end them first
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Examples:\n  agentkernel rm web\n  agentkernel rm -f web worker\n  agentkernel rm -f --all"
)]
pub struct Args {
    /// Names or ids of the sandboxes
    #[arg(value_name = "NAME", required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,

    /// End those that live, and do not mind those that do not exist
    #[arg(short = 'f', long)]
    force: bool,

    /// Every sandbox that there is
    #[arg(long)]
    all: bool,
}

/// Removes each.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let names = if args.all { every_id(args, environment)? } else { args.names.clone() };
    change::each(environment, &names, &async |client, name| remove(client, name, args.force).await)
}

/// The ids of all; without -f only of those that have ended.
fn every_id(args: &Args, environment: &Environment) -> Result<Vec<String>, Failure> {
    let list = daemon::ask(environment, async |client| Ok(client.list(true).await?))?;
    let wanted = list.sandboxes.into_iter().filter(|sandbox| args.force || sandbox.state == State::Ended);
    Ok(wanted.map(|sandbox| sandbox.id).collect())
}

/// Ends a sandbox, if that was asked for, and forgets it.
pub async fn remove(client: &Client, name: &str, force: bool) -> Result<(), Failure> {
    let sandbox = match client.sandbox(name).await {
        Err(error) if force && is_unknown(&error) => return Ok(()),
        answer => daemon::told(client, name, answer).await?,
    };
    if sandbox.state != State::Ended {
        if !force {
            let error = CoreError::new(CoreKind::CommandRefused, "remove the sandbox", "it lives").on(name);
            return Err(error.hint("end it first with agentkernel stop, or say rm -f").into());
        }
        client.remove(&sandbox.id).await?;
    }
    match client.remove(&sandbox.id).await {
        // It was forgotten when it ended.
        Err(error) if is_unknown(&error) => Ok(()),
        answer => Ok(answer?),
    }
}

fn is_unknown(error: &Error) -> bool {
    error.kind() == Some(ErrorKind::NoSuchSandbox)
}
