//! The command line: what is typed.

mod attach;
mod bench;
mod call;
mod change;
mod command_flags;
mod completion;
mod cp;
mod create;
mod daemon;
mod doctor;
mod eval;
mod events;
mod exec;
mod flags;
mod inspect;
mod life;
mod logs;
mod pool;
mod prune;
mod ps;
mod rm;
mod run;
mod serve;
mod service;
mod session;
mod setup;
mod shutdown;
mod snapshot;
mod stats;
pub mod wire;
mod words;
mod zygote;

use std::ffi::OsString;
use std::sync::Arc;
use std::time::Instant;

use agentkernel_core::{Error, ErrorKind};
use agentkernel_oci::Zygote;
use clap::{CommandFactory as _, Parser, Subcommand, ValueEnum};

use crate::environment::Environment;
use crate::errors::{self, Failure};

/// Runs commands in hardened sandboxes, with nothing to install.
#[derive(Debug, Parser)]
#[command(name = "agentkernel", version, long_about = LONG_ABOUT, after_long_help = AFTER_HELP)]
#[command(max_term_width = 100, infer_long_args = false, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    subcommand: Words,
}

const LONG_ABOUT: &str = "\
Runs commands in hardened sandboxes, with nothing to install.

A sandbox sees the programs of this host and nothing of its files, its network or its other processes.
run needs no daemon, and is quicker with one, which keeps sandboxes warm: agentkernel serve.

Sandboxes that live on belong to the daemon, which create starts by itself.";

const AFTER_HELP: &str = "\
Examples:
  agentkernel run -- echo hello
  agentkernel run -v ./src:/workspace/src:ro -- python3 src/main.py
  agentkernel create --name web && agentkernel exec -it web -- bash
  agentkernel serve --detach --pool 4..16
  agentkernel doctor

Files, each overriding those before it:
  /etc/agentkernel/agentkernel.toml
  ~/.config/agentkernel/agentkernel.toml  ($AGENTKERNEL_HOME/agentkernel.toml if that is set)
  ./agentkernel.toml                      (can only make things stricter)

Environment:
  AGENTKERNEL_HOME     folder of the user's configuration and state
  AGENTKERNEL_BACKEND  backend, unless --backend is given
  AGENTKERNEL_URL      the daemon to ask, and no other: http://127.0.0.1:PORT or unix:///PATH
  AGENTKERNEL_API_KEY  token for a daemon on TCP, as agentkernel serve --tcp makes it
  AGENTKERNEL_LOG      how much the daemon logs, for example debug

Exit codes: that of the command; or 2 wrong usage, 124 time limit, 125 failure of agentkernel,
126 command not executable, 127 command not found, 128 + n ended by signal n.";

#[derive(Debug, Subcommand)]
enum Words {
    Run(Box<run::Args>),
    Create(Box<create::Args>),
    Exec(exec::Args),
    Call(Box<call::Args>),
    Eval(Box<eval::Args>),
    Attach(attach::Args),
    Cp(cp::Args),
    Logs(logs::Args),
    #[command(visible_alias = "ls")]
    Ps(ps::Args),
    Inspect(inspect::Args),
    Stats(stats::Args),
    Start(change::StartArgs),
    Stop(change::StopArgs),
    Pause(change::PauseArgs),
    Resume(change::ResumeArgs),
    Snapshot(snapshot::Args),
    Fork(snapshot::ForkArgs),
    Rm(rm::Args),
    Prune(prune::Args),
    Events(events::Args),
    Pool(pool::Args),
    Serve(serve::Args),
    Shutdown(shutdown::Args),
    Service(service::Args),
    Doctor(doctor::Args),
    Bench(bench::Args),
    Setup(setup::Args),
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
    let cli = match Cli::often(std::env::args_os()).map_or_else(Cli::try_parse, Ok) {
        Ok(cli) => cli,
        Err(other) => return errors::say_of_clap(&other, &Cli::command()),
    };
    cli.run(began).unwrap_or_else(|failure| failure.report())
}

impl Cli {
    /// What is typed most often and waited for most, if it is that and right. The other subcommands need not be
    /// described for it, which takes longer than all else until the daemon is asked (0.2 ms measured). What is wrong is
    /// told by those who know everything.
    fn often(mut words: impl Iterator<Item = OsString>) -> Option<Self> {
        let program = words.next()?;
        let subcommand = words.next()?;
        let words = std::iter::once(program).chain(words);
        let subcommand = match subcommand.to_str()? {
            "run" => Words::Run(Box::new(alone(words)?)),
            "exec" => Words::Exec(alone(words)?),
            "call" => Words::Call(Box::new(alone(words)?)),
            "eval" => Words::Eval(Box::new(alone(words)?)),
            _ => return None,
        };
        Some(Self { subcommand })
    }

