//! What is said on stderr about a run that is over.

use std::io::{self, Write as _};

use agentkernel_core::Phases;
use agentkernel_runtime::RunRequest;

use super::done::{Done, Way};
use crate::errors;
use crate::notices::Over;
use crate::paint;

/// Says whatever the exit code alone does not.
pub fn print_notices(done: &Done, request: &RunRequest) {
    errors::warn(done.warning.as_deref());
    let over = Over {
        program: request.command.program(),
        timeout: request.command.timeout,
        memory: Some(request.spec.limits().memory.to_string()),
        ending: &done.ending,
        cause: done.cause,
        output: done.output,
    };
    over.print();
}

/// Prints where the time went.
pub fn print_timing(phases: &Phases, way: Way) {
    drop(io::stderr().lock().write_all((timing(phases) + &told(way)).as_bytes()));
}

/// Which way was taken, below the table.
fn told(way: Way) -> String {
    let words: Vec<_> = [Some(way.who()), way.origin()].into_iter().flatten().collect();
    format!("way: {}\n", words.join(", "))
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
