//! `agentkernel attach`: comes back to a command that runs in the background.

use agentkernel_core::ByteSize;
use agentkernel_runtime::RunSignal;
use tokio::sync::mpsc;

use super::daemon;
use super::session::Session;
use crate::environment::Environment;
use crate::errors::{self, Failure};
use crate::signals;

/// Hear a command that runs in the background, until its end
///
/// What is remembered of its output comes first. Ctrl-C leaves it running. The exit code is the command's, if it ends while it is heard.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = "Example:\n  pid=$(agentkernel exec -d web -- make test)\n  agentkernel attach web \"$pid\""
)]
pub struct Args {
    /// Name or id of the sandbox
    #[arg(value_name = "NAME")]
    name: String,

    /// PID of the command, as exec -d printed it
    #[arg(value_name = "PID", value_parser = parse_pid)]
    pid: u32,
}

fn parse_pid(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("'{text}' is not a PID; write the number that exec -d printed"))
}

/// Hears it. Returns the exit code.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    let session = Session {
        program: format!("{} {}", args.name, args.pid),
        timeout: None,
        limit: ByteSize::mib(u64::from(u32::MAX)),
        interactive: false,
        tty: false,
    };
    daemon::ask(environment, async |client| {
        let mut signals = signals::listen(false).map_err(|why| {
            agentkernel_core::Error::new(agentkernel_core::ErrorKind::Host, "listen to signals", why)
        })?;
        // The session itself hears none: a signal ends the listening, and not the command.
        let (_silent, never) = mpsc::channel(1);
        let hear = session.hear_with(never, async || {
            let stream = client.attach(&args.name, args.pid).await;
            daemon::told(&client, &args.name, stream).await
        });
        tokio::select! {
            code = hear => code,
            number = asked_to_leave(&mut signals) => {
                errors::say(&format!("left command {} of {} running", args.pid, args.name));
                Ok(errors::code_of_signal(number))
            }
        }
    })
}

async fn asked_to_leave(signals: &mut mpsc::Receiver<RunSignal>) -> u8 {
    loop {
        match signals.recv().await {
            Some(RunSignal::End(number)) => return number,
            Some(RunSignal::Resize(_)) => {}
            None => std::future::pending().await,
        }
    }
}
