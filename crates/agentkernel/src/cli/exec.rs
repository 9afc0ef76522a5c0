//! `agentkernel exec`: one more command in a sandbox that lives.

use std::ffi::OsString;
use std::time::Duration;

use agentkernel_core::{ByteSize, Command, CommandUser, Result, User, parse_duration};
use agentkernel_runtime::config::Settings;

use super::command_flags::CommandFlags;
use super::flags::usage;
use super::session::Session;
use super::{daemon, wire};
use crate::environment::Environment;
use crate::errors::Failure;
use crate::output;

/// Run a command in a sandbox that lives
///
/// Standard input, output, error and the exit code are the command's own. If we are ended, so is the command, unless
/// it was started with -d.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    flags: CommandFlags,

    /// Let it run in the background, and print its PID; attach and logs show what it says
    #[arg(short = 'd', long, conflicts_with_all = ["interactive", "tty"])]
    detach: bool,

    /// Run as this user of the sandbox [default: the sandbox's own]
    #[arg(short = 'u', long, value_name = "UID[:GID]|root")]
    user: Option<User>,

    /// Kill the command with all that it started after this time, in ms, s, m or h [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Output that is passed on, stdout and stderr together, in bytes or with K, M, G, T [default: 64M]
    #[arg(long, value_name = "SIZE")]
    output_limit: Option<ByteSize>,

    /// Name or id of the sandbox
    #[arg(value_name = "NAME")]
    name: String,

    /// The command, word by word; no shell reads it
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel exec web -- python3 -c 'print(6 * 7)'
  agentkernel exec -it web -- bash
  pid=$(agentkernel exec -d web -- python3 -m http.server) && agentkernel logs -f web

Exit codes: that of the command, 128 + n if signal n ended it; or 2 wrong usage, 124 time limit,
125 failure of agentkernel, 126 command not executable, 127 command not found.";

/// Runs it. Returns the exit code.
pub fn main(args: &Args, environment: &Environment) -> Result<u8, Failure> {
    args.flags.check_terminal()?;
    let command = command(args)?;
    let limit = args.output_limit.unwrap_or(Settings::OUTPUT_LIMIT);
    let request = wire::command(&command, Some(limit.get()))?;
    if args.detach {
        let started = daemon::ask(environment, async |client| {
            let started = client.exec_in_background(&args.name, &request).await;
            daemon::told(&client, &args.name, started).await
        })?;
        output::print(&format!("{}\n", started.pid))?;
        return Ok(0);
    }
    let session = Session::of(&command, &args.flags, limit);
    daemon::ask(environment, async |client| {
        let open = async || {
            let stream = client.exec_stream(&args.name, &request).await;
            daemon::told(&client, &args.name, stream).await
        };
        session.hear(open).await
    })
}

fn command(args: &Args) -> Result<Command> {
    if args.name.is_empty() {
        return Err(usage("NAME", "the sandbox's name is empty"));
    }
    let mut command = args.flags.command(&args.command, args.timeout)?;
    command.user = args.user.map(|User { uid, gid }| CommandUser { uid, gid });
    Ok(command)
}
