//! A run as one JSON object.

use serde_json::Value;

use crate::support::Trial;

const SCRIPT: &str = "echo out; printf '\\377' >&2; exit 3";

#[test]
fn the_object_has_its_schema_and_the_exit_code_is_the_commands() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial
        .say(&["run", "--name", &trial.name, "--format", "json", "--", "sh", "-c", SCRIPT])
        .assert_code(3);
    assert_eq!(said.stderr_text(), "");
    assert_eq!(said.stdout_text().matches('\n').count(), 1, "one object on one line");
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let keys: Vec<_> = json.as_object().expect("an object").keys().map(String::as_str).collect();
    insta::assert_debug_snapshot!(keys, @r#"
    [
        "backend",
        "cause",
        "exit_code",
        "memory_peak_bytes",
        "name",
        "origin",
        "out_of_memory_kills",
        "output_bytes",
        "phases_ms",
        "reason",
        "schema",
        "signal",
        "stderr_base64",
        "stdout",
        "timed_out",
        "truncated",
        "usage",
        "warning",
        "way",
    ]
    "#);
    let neutral = |key: &str| trial.neutral(&json[key].to_string());
    for (key, value) in [
        ("schema", "1"),
        ("backend", "\"oci\""),
        ("name", "\"NAME\""),
        ("exit_code", "3"),
        ("signal", "null"),
        ("cause", "\"exited\""),
        ("timed_out", "false"),
        ("truncated", "false"),
        ("stdout", "\"out\\n\""),
        ("stderr_base64", "\"/w==\""),
        ("output_bytes", "5"),
    ] {
        assert_eq!(neutral(key), value, "{key}");
    }
}

#[test]
fn phases_and_residual_sum_up_to_the_total_and_the_unseen_is_null() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.sh(&["--format", "json"], "true").assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let phases = json["phases_ms"].as_object().expect("an object");
    assert!(crate::BY_DAEMON || (phases["queue"].is_null() && phases["acquire"].is_null()));
    let ms = |name: &str| phases[name].as_f64().unwrap_or_else(|| panic!("{name}"));
    let seen = |name: &str| phases[name].as_f64().unwrap_or_default();
    let names = ["queue", "acquire", "boot", "ready", "exec", "stop", "residual"];
    let sum: f64 = names.into_iter().map(seen).sum();
    assert!((sum - ms("total")).abs() < 0.01, "{phases:?}");
    assert!(ms("exec") > 0.0);
    let (way, origin) = (json["way"].as_str(), json["origin"].as_str());
    if crate::BY_DAEMON {
        assert_eq!(way, Some("daemon"));
        assert!(matches!(origin, Some("warm" | "cold")), "{json}");
    } else {
        assert_eq!((way, origin), (Some("in-process"), Some("cold")));
        assert!(ms("boot") > 0.0 && ms("stop") > 0.0);
    }
    assert!(json["usage"]["max_rss_kib"].as_u64().is_some_and(|kib| kib > 0));
}

#[test]
fn what_its_sandbox_used_is_told_whoever_ran_it() {
    let Some(trial) = Trial::limiting() else { return };
    let script = "python3 -c 'bytearray(b\"x\") * 30_000_000'";
    let said = trial.sh(&["--format", "json"], script).assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert!(json["memory_peak_bytes"].as_u64().is_some_and(|bytes| bytes > 30_000_000), "{json}");
    assert_eq!(json["out_of_memory_kills"], 0);
    assert!(json["phases_ms"]["stop"].as_f64().is_some_and(|ms| ms > 0.0), "{json}");
    assert_eq!((&json["backend"], json["reason"].is_string()), (&Value::from("oci"), true));
}

#[test]
fn a_signal_is_exact() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.sh(&["--format", "json"], "kill -USR1 $$").assert_code(128 + 10);
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!((&json["exit_code"], &json["signal"]), (&Value::Null, &Value::from(10)));
}

#[test]
fn why_there_was_no_run_is_an_object_too() {
    let Some(trial) = Trial::booting() else { return };
    let said = trial.say(&["run", "--format", "json", "--", "no-such-program"]).assert_code(127);
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(
        (&json["schema"], &json["error"]["kind"]),
        (&Value::from(1), &Value::from("command_not_found"))
    );
    assert!(said.stderr_text().starts_with("agentkernel: "));
}

#[test]
fn a_request_that_makes_no_sense_is_an_object_too() {
    let trial = Trial::new();
    let said = trial.say(&["run", "--format", "json", "-w", "src", "--", "true"]).assert_code(2);
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(json["error"]["kind"], "usage");
}
