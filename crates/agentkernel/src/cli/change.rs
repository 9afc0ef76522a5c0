//! `agentkernel start, stop, pause, resume`: changes of sandboxes that are called by their names.

use agentkernel_api::ErrorKind;
use agentkernel_client::Client;

use super::daemon;
use crate::environment::Environment;
use crate::errors::{self, Failure};

/// Make sandboxes that have ended once more
///
/// Each is made to the description that it was created with. Its files and processes are gone.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  agentkernel start web")]
pub struct StartArgs {
    /// Names or ids of the sandboxes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// End sandboxes, and remember them
///
/// All that runs in them is killed and their files are gone; ps -a still shows them. It is no error that one has ended.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  agentkernel stop web worker")]
pub struct StopArgs {
    /// Names or ids of the sandboxes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Let time stand still in sandboxes
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  agentkernel pause web && agentkernel resume web")]
pub struct PauseArgs {
    /// Names or ids of the sandboxes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Let time go on in sandboxes that are paused
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:\n  agentkernel resume web")]
pub struct ResumeArgs {
    /// Names or ids of the sandboxes
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Starts each.
pub fn start(args: &StartArgs, environment: &Environment) -> Result<u8, Failure> {
    each(environment, &args.names, &async |client, name| {
        let answer = client.start(name).await;
        daemon::told(client, name, answer).await.map(drop)
    })
}

/// Stops each.
pub fn stop(args: &StopArgs, environment: &Environment) -> Result<u8, Failure> {
    each(environment, &args.names, &async |client, name| match client.stop(name).await {
        Err(error) if error.kind() == Some(ErrorKind::Gone) => Ok(()),
        answer => daemon::told(client, name, answer).await.map(drop),
    })
}

/// Pauses each.
pub fn pause(args: &PauseArgs, environment: &Environment) -> Result<u8, Failure> {
    each(environment, &args.names, &async |client, name| {
        let answer = client.pause(name).await;
        daemon::told(client, name, answer).await.map(drop)
    })
}

/// Resumes each.
pub fn resume(args: &ResumeArgs, environment: &Environment) -> Result<u8, Failure> {
    each(environment, &args.names, &async |client, name| {
        let answer = client.resume(name).await;
        daemon::told(client, name, answer).await.map(drop)
    })
}

/// Does something to each sandbox, whatever became of those before it. The exit code is that of the first failure.
pub fn each(
    environment: &Environment,
    names: &[String],
    change: &impl AsyncFn(&Client, &str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    daemon::ask(environment, async |client| {
        let mut code = 0;
        for name in names {
            if let Err(failure) = change(&client, name).await {
                let failed = failure.report();
                code = if code == 0 { failed } else { code };
            }
        }
        Ok(code)
    })
}

/// Says what was done to how many, on stderr, for stdout is data.
pub fn say_count(done: &str, count: usize) {
    let noun = if count == 1 { "sandbox" } else { "sandboxes" };
    errors::say(&format!("{done} {count} {noun}"));
}
