//! From what was typed to what is meant.

use std::time::Instant;

use agentkernel_core::Result;
use agentkernel_runtime::RunRequest;
use agentkernel_runtime::config::Layer;

use super::Args;
use crate::cli::Format;
use crate::cli::flags::{self, usage};
use crate::environment::Environment;

/// The request, checked against files, environment and terminal.
pub fn build(args: &Args, environment: &Environment, began: Instant) -> Result<RunRequest> {
    if args.flags.tty && args.format == Format::Json {
        return Err(usage("-t", "a terminal's output cannot be told apart, and so not be printed as JSON"));
    }
    args.flags.check_terminal()?;
    let layer = args.sandbox.layer(environment)?;
    let layer = Layer { output_limit: args.output_limit, timeout: args.timeout, ..layer };
    let settings = flags::settings(&layer, environment)?;
    let command = args.flags.command(&args.command, settings.timeout)?;
    Ok(RunRequest {
        backend: settings.backend,
        spec: args.sandbox.spec(args.name.as_ref(), environment, &settings)?,
        command,
        output_limit: settings.output_limit,
        began,
    })
}
