//! Where the time of a run goes, as our program tells it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::refusal::Cause;
use crate::text::NANOSECONDS_OF_MS;

/// The parts that a run of ours tells, in their order.
pub const PHASES: [&str; 6] = ["queue", "acquire", "boot", "ready", "exec", "stop"];
/// What of the whole is in none of them.
pub const RESIDUAL: &str = "residual";

/// What the command said, and the phases that our program tells of it.
pub type Told = (Vec<u8>, BTreeMap<String, Option<u64>>);

/// Reads both from the JSON of a run.
pub fn told(json: &[u8]) -> std::result::Result<Told, String> {
    let json: Value = serde_json::from_slice(json).map_err(|why| format!("it prints no JSON: {why}"))?;
    let stdout = json["stdout"].as_str().ok_or("it does not tell what the command said")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "milliseconds of a run, which are not negative"
    )]
    let ns = |value: &Value| value.as_f64().map(|ms| (ms.max(0.0) * NANOSECONDS_OF_MS).round() as u64);
    let phases = &json["phases_ms"];
    let phases = PHASES.map(|phase| (phase.to_owned(), ns(&phases[phase]))).into_iter().collect();
    Ok((stdout.as_bytes().to_vec(), phases))
}

/// With what is in no phase, they are the whole.
pub fn parts(
    mut phases: BTreeMap<String, Option<u64>>,
    total_ns: u64,
) -> std::result::Result<BTreeMap<String, Option<u64>>, Cause> {
    let seen: Vec<u64> = phases.values().copied().flatten().collect();
    let sum: u64 = seen.iter().sum();
    if seen.is_empty() || sum > total_ns {
        let why = format!("{} phases of {sum} ns in a process that took {total_ns} ns", seen.len());
        return Err(Cause::Incredible { why });
    }
    phases.insert(RESIDUAL.into(), Some(total_ns - sum));
    Ok(phases)
}
