//! The program: reads words and environment, and tells how it ended.

use std::env;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;

use agentkernel_bench::cli::{self, Arguments, Variables};
use agentkernel_bench::image::VARIABLES;
use agentkernel_bench::random;
use agentkernel_bench::refusal::{Failure, USAGE};

fn main() -> ExitCode {
    let read = match Arguments::parse(env::args_os()) {
        Ok(read) => read,
        Err(said) => {
            drop(said.print());
            return ExitCode::from(if said.use_stderr() { USAGE } else { 0 });
        }
    };
    let arguments = random::seed().and_then(|seed| read(variables(), seed)).map_err(Failure::from);
    let done = arguments.and_then(|arguments| cli::run(&arguments));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(report(&failure)),
    }
}

fn report(failure: &Failure) -> u8 {
    let mut stderr = io::stderr().lock();
    // Nothing can be done if nobody reads it.
    drop(writeln!(stderr, "agentkernel-bench: {failure}"));
    if let Some(hint) = failure.hint() {
        drop(writeln!(stderr, "hint: {hint}"));
    }
    failure.exit_code()
}

fn variables() -> Variables {
    Variables {
        image: any("BENCH_IMAGE"),
        rootfs: variable("BENCH_ROOTFS"),
        memory_mib: variable("BENCH_MEM_MB"),
        cpus: variable("BENCH_CPUS"),
        path: variable("PATH"),
        engine: VARIABLES.iter().filter_map(|name| Some((*name, variable(name)?))).collect(),
    }
}

fn variable(name: &str) -> Option<OsString> {
    any(name).filter(|value| !value.is_empty())
}

#[expect(clippy::disallowed_methods, reason = "this is the place that reads the environment")]
fn any(name: &str) -> Option<OsString> {
    env::var_os(name)
}
