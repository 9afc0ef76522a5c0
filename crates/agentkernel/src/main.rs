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
mod notices;
mod output;
mod paint;
mod progress;
mod remote;
mod signals;
mod terminal;

use std::panic::UnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let began = Instant::now();
    ExitCode::from(guarded(|| cli::main(began)))
}

/// Does the work. A panic in it is told as a fault of ours, and has the exit code of one.
fn guarded(work: impl FnOnce() -> u8 + UnwindSafe) -> u8 {
    errors::announce_faults();
    std::panic::catch_unwind(work).unwrap_or(errors::OURS)
}

#[cfg(test)]
mod tests {
    use agentkernel_testkit::TestEnvironment;

    use super::guarded;

    #[test]
    fn a_fault_of_ours_is_told_once_and_ends_with_125() {
        let program = std::env::current_exe().expect("this program");
        let words = ["--exact", "tests::the_program_with_a_fault", "--ignored", "--nocapture"];
        let finished = TestEnvironment::new().run(program, &words).assert_code(125);
        let text = finished.stderr_text();
        let (first, hint) = text.trim_end().split_once('\n').expect("two lines");
        assert!(first.starts_with("agentkernel: this is a fault of agentkernel: "), "{text}");
        assert!(first.contains("main.rs:") && first.ends_with(": on\\n\\u{1b}purpose"), "{text}");
        assert_eq!(hint, "hint: please report it with this line and the output of agentkernel doctor");
    }

    /// Ends the whole test program, and so does nothing unless it was asked for alone.
    #[test]
    #[ignore = "the child of a_fault_of_ours_is_told_once_and_ends_with_125"]
    fn the_program_with_a_fault() {
        if std::env::args().any(|word| word == "--exact") {
            std::process::exit(guarded(|| panic!("on\n\x1bpurpose")).into());
        }
    }
}