    /// Does what was typed.
    fn run(self, began: Instant) -> Result<u8, Failure> {
        match self.subcommand {
            Words::Run(args) => run::main(&args, began, &Environment::read()?),
            Words::Call(args) => call::main(&args, began, &Environment::read()?),
            Words::Eval(args) => eval::main(&args, began, &Environment::read()?),
            Words::Serve(args) => serve::main(&args, &Environment::read()?),
            Words::Doctor(args) => {
                let zygote = forked(Zygote::fork())?;
                doctor::main(&args, &Environment::read()?, zygote)
            }
            Words::Bench(args) => bench::main(&args, &Environment::read()?),
            Words::Setup(args) => setup::main(&args, &Environment::read()?),
            Words::Completion(args) => completion::main(&args),
            Words::Zygote => zygote::main(),
            words => words.ask(&Environment::read()?),
        }
    }
}

impl Words {
    /// Asks the daemon.
    fn ask(self, environment: &Environment) -> Result<u8, Failure> {
        match self {
            Self::Create(args) => create::main(&args, environment),
            Self::Exec(args) => exec::main(&args, environment),
            Self::Attach(args) => attach::main(&args, environment),
            Self::Cp(args) => cp::main(&args, environment),
            Self::Logs(args) => logs::main(&args, environment),
            Self::Ps(args) => ps::main(&args, environment),
            Self::Inspect(args) => inspect::main(&args, environment),
            Self::Stats(args) => stats::main(&args, environment),
            Self::Start(args) => change::start(&args, environment),
            Self::Stop(args) => change::stop(&args, environment),
            Self::Pause(args) => change::pause(&args, environment),
            Self::Resume(args) => change::resume(&args, environment),
            Self::Snapshot(args) => snapshot::main(&args, environment),
            Self::Fork(args) => snapshot::fork(&args, environment),
            Self::Rm(args) => rm::main(&args, environment),
            Self::Prune(args) => prune::main(&args, environment),
            Self::Events(args) => events::main(&args, environment),
            Self::Pool(args) => pool::main(&args, environment),
            Self::Shutdown(args) => shutdown::main(&args, environment),
            Self::Service(args) => service::main(&args, environment),
            // Those that do not ask the daemon were done before.
            Self::Run(_)
            | Self::Call(_)
            | Self::Eval(_)
            | Self::Serve(_)
            | Self::Doctor(_)
            | Self::Bench(_)
            | Self::Setup(_)
            | Self::Completion(_)
            | Self::Zygote => Ok(0),
        }
    }
}

/// Reads the words of one subcommand as if there were no other.
fn alone<A: clap::Args>(words: impl Iterator<Item = OsString>) -> Option<A> {
    let matches = A::augment_args(clap::Command::new("agentkernel")).try_get_matches_from(words).ok()?;
    A::from_arg_matches(&matches).ok()
}

/// Shares the zygote that was forked. It is only while there is no other thread, and so before any async runtime.
fn forked(zygote: std::io::Result<Zygote>) -> Result<Arc<Zygote>, Failure> {
    let zygote = zygote.map_err(|why| Error::new(ErrorKind::Host, "fork the zygote", why))?;
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
    use super::*;

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_subcommand_alone_is_read_as_among_all_others() {
        let read = |line: &str| {
            let words: Vec<_> = std::iter::once("agentkernel").chain(line.split(' ')).collect();
            let often = Cli::often(words.iter().map(OsString::from)).map(|cli| format!("{cli:?}"));
            (often, Cli::try_parse_from(words).map(|cli| format!("{cli:?}")).ok())
        };
        let right = [
            "run true",
            "run -- true -x",
            "run -it --cpus 2 -v /a:/b:ro -- sh -c x",
            "exec web ls -l",
            "exec -i -e A=b web -- cat",
            "eval --lang js -p -1",
        ];
        for line in right {
            let (often, all) = read(line);
            assert!(often.is_some() && often == all, "{line}: {often:?}, {all:?}");
        }
        let wrong = [
            "run",
            "run --cpus x true",
            "run --help",
            "run -h",
            "run -V",
            "run --no-such -- true",
            "exec",
            "exec --help",
            "exec web",
            "ru true",
        ];
        for line in wrong {
            assert_eq!(read(line), (None, None), "{line}");
        }
        assert_eq!(read("ps").0, None);
    }
}
