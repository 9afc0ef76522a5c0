//! From what was typed to what is meant.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use agentkernel_core::{BackendKind, Image, Result};
use agentkernel_runtime::config::{Layer, Settings};
use agentkernel_runtime::{BackendRequest, RunRequest};

use super::Args;
use crate::cli::Format;
use crate::cli::flags::{self, usage};
use crate::environment::Environment;

/// The request, checked against files, environment and terminal.
pub fn build(args: &Args, environment: &Environment, began: Instant) -> Result<RunRequest> {
    if args.flags.tty && args.run.format == Format::Json {
        return Err(usage("-t", "a terminal's output cannot be told apart, and so not be printed as JSON"));
    }
    args.flags.check_terminal()?;
    let layer = args.sandbox.layer(environment)?;
    let layer = Layer { output_limit: args.run.output_limit, timeout: args.run.timeout, ..layer };
    let mut settings = flags::settings(&layer, environment)?;
    if let Some(module) = module(args, environment, &settings)? {
        settings.image = module;
    }
    let command = args.flags.command(&args.command, settings.timeout)?;
    Ok(RunRequest {
        backend: settings.backend,
        spec: args.sandbox.spec(args.name.as_ref(), environment, &settings)?,
        command,
        output_limit: settings.output_limit,
        began,
    })
}

/// The Wasm module that the command names, if it names one and nothing was said of an image: the first word is then that of
/// a file here, which no Linux sandbox has.
fn module(args: &Args, environment: &Environment, settings: &Settings) -> Result<Option<Image>> {
    use BackendKind::{Hyperlight, Wasm};
    let runs_modules =
        matches!(settings.backend, BackendRequest::Auto | BackendRequest::Named(Hyperlight | Wasm));
    let word = Path::new(args.command.first().map_or(OsStr::new(""), |word| word));
    let is_named = word.extension().is_some_and(|ending| ending == "wasm");
    if settings.image != Image::Host || !runs_modules || !is_named {
        return Ok(None);
    }
    let path = environment.absolute(word)?;
    // The others have Linux programs as well, whose names may end so.
    let is_wanted = settings.backend == BackendRequest::Named(Wasm) || agentkernel_runtime::is_module(&path);
    if is_wanted { flags::module(&path, environment).map(Some) } else { Ok(None) }
}
