//! `agentkernel run`: one command in a sandbox of its own.

mod by_daemon;
pub mod done;
mod flags;
pub mod json;
pub mod report;
mod request;
mod snapshot;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use agentkernel_core::{BackendKind, Error, ErrorKind, Image, SandboxName, SnapshotName};
use agentkernel_oci::Zygote;
use agentkernel_runtime::{BackendRequest, RunIo, RunOutput, RunRequest, RunSignal, run};
use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use self::by_daemon::{Asked, Daemon};
use self::done::Done;
pub use self::flags::RunFlags;
use super::command_flags::CommandFlags;
use super::flags::SandboxFlags;
use super::{Format, block_on, forked};
use crate::environment::Environment;
use crate::errors::{self, Failure};
use crate::output::{HostOutput, KeptOutput};
use crate::terminal::RawMode;
use crate::{input, progress, signals};

/// Run a command in a sandbox of its own
///
/// The sandbox has the programs of this host, read-only, and three writable places that vanish with it:
/// /workspace (where the command starts), /tmp and /dev/shm. It has no network, no capabilities and no
/// file of yours but what -v names. Standard input, output, error and the exit code are the command's own.
///
/// If a daemon answers (agentkernel serve), the run takes a warm sandbox of its; else one is booted here. A daemon that
/// AGENTKERNEL_URL names has to answer.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    sandbox: SandboxFlags,

    #[command(flatten)]
    flags: CommandFlags,

    #[command(flatten)]
    run: RunFlags,

    /// Name of the sandbox: a-z, 0-9 and - [default: random]
    #[arg(long, value_name = "NAME")]
    name: Option<SandboxName>,

    /// Go on from this snapshot, which says what the sandbox is; a daemon does that, and is started if there is none
    #[arg(long, value_name = "SNAPSHOT", conflicts_with_all = ["no_daemon", "timing", "format"])]
    snapshot: Option<SnapshotName>,

    /// The command, word by word; no shell reads it
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

const EXAMPLES: &str = "\
Examples:
  agentkernel run -- echo hello
  agentkernel run -it -- bash
  agentkernel run -v .:/workspace/src:ro -w /workspace/src -- python3 -m unittest
  tar c src | agentkernel run -i -- tar t
  agentkernel run --memory 2G --cpus 2 --timeout 5m -v .:/workspace/src -- make -C /workspace/src
  agentkernel run --snapshot prepared -- ./attempt
  agentkernel run --timeout 10s --format json -- python3 -c 'print(6 * 7)'

Exit codes: that of the command, 128 + n if signal n ended it; or 2 wrong usage, 124 time limit,
125 failure of agentkernel, 126 command not executable, 127 command not found.";

/// Runs the command and reports. Returns the exit code.
pub fn main(args: &Args, began: Instant, environment: &Environment) -> Result<u8, Failure> {
    if let Some(snapshot) = &args.snapshot {
        return snapshot::main(args, snapshot, environment);
    }
    let result = match args.run.format {
        Format::Text => as_text(args, began, environment),
        Format::Json => as_json(args, began, environment),
    };
    let (request, done) = result?;
    report::print_notices(&done, &request);
    if args.run.timing {
        report::print_timing(&done.phases, done.way);
    }
    Ok(errors::code_of_run(&done.ending, done.cause))
}

impl Args {
    /// A run of a module for which another subcommand has words; `words` begins with the module's own name.
    pub fn of_module(
        sandbox: SandboxFlags,
        flags: CommandFlags,
        run: RunFlags,
        words: Vec<OsString>,
    ) -> Self {
        Self { sandbox, flags, run, name: None, snapshot: None, command: words }
    }
}

/// Runs it and keeps what it says, for us and nobody else.
pub fn quietly(args: &Args, environment: &Environment) -> Result<(Done, KeptOutput), Failure> {
    let mut output = KeptOutput::default();
    let ready = output.ready.clone();
    let (_, done) = perform(args, Instant::now(), environment, &mut output, &ready)?;
    Ok((done, output))
}

type Outcome = Result<(RunRequest, Done), Failure>;

/// Passes the output on as it comes.
fn as_text(args: &Args, began: Instant, environment: &Environment) -> Outcome {
    let ready = Arc::new(Notify::new());
    let mut output = HostOutput::new(ready.clone());
    perform(args, began, environment, &mut output, &ready)
}

/// Keeps the output, and prints it as part of one object; so is an error.
fn as_json(args: &Args, began: Instant, environment: &Environment) -> Outcome {
    let mut output = KeptOutput::default();
    let ready = output.ready.clone();
    let outcome = perform(args, began, environment, &mut output, &ready);
    match &outcome {
        Ok((_, done)) => json::print(done, &output)?,
        Err(failure) => failure.error().map_or(Ok(()), |error| json::print_error(&error))?,
    }
    outcome
}

/// Who runs it.
enum Runner {
    Daemon(Box<Daemon>),
    Ourselves(Arc<Zygote>),
    /// A Wasm module, which needs no container.
    OurModule,
}

