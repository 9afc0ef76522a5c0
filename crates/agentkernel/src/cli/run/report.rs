//! What is said on stderr about a run that is over.

use std::io::{self, Write as _};

use agentkernel_core::{CauseOfDeath, Error, ErrorKind, Phases};
use agentkernel_runtime::{Ending, RunReport, RunRequest};

use crate::{errors, paint};

/// Says whatever the exit code alone does not.
pub fn print_notices(report: &RunReport, request: &RunRequest) {
    for notice in notices(report, request) {
        errors::say_error(&notice);
    }
}

fn notices(report: &RunReport, request: &RunRequest) -> Vec<Error> {
    let mut notices = Vec::new();
    if report.output.is_truncated() {
        let why = format!("it wrote {} bytes", report.output.total);
        let what = format!("output was cut at {}", report.output.limit);
        notices.push(
            Error::new(ErrorKind::Host, what, why)
                .on(request.command.program())
                .hint("let more pass with --output-limit, or write to a file in a folder mounted with -v"),
        );
    }
    notices.extend(end(report, request));
    notices
}

/// Why the command did not end by itself. Ctrl-C, and a reader that went away, need not be told.
fn end(report: &RunReport, request: &RunRequest) -> Option<Error> {
    let error = |why: String| {
        Error::new(ErrorKind::SandboxGone, "run the command", why).on(request.command.program())
    };
    match (report.cause, &report.ending) {
        (CauseOfDeath::Timeout, _) => {
            let time = request.command.timeout.unwrap_or_default();
            Some(
                error(format!("timeout: it did not end within {time:?}")).hint("give it more with --timeout"),
            )
        }
        (CauseOfDeath::OutOfMemory, _) => {
            let limit = request.spec.limits().memory;
            let why = format!("out_of_memory: it used more than its limit of {limit}");
            Some(error(why).hint("give it more with --memory"))
        }
        (_, Ending::OutputFailed(why)) if why.kind() != io::ErrorKind::BrokenPipe => {
            let what = "pass the command's output on";
            Some(Error::new(ErrorKind::Host, what, why).hint("the command was killed"))
        }
        (cause, Ending::SandboxEnded(ended)) => {
            Some(error(format!("its sandbox ended: {cause}: {}", ended.detail)))
        }
        _ => None,
    }
}

/// Prints where the time went.
pub fn print_timing(phases: &Phases) {
    drop(io::stderr().lock().write_all(timing(phases).as_bytes()));
}

fn timing(phases: &Phases) -> String {
    let mut times: Vec<_> = phases.named().to_vec();
    times.extend([("residual", Some(phases.residual())), ("total", Some(phases.total))]);
    let rows = times.into_iter().map(|(name, time)| {
        let time = time.map_or_else(|| "-".into(), |time| format!("{:.3}", paint::milliseconds(time)));
        vec![name.to_owned(), time]
    });
    let mut table = paint::table(&["phase", "ms"], rows);
    paint::align_right(&mut table, 1);
    paint::lines(&table)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_phase_that_was_not_seen_is_no_zero() {
        let phases = Phases {
            boot: Some(Duration::from_micros(5250)),
            exec: Some(Duration::from_millis(12)),
            total: Duration::from_micros(20_001),
            ..Phases::default()
        };
        insta::assert_snapshot!(timing(&phases), @r#"
        PHASE         MS
        queue          -
        acquire        -
        boot       5.250
        ready          -
        exec      12.000
        stop           -
        residual   2.751
        total     20.001
        "#);
    }
}
