//! `agentkernel run`: one command in a sandbox of its own.

mod json;
mod report;
mod request;

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_core::{ByteSize, CpuCount, Error, ErrorKind, Image, Limit, Profile, User};
use agentkernel_core::{SandboxName, parse_duration};
use agentkernel_oci::Zygote;
use agentkernel_runtime::{BackendRequest, Registry, RunIo, RunOutput, RunReport, RunRequest, config, run};
use tokio::sync::Notify;

use super::words::OneOf;
use super::{Format, block_on};
use crate::environment::Environment;
use crate::errors::{self, Failure};
use crate::output::{HostOutput, KeptOutput};
use crate::terminal::RawMode;
use crate::{input, progress, signals};

/// What --backend may say.
pub const BACKENDS: &[&str] = &["auto", "oci"];
/// What --profile may say.
pub const PROFILES: &[&str] = &["restrictive", "moderate", "permissive"];

/// Run a command in a sandbox of its own
///
/// The sandbox has the programs of this host, read-only, and three writable places that vanish with it:
/// /workspace (where the command starts), /tmp and /dev/shm. It has no network, no capabilities and no
/// file of yours but what -v names. Standard input, output, error and the exit code are the command's own.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES)]
pub struct Args {
    /// What holds the sandbox; auto is the strongest boundary that works here [default: auto]
    #[arg(long, value_name = "BACKEND", value_parser = OneOf::new(BACKENDS, BackendRequest::from_str))]
    backend: Option<BackendRequest>,

    /// Root file system; host is the programs of this host without its files [default: host]
    #[arg(long, value_name = "IMAGE", value_parser = OneOf::new(&["host"], config::parse_image))]
    image: Option<Image>,

    /// Use the folder DIR as root file system, read-only, instead of an image
    #[arg(long, value_name = "DIR", conflicts_with = "image")]
    rootfs: Option<PathBuf>,

    /// Defaults of the limits below, and whether root is allowed [default: restrictive]
    #[arg(long, value_name = "PROFILE", value_parser = OneOf::new(PROFILES, Profile::from_str))]
    profile: Option<Profile>,

    /// Set a variable; with its name alone, to the value that it has here. May be repeated
    #[arg(short = 'e', long = "env", value_name = "KEY[=VALUE]")]
    env: Vec<OsString>,

    /// Start in this folder of the sandbox [default: /workspace]
    #[arg(short = 'w', long = "workdir", value_name = "DIR")]
    workdir: Option<PathBuf>,

    /// Mount a file or folder of this host, read-write unless :ro is said. May be repeated
    #[arg(short = 'v', long = "volume", value_name = "SRC:DST[:ro]")]
    volume: Vec<OsString>,

    /// Pass our standard input on to the command; else it has none
    #[arg(short = 'i', long)]
    interactive: bool,

    /// Give the command a terminal; our standard input must be one
    #[arg(short = 't', long)]
    tty: bool,

    /// Run as this user of the sandbox; root needs --profile permissive [default: 65532:65532]
    #[arg(long, value_name = "UID[:GID]|root")]
    user: Option<User>,

    /// Processors, for example 1.5, or unlimited [default: 1; moderate 2; permissive 4]
    #[arg(long, value_name = "NUMBER")]
    cpus: Option<Limit<CpuCount>>,

    /// Memory, in bytes or with K, M, G, T, or unlimited [default: 512M; moderate 2G; permissive 8G]
    #[arg(long, value_name = "SIZE")]
    memory: Option<Limit<ByteSize>>,

    /// Processes and threads, or unlimited [default: 256; moderate 1024; permissive 4096]
    #[arg(long, value_name = "NUMBER", value_parser = config::parse_pids)]
    pids: Option<Limit<u32>>,

    /// Size of each writable place, in bytes or with K, M, G, T [default: 1G; moderate 4G; permissive 16G]
    #[arg(long, value_name = "SIZE")]
    disk: Option<ByteSize>,

