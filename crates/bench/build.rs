//! Builds the program that runs inside every sandbox that is measured: one file of the standard library's alone, static, so
//! that it runs in any root folder.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

const SOURCES: &[&str] = &[
    "workload/main.rs",
    "workload/amounts.rs",
    "workload/blocks.rs",
    "workload/calls.rs",
    "workload/facts.rs",
    "workload/sys.rs",
    "workload/work.rs",
];

/// Optimised whatever the outer build is: it is what is measured.
const FLAGS: &[&str] = &[
    "--edition=2024",
    "--crate-name=workload",
    "-Ctarget-feature=+crt-static",
    "-Copt-level=3",
    "-Ccodegen-units=1",
    "-Cpanic=abort",
    "-Cstrip=symbols",
    // No path of the machine that builds it is written in it.
    "--remap-path-prefix=workload=/workload",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("the workload could not be built: {reason}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a build script is told by its environment, and compiles")]
fn build() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|error| format!("{name}: {error}"));
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
    }
    let target = variable("TARGET")?;
    let out = PathBuf::from(variable("OUT_DIR")?).join("workload");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(FLAGS).args(["--target", &target, "-o"]).arg(out).arg(SOURCES[0]);
    let status = rustc.status().map_err(|error| format!("rustc: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("rustc: {status}")) }
}