fn perform(
    args: &Args,
    began: Instant,
    environment: &Environment,
    output: &mut dyn RunOutput,
    ready: &Notify,
) -> Outcome {
    let request = request::build(args, environment, began)?;
    let runner = match by_daemon::find(args, environment, &request)? {
        Some(daemon) => Runner::Daemon(Box::new(daemon)),
        None if is_module(&request) => Runner::OurModule,
        None => Runner::Ourselves(forked(Zygote::fork_for_one())?),
    };
    let done = block_on(drive(args, environment, runner, &request, output, ready))?;
    Ok((request, done))
}

/// What is said to the command. Until it has been executed, nothing of this is lost.
pub struct Input {
    stdin: Option<mpsc::Receiver<Bytes>>,
    signals: mpsc::Receiver<RunSignal>,
}

impl Input {
    /// The signals, for whoever runs the command from now on.
    fn take_signals(&mut self) -> mpsc::Receiver<RunSignal> {
        let (_, closed) = mpsc::channel(1);
        std::mem::replace(&mut self.signals, closed)
    }
}

/// Runs the request with our stdin, signals and terminal.
async fn drive(
    args: &Args,
    environment: &Environment,
    runner: Runner,
    request: &RunRequest,
    output: &mut dyn RunOutput,
    ready: &Notify,
) -> Result<Done, Failure> {
    let failed = |what: &'static str| move |why: std::io::Error| Error::new(ErrorKind::Host, what, why);
    let signals = signals::listen(args.flags.tty).map_err(failed("listen to signals"))?;
    // Restored when this returns, before anything else is said.
    let _raw = if args.flags.tty && args.flags.interactive {
        Some(RawMode::enter().map_err(failed("make the terminal raw"))?)
    } else {
        None
    };
    let stdin = args.flags.interactive.then(input::read_stdin).transpose().map_err(failed("read stdin"))?;
    let input = Input { stdin, signals };
    tokio::select! {
        done = perform_by(runner, environment, request, input, output) => done,
        never = progress::show(ready) => match never {},
    }
}

async fn perform_by(
    runner: Runner,
    environment: &Environment,
    request: &RunRequest,
    mut input: Input,
    output: &mut dyn RunOutput,
) -> Result<Done, Failure> {
    let registry = match runner {
        Runner::OurModule => environment.registry_for_modules(),
        Runner::Ourselves(zygote) => environment.registry(zygote),
        Runner::Daemon(daemon) => match daemon.run(environment, request, &mut input, output).await? {
            Asked::Done(done) => return Ok(*done),
            Asked::Elsewhere if is_module(request) => environment.registry_for_modules(),
            Asked::Elsewhere => environment.registry(spawn_zygote()?),
        },
    };
    let signals = input.take_signals();
    let report = run(&registry, request, RunIo { stdin: input.stdin, output, signals }).await?;
    let warning = registry.warning(report.choice.backend, &request.spec);
    Ok(Done { warning, ..report.into() })
}

/// Whether it is a Wasm module, and left to us how that is run.
fn is_module(request: &RunRequest) -> bool {
    let is_ours = matches!(request.backend, BackendRequest::Auto | BackendRequest::Named(BackendKind::Wasm));
    is_ours && matches!(request.spec.image(), Image::Module(_))
}

/// The zygote as a program of its own: by now there may be other threads.
fn spawn_zygote() -> Result<Arc<Zygote>, Error> {
    let spawned = Zygote::spawn(Path::new("/proc/self/exe"), &["zygote"]);
    spawned.map(Arc::new).map_err(|why| Error::new(ErrorKind::Host, "start the zygote", why))
}

#[cfg(test)]
mod tests {
    use agentkernel_core::{Limits, Profile, User};
    use agentkernel_runtime::config::Settings;
    use clap::Args as _;

    use super::*;

    fn help(flag: &str) -> String {
        let command = Args::augment_args(clap::Command::new("run"));
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(flag)).expect("the flag");
        arg.get_help().expect("its help").to_string()
    }

    #[test]
    fn the_defaults_in_the_help_are_those_that_hold() {
        let limits = Profile::ALL.iter().map(|profile| Limits::of(*profile));
        let says = |flag: &str, values: Vec<String>| {
            let expected =
                format!("[default: {}; moderate {}; permissive {}]", values[0], values[1], values[2]);
            assert!(help(flag).ends_with(&expected), "--{flag}: {expected}");
        };
        says("cpus", limits.clone().map(|limits| limits.cpus.to_string()).collect());
        says("memory", limits.clone().map(|limits| limits.memory.to_string()).collect());
        says("pids", limits.clone().map(|limits| limits.pids.to_string()).collect());
        says("disk", limits.map(|limits| limits.disk.to_string()).collect());
        assert!(help("output-limit").ends_with(&format!("[default: {}]", Settings::OUTPUT_LIMIT)));
        assert!(help("user").ends_with(&format!("[default: {}]", User::SANDBOX)));
    }
}
