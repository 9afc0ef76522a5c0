//! `agentkernel prune`: forgets every sandbox that has ended.

use agentkernel_api::State;

use super::change::say_count;
use super::daemon;
use crate::environment::Environment;
use crate::errors::Failure;

/// Forget every sandbox that has ended
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  agentkernel prune")]
pub struct Args {}

/// Forgets them.
pub fn main(_args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let count = daemon::ask(environment, async |client| {
        let list = client.list(true).await?;
        let ended = list.sandboxes.iter().filter(|sandbox| sandbox.state == State::Ended);
        let mut count = 0;
        for sandbox in ended {
            client.remove(&sandbox.id).await?;
            count += 1;
        }
        Ok(count)
    })?;
    say_count("forgot", count);
    Ok(0)
}
