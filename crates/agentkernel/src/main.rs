//! The program `agentkernel`: what is typed becomes what is meant, and what happened becomes text and an
//! exit code.
//!
//! Architecture invariants:
//! - Only [`environment`] reads the environment, and only [`errors`] knows exit codes.
//! - stdout is data only; everything else is said on stderr.
//! - The zygote is forked before there is a second thread: see `cli.rs`.

#![forbid(unsafe_code)]

mod cli;
mod environment;
mod errors;
mod input;
mod output;
mod paint;
mod progress;
mod signals;
mod terminal;

use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let began = Instant::now();
    errors::announce_faults();
    match std::panic::catch_unwind(|| cli::main(began)) {
        Ok(code) => ExitCode::from(code),
        Err(_announced) => ExitCode::from(errors::OURS),
    }
}