    /// Output that is passed on, stdout and stderr together, in bytes or with K, M, G, T [default: 64M]
    #[arg(long, value_name = "SIZE")]
    output_limit: Option<ByteSize>,

    /// Kill the command with all that it started after this time, in ms, s, m or h [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,

    /// Print on stderr where the time went, in milliseconds
    #[arg(long)]
    timing: bool,

    /// Pass the command's output on as it is, or print one JSON object at the end [default: text]
    #[arg(long, value_name = "FORMAT", default_value = "text", hide_default_value = true, value_enum)]
    format: Format,

    /// Name of the sandbox: a-z, 0-9 and - [default: random]
    #[arg(long, value_name = "NAME")]
    name: Option<SandboxName>,

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
  agentkernel run --timeout 10s --format json -- python3 -c 'print(6 * 7)'

Exit codes: that of the command, 128 + n if signal n ended it; or 2 wrong usage, 124 time limit,
125 failure of agentkernel, 126 command not executable, 127 command not found.";

/// Runs the command and reports. Returns the exit code.
pub fn main(
    args: &Args,
    began: Instant,
    environment: &Environment,
    zygote: Arc<Zygote>,
) -> Result<u8, Failure> {
    let result = match args.format {
        Format::Text => as_text(args, began, environment, zygote),
        Format::Json => as_json(args, began, environment, zygote),
    };
    let (request, report) = result?;
    report::print_notices(&report, &request);
    if args.timing {
        report::print_timing(&report.phases);
    }
    Ok(errors::code_of_run(&report))
}

type Outcome = Result<(RunRequest, RunReport), Failure>;

/// Passes the output on as it comes.
fn as_text(args: &Args, began: Instant, environment: &Environment, zygote: Arc<Zygote>) -> Outcome {
    let ready = Arc::new(Notify::new());
    let mut output = HostOutput::new(ready.clone());
    perform(args, began, environment, zygote, &mut output, &ready)
}

/// Keeps the output, and prints it as part of one object; so is an error.
fn as_json(args: &Args, began: Instant, environment: &Environment, zygote: Arc<Zygote>) -> Outcome {
    let mut output = KeptOutput::default();
    let ready = output.ready.clone();
    let outcome = perform(args, began, environment, zygote, &mut output, &ready);
    match &outcome {
        Ok((_, report)) => json::print(report, &output)?,
        Err(Failure::Error(error)) => json::print_error(error)?,
        Err(Failure::ReaderGone) => {}
    }
    outcome
}

fn perform(
    args: &Args,
    began: Instant,
    environment: &Environment,
    zygote: Arc<Zygote>,
    output: &mut dyn RunOutput,
    ready: &Notify,
) -> Outcome {
    let request = request::build(args, environment, began)?;
    let registry = Registry::new(zygote, environment.runtime_dir());
    let report = block_on(drive(args, &registry, &request, output, ready))?;
    Ok((request, report))
}

/// Runs the request with our stdin, signals and terminal.
async fn drive(
    args: &Args,
    registry: &Registry,
    request: &RunRequest,
    output: &mut dyn RunOutput,
    ready: &Notify,
) -> Result<RunReport, Failure> {
    let failed = |what: &'static str| move |why: std::io::Error| Error::new(ErrorKind::Host, what, why);
    let signals = signals::listen(args.tty).map_err(failed("listen to signals"))?;
    // Restored when this returns, before anything else is said.
    let _raw = if args.tty && args.interactive {
        Some(RawMode::enter().map_err(failed("make the terminal raw"))?)
    } else {
        None
    };
    let stdin = args.interactive.then(input::read_stdin).transpose().map_err(failed("read stdin"))?;
    let io = RunIo { stdin, output, signals };
    tokio::select! {
        report = run(registry, request, io) => Ok(report?),
        never = progress::show(ready) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use agentkernel_core::Limits;
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
