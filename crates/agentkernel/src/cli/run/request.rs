//! From what was typed to what is meant.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use agentkernel_core::{Access, BindMount, Command, Error, ErrorKind, Image, Result, SandboxSpec, Stdin};
use agentkernel_runtime::config::{self, Layer, Settings};
use agentkernel_runtime::{RunRequest, run};

use super::Args;
use crate::cli::Format;
use crate::environment::{self, Environment};
use crate::terminal;

/// The request, checked against files, environment and terminal.
pub fn build(args: &Args, environment: &Environment, began: Instant) -> Result<RunRequest> {
    check_terminal(args)?;
    let files = config::Files::read(&environment.config_paths())?;
    let settings = files.resolve(&environment.layer()?, &layer(args, environment)?);
    let command = command(args, &settings)?;
    Ok(RunRequest {
        backend: settings.backend,
        spec: spec(args, environment, &settings)?,
        command,
        output_limit: settings.output_limit,
        began,
    })
}

fn usage(place: impl std::fmt::Display, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, "read the command line", why).on(place)
}

fn check_terminal(args: &Args) -> Result<()> {
    if args.tty && args.format == Format::Json {
        return Err(usage("-t", "a terminal's output cannot be told apart, and so not be printed as JSON"));
    }
    if args.tty && !terminal::is_stdin() {
        let error = usage("-t", "standard input is not a terminal");
        return Err(error.hint("leave -t out; -i alone passes a pipe or a file on"));
    }
    Ok(())
}

/// The layer of the flags.
fn layer(args: &Args, environment: &Environment) -> Result<Layer> {
    let rootfs = args.rootfs.as_deref().map(|path| rootfs(path, environment)).transpose()?;
    Ok(Layer {
        backend: args.backend,
        image: rootfs.or_else(|| args.image.clone()),
        profile: args.profile,
        cpus: args.cpus,
        memory: args.memory,
        pids: args.pids,
        disk: args.disk,
        output_limit: args.output_limit,
        timeout: args.timeout,
    })
}

fn rootfs(path: &Path, environment: &Environment) -> Result<Image> {
    let path = environment.absolute(path)?;
    let place = || format!("--rootfs {}", path.display());
    let facts = path.metadata().map_err(|why| usage(place(), why))?;
    if !facts.is_dir() {
        return Err(usage(place(), "it is not a folder"));
    }
    Ok(Image::Rootfs(path))
}

fn spec(args: &Args, environment: &Environment, settings: &Settings) -> Result<SandboxSpec> {
    let name = args.name.clone().map_or_else(run::random_name, Ok)?;
    let mut spec = SandboxSpec::builder(name, settings.profile)
        .image(settings.image.clone())
        .limits(settings.limits)
        .lifetime(run::lifetime(settings.timeout));
    if let Some(user) = args.user {
        spec = spec.user(user);
    }
    for text in &args.volume {
        spec = spec.mount(mount(text, environment)?);
    }
    spec.build()
}

/// Reads `SRC:DST[:ro]`. Paths are bytes, and SRC may be relative to the working directory.
fn mount(text: &OsStr, environment: &Environment) -> Result<BindMount> {
    let place = || format!("-v {}", text.display());
    let parts: Vec<&[u8]> = text.as_bytes().split(|byte| *byte == b':').collect();
    let (source, target, access) = match parts[..] {
        [source, target] | [source, target, b"rw"] => (source, target, Access::ReadWrite),
        [source, target, b"ro"] => (source, target, Access::ReadOnly),
        [_, _, option] => {
            let why = format!("'{}' is not a mount option; use ro or rw", option.escape_ascii());
            return Err(usage(place(), why));
        }
        _ => return Err(usage(place(), "it is not a mount; write SRC:DST or SRC:DST:ro")),
    };
    if source.is_empty() || target.is_empty() {
        return Err(usage(place(), "it is not a mount; write SRC:DST or SRC:DST:ro"));
    }
    let source = environment.absolute(Path::new(OsStr::from_bytes(source)))?;
    source.metadata().map_err(|why| usage(place(), format!("{}: {why}", source.display())))?;
    BindMount::new(&source, Path::new(OsStr::from_bytes(target)), access).map_err(|why| usage(place(), why))
}

fn command(args: &Args, settings: &Settings) -> Result<Command> {
    let words = args.command.iter().map(|word| word.as_bytes().to_vec());
    let mut command = Command::new(words);
    if command.argv.first().is_none_or(Vec::is_empty) {
        return Err(usage("CMD", "the command's name is empty"));
    }
    if args.tty {
        command.terminal = Some(terminal::size());
        command.env.extend(inherited(OsStr::new("TERM")));
    }
    for text in &args.env {
        command.env.extend(variable(text)?);
    }
    command.cwd = args.workdir.as_deref().map(workdir).transpose()?;
    command.stdin = if args.interactive { Stdin::Pipe } else { Stdin::Null };
    command.timeout = settings.timeout;
    Ok(command)
}

fn workdir(path: &Path) -> Result<Vec<u8>> {
    if path.is_absolute() {
        return Ok(PathBuf::from(path).into_os_string().into_vec());
    }
    Err(usage(format!("-w {}", path.display()), "it is not an absolute path in the sandbox")
        .hint("write for example -w /workspace/src"))
}

type Variable = (Vec<u8>, Vec<u8>);

/// Reads `KEY=VALUE`; for `KEY`, the caller's value, and nothing if he has none.
fn variable(text: &OsString) -> Result<Option<Variable>> {
    let bytes = text.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(0) => Err(usage(format!("-e {}", text.display()), "the variable has no name")),
        None if bytes.is_empty() => Err(usage("-e ''", "the variable has no name")),
        Some(at) => Ok(Some((bytes[..at].to_vec(), bytes[at + 1..].to_vec()))),
        None => Ok(inherited(text)),
    }
}

fn inherited(name: &OsStr) -> Option<Variable> {
    environment::variable(name).map(|value| (name.as_bytes().to_vec(), value.into_vec()))
}
