//! What a run is worth: nothing, unless all of it was right.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use super::client::Ended;
use super::memory::Held;
use crate::executor::Sample;
use crate::plan::{Metric, Order};
use crate::refusal::Cause;
use crate::text;
use crate::workload::{self, Work};

/// A run that came to an end, right or wrong.
pub struct Run {
    /// How.
    pub ended: Ended,
    /// All that it said.
    pub stdout: Vec<u8>,
    /// All that it complained of.
    pub stderr: Vec<u8>,
}

/// Whether it did the work, to its end, and nothing else.
pub fn judge(work: &Work, run: &Run) -> Result<(), Cause> {
    if run.ended.status.code() != Some(0) {
        let complaint = text::beginning(&run.stderr);
        return Err(Cause::WrongExit { ended: in_words(run.ended.status), complaint });
    }
    if run.stdout.is_empty() {
        return Err(Cause::EmptyOutput);
    }
    match &work.says {
        Some(says) if says.as_bytes() != run.stdout => Err(Cause::WrongOutput {
            expected_sha256: text::sha256(says.as_bytes()),
            actual_sha256: text::sha256(&run.stdout),
            said: text::beginning(&run.stdout),
        }),
        _ => Ok(()),
    }
}

/// How a program ended.
pub fn in_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "neither an exit code nor a signal".into(),
    }
}

/// The sample that a right run is, if what it says of itself can be.
pub fn sample(order: &Order, work: &Work, run: &Run, held: Option<Held>) -> Result<Sample, Cause> {
    let wall_ns = nanoseconds(run.ended.wall);
    let inside_ns = if work.is_timed {
        let inside = workload::inside_ns(&String::from_utf8_lossy(&run.stderr));
        let incredible = |why: String| Cause::Incredible { why };
        let inside = inside.ok_or_else(|| incredible("the work does not say how long it took".into()))?;
        if inside == 0 || inside > wall_ns {
            return Err(incredible(format!("{inside} ns inside of a launch that took {wall_ns} ns")));
        }
        Some(inside)
    } else {
        None
    };
    if order.metric == Metric::Memory && held.is_none() {
        return Err(Cause::Incredible { why: "it ended before its memory could be looked at".into() });
    }
    Ok(Sample {
        round: order.round,
        wall_ns,
        inside_ns,
        pss_bytes: held.map(|held| held.pss_bytes),
        rss_bytes: held.map(|held| held.rss_bytes),
        processes: held.map(|held| held.processes),
        sharers: held.map(|held| held.sharers),
        exit_code: run.ended.status.code().unwrap_or(-1),
        stdout_sha256: text::sha256(&run.stdout),
    })
}

/// As a number.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
