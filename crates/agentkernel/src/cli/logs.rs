//! `agentkernel logs`: what the background commands of a sandbox have said.

use super::daemon;
use crate::environment::Environment;
use crate::errors::Failure;
use crate::output::Plain;

/// Print what the background commands of a sandbox have said, as far as it is remembered
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  agentkernel logs -f web")]
pub struct Args {
    /// Go on with what they will say, until the sandbox ends
    #[arg(short = 'f', long)]
    follow: bool,

    /// Name or id of the sandbox
    #[arg(value_name = "NAME")]
    name: String,
}

/// Prints it.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    daemon::ask(environment, async |client| {
        let log = client.logs(&args.name, args.follow).await;
        let mut log = daemon::told(&client, &args.name, log).await?;
        let mut output = Plain::default();
        while let Some(bytes) = output.or_gone(log.next()).await? {
            output.write(bytes).await?;
        }
        output.finish().await?;
        Ok(0)
    })
}
