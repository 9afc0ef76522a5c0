//! A run, or why there was none, as one JSON object.

use agentkernel_core::{CauseOfDeath, Error, ExitStatus, Phases, Usage};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;

use super::done::Done;
use crate::errors::Failure;
use crate::output::{self, KeptOutput};
use crate::paint;

/// Counts up when a reader of an older one would be misled.
pub const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Json<'a> {
    schema: u32,
    backend: Option<&'a str>,
    reason: Option<&'a str>,
    warning: Option<&'a str>,
    name: &'a str,
    way: &'static str,
    origin: Option<&'static str>,
    exit_code: Option<u8>,
    signal: Option<u8>,
    cause: CauseOfDeath,
    timed_out: bool,
    truncated: bool,
    output_bytes: u64,
    #[serde(flatten)]
    stdout: Stdout<'a>,
    #[serde(flatten)]
    stderr: Stderr<'a>,
    phases_ms: PhasesJson,
    usage: Option<UsageJson>,
    memory_peak_bytes: Option<u64>,
    out_of_memory_kills: Option<u64>,
}

/// Text as text; anything else, under another key, as base64.
#[derive(Serialize)]
enum Stdout<'a> {
    #[serde(rename = "stdout")]
    Text(&'a str),
    #[serde(rename = "stdout_base64")]
    Bytes(String),
}

#[derive(Serialize)]
enum Stderr<'a> {
    #[serde(rename = "stderr")]
    Text(&'a str),
    #[serde(rename = "stderr_base64")]
    Bytes(String),
}

/// Phases in milliseconds.
#[derive(Serialize)]
pub struct PhasesJson {
    queue: Option<f64>,
    acquire: Option<f64>,
    boot: Option<f64>,
    ready: Option<f64>,
    exec: Option<f64>,
    stop: Option<f64>,
    residual: f64,
    total: f64,
}

/// What was used, in milliseconds and KiB.
#[derive(Serialize)]
pub struct UsageJson {
    user_ms: f64,
    system_ms: f64,
    wall_ms: f64,
    max_rss_kib: u64,
}

#[derive(Serialize)]
struct ErrorJson<'a> {
    schema: u32,
    error: ErrorParts<'a>,
}

#[derive(Serialize)]
struct ErrorParts<'a> {
    kind: String,
    what: &'a str,
    subject: &'a str,
    why: &'a str,
    hint: Option<&'a str>,
}

/// Prints a run.
pub fn print(done: &Done, output: &KeptOutput) -> Result<(), Failure> {
    let (exit_code, signal) = match done.status() {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal(number)) => (None, Some(number)),
        None => (None, None),
    };
    output::print_json(&Json {
        schema: SCHEMA,
        backend: done.choice.as_ref().map(|(backend, _)| backend.as_str()),
        reason: done.choice.as_ref().map(|(_, reason)| reason.as_str()),
        warning: done.warning.as_deref(),
        name: &done.name,
        way: done.way.who(),
        origin: done.way.origin(),
        exit_code,
        signal,
        cause: done.cause,
        timed_out: done.timed_out(),
        truncated: done.output.is_truncated(),
        output_bytes: done.output.total,
        stdout: encode(&output.stdout, Stdout::Text, Stdout::Bytes),
        stderr: encode(&output.stderr, Stderr::Text, Stderr::Bytes),
        phases_ms: phases(&done.phases),
        usage: done.usage().as_ref().map(usage),
        memory_peak_bytes: done.stopped.and_then(|stopped| stopped.memory_peak_bytes),
        out_of_memory_kills: done.stopped.map(|stopped| stopped.out_of_memory_kills),
    })
}

/// Prints why there was no run.
pub fn print_error(error: &Error) -> Result<(), Failure> {
    let parts = ErrorParts {
        kind: snake_case(&format!("{:?}", error.kind)),
        what: &error.what,
        subject: &error.subject,
        why: &error.why,
        hint: error.hint.as_deref(),
    };
    output::print_json(&ErrorJson { schema: SCHEMA, error: parts })
}

fn encode<'a, T>(bytes: &'a [u8], text: fn(&'a str) -> T, base64: fn(String) -> T) -> T {
    str::from_utf8(bytes).map_or_else(|_| base64(BASE64.encode(bytes)), text)
}

/// Phases in milliseconds.
pub fn phases(phases: &Phases) -> PhasesJson {
    PhasesJson {
        queue: phases.queue.map(paint::milliseconds),
        acquire: phases.acquire.map(paint::milliseconds),
        boot: phases.boot.map(paint::milliseconds),
        ready: phases.ready.map(paint::milliseconds),
        exec: phases.exec.map(paint::milliseconds),
        stop: phases.stop.map(paint::milliseconds),
        residual: paint::milliseconds(phases.residual()),
        total: paint::milliseconds(phases.total),
    }
}

/// What was used.
pub fn usage(usage: &Usage) -> UsageJson {
    UsageJson {
        user_ms: paint::milliseconds(usage.user),
        system_ms: paint::milliseconds(usage.system),
        wall_ms: paint::milliseconds(usage.wall),
        max_rss_kib: usage.max_rss_kib,
    }
}

/// `CommandNotFound` → `command_not_found`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for character in name.chars() {
        if character.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(character.to_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_text_travel_as_base64_under_another_key() {
        let json = |bytes| serde_json::to_string(&encode(bytes, Stdout::Text, Stdout::Bytes)).expect("json");
        assert_eq!(json("grün".as_bytes()), r#"{"stdout":"grün"}"#);
        assert_eq!(json(b"\xff\x00"), r#"{"stdout_base64":"/wA="}"#);
    }

    #[test]
    fn kinds_are_named_in_the_way_of_json() {
        assert_eq!(snake_case("CommandNotFound"), "command_not_found");
        assert_eq!(snake_case("Boot"), "boot");
    }
}
