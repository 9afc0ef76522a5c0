//! The command line: what is typed.

mod completion;
mod doctor;
mod inspect;
mod run;
mod words;
mod zygote;

use std::sync::Arc;
use std::time::Instant;

use agentkernel_core::{Error, ErrorKind};
use agentkernel_oci::Zygote;
use clap::{Parser, Subcommand, ValueEnum};

use crate::environment::Environment;
use crate::errors::{self, Failure};

/// Runs commands in hardened sandboxes, with no daemon and nothing to install.
#[derive(Debug, Parser)]
#[command(name = "agentkernel", version, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
#[command(max_term_width = 100, infer_long_args = false, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    subcommand: Words,
}

const LONG_ABOUT: &str = "\
Runs commands in hardened sandboxes, with no daemon and nothing to install.

A sandbox sees the programs of this host and nothing of its files, its network or its other processes.";

const AFTER_HELP: &str = "\
Examples:
  agentkernel run -- echo hello
  agentkernel run -v ./src:/workspace/src:ro -- python3 src/main.py
  agentkernel doctor

Files, each overriding those before it:
  /etc/agentkernel/agentkernel.toml
  ~/.config/agentkernel/agentkernel.toml  ($AGENTKERNEL_HOME/agentkernel.toml if that is set)
  ./agentkernel.toml                      (can only make things stricter)

Environment:
  AGENTKERNEL_HOME     folder of the user's configuration and state
  AGENTKERNEL_BACKEND  backend, unless --backend is given

Exit codes: that of the command; or 2 wrong usage, 124 time limit, 125 failure of agentkernel,
126 command not executable, 127 command not found, 128 + n ended by signal n.";

#[derive(Debug, Subcommand)]
enum Words {
    Run(Box<run::Args>),
    Doctor(doctor::Args),
    Inspect(inspect::Args),
    Completion(completion::Args),
    #[command(hide = true)]
    Zygote,
}

/// How a result is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Reads the command line and does what it says. Returns the exit code.
pub fn main(began: Instant) -> u8 {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(other) => return errors::say_of_clap(&other),
    };
    cli.run(began).unwrap_or_else(|failure| failure.report())
}

impl Cli {
    /// Does what was typed.
    fn run(self, began: Instant) -> Result<u8, Failure> {
        match self.subcommand {
            Words::Run(args) => {
                let zygote = fork_zygote()?;
                run::main(&args, began, &Environment::read()?, zygote)
            }
            Words::Doctor(args) => {
                let zygote = fork_zygote()?;
                doctor::main(&args, &Environment::read()?, zygote)
            }
            Words::Inspect(args) => inspect::main(&args, &Environment::read()?),
            Words::Completion(args) => completion::main(&args),
            Words::Zygote => zygote::main(),
        }
    }
}

/// Forks the zygote. Only while there is no other thread, and so before any async runtime.
fn fork_zygote() -> Result<Arc<Zygote>, Failure> {
    let zygote = Zygote::fork().map_err(|why| Error::new(ErrorKind::Host, "fork the zygote", why))?;
    Ok(Arc::new(zygote))
}

/// Runs a future to its end in a runtime of one thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Error::new(ErrorKind::Host, "start the async runtime", why))?;
    let result = runtime.block_on(future);
    // Nothing is waited for: what a run started it has stopped, and a blocked read would last for ever.
    runtime.shutdown_background();
    result
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
