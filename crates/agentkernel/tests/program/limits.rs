//! Time, memory and output that are used up: the typed cause, and the exit code.

use std::time::{Duration, Instant};

use agentkernel_testkit::tool_or_skip;
use serde_json::Value;

use crate::support::Trial;

fn json(trial: &Trial, flags: &[&str], script: &str) -> Value {
    let said = trial.sh(&[&["--format", "json"], flags].concat(), script);
    serde_json::from_slice(&said.stdout).unwrap_or_else(|why| panic!("{why}: {}", said.stdout_text()))
}

#[test]
fn a_command_whose_time_is_up_is_killed_with_all_its_children() {
    let Some(trial) = Trial::booting() else { return };
    let began = Instant::now();
    let script = "sleep 60 & setsid sleep 60 & echo before; wait";
    let said = trial.sh(&["--timeout", "300ms"], script).assert_code(124);
    assert_eq!(said.stdout_text(), "before\n");
    insta::assert_snapshot!(said.stderr_text(), @r#"
    agentkernel: run the command: sh: timeout: it did not end within 300ms
    hint: give it more with --timeout
    "#);
    assert!(began.elapsed() < Duration::from_secs(30));
    trial.assert_nothing_left();
    let json = json(&trial, &["--timeout", "300ms"], "sleep 60");
    assert_eq!((&json["cause"], &json["timed_out"]), (&Value::from("timeout"), &Value::from(true)));
}

#[test]
fn a_deadline_holds_while_nobody_reads_the_output() {
    let Some(trial) = Trial::booting() else { return };
    let running = trial.start(&["--timeout", "500ms"], "echo ready; exec cat /dev/zero");
    // Nothing is read from here until it has ended: `finish` reads what is left in the pipe.
    let gone = crate::support::comes_true(Duration::from_secs(20), || {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", running.pid()));
        status.is_ok_and(|stat| stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")))
    });
    assert!(gone, "it lives on");
    running.finish().assert_code(124);
}

#[test]
fn a_command_that_uses_too_much_memory_dies_of_it() {
    let Some(trial) = Trial::limiting() else { return };
    if tool_or_skip("python3").is_none() {
        return;
    }
    let words =
        ["run", "--memory", "64M", "--format", "json", "--", "python3", "-c", "x = b'x' * (300 << 20)"];
    let said = trial.say(&words).assert_code(137);
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!((&json["cause"], &json["signal"]), (&Value::from("out_of_memory"), &Value::from(9)));
    insta::assert_snapshot!(said.stderr_text(), @r#"
    agentkernel: run the command: python3: out_of_memory: it used more than its limit of 64M
    hint: give it more with --memory
    "#);
}

#[test]
fn output_is_cut_at_its_limit_and_that_is_told() {
    let Some(trial) = Trial::booting() else { return };
    let script = "printf 0123456789; printf abcdef >&2; exit 4";
    let said = trial.sh(&["--output-limit", "12"], script).assert_code(4);
    assert!(said.stdout.len() <= 10 && said.stdout_text() == "0123456789"[..said.stdout.len()]);
    assert!(said.stderr_text().contains("agentkernel: output was cut at 12: sh: it wrote 16 bytes\nhint: "));
    let json = json(&trial, &["--output-limit", "1K"], "head -c 100000 /dev/zero");
    assert_eq!((&json["truncated"], &json["output_bytes"]), (&Value::from(true), &Value::from(100_000)));
    assert_eq!(json["stdout"].as_str().map(str::len), Some(1024));
}

#[test]
fn the_timing_table_has_every_phase() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.sh(&["--timing"], "echo out").assert_success();
    assert_eq!(said.stdout_text(), "out\n");
    let text = said.stderr_text();
    let names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(
        names,
        ["PHASE", "queue", "acquire", "boot", "ready", "exec", "stop", "residual", "total", "way:"]
    );
}
