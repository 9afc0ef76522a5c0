//! Engines, measured beside their own command lines.

use agentkernel_testkit::TestEngine;
use serde_json::Value;

use crate::support::Trial;

/// What is measured of an engine and of its own command line, which has an image of busybox.
fn measured(engine: &TestEngine, name: &str) -> Option<Value> {
    let mut trial = Trial::alone()?;
    trial.environment.use_engine(engine.address());
    let image = "docker.io/library/busybox:latest";
    engine.import_busybox(image, &[], |_| {})?;
    let words = ["bench", "run", "startup", "exec", "memory", "--backend", name, "--vs", name];
    let few = ["--iterations", "1", "--warm-ups", "0", "--at-once", "2", "--output", "kept"];
    trial.say(&[&words[..], &few].concat()).assert_code(0);
    let mut kept = std::fs::read_dir(trial.environment.work().join("kept")).expect("made").flatten();
    let results = kept.next().expect("a run").path().join("results.json");
    Some(serde_json::from_slice(&std::fs::read(results).expect("read")).expect("JSON"))
}

/// Each has a sample of each benchmark, memory of one and of many among them, and its isolation was looked at.
fn is_whole(json: &Value, target: &str) {
    for (index, benchmark) in json["benchmarks"].as_array().expect("benchmarks").iter().enumerate() {
        let rows = benchmark["rows"].as_array().expect("rows");
        let row = rows.iter().find(|row| row["target"] == target).expect("its row");
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(1), "{index}: {row}");
    }
    let rows = json["benchmarks"][2]["rows"].as_array().expect("rows");
    let of = |at_once: u64| rows.iter().find(|row| row["target"] == target && row["at_once"] == at_once);
    let bytes =
        |kind: &str| of(1).and_then(|row| row["bytes"][kind]["p50_bytes"].as_f64()).unwrap_or_default();
    assert!(bytes("pss") > 4096.0 && bytes("pss_touched") > 64.0 * 1024.0 * 1024.0, "{rows:?}");
    // What two take may be less than others give back meanwhile.
    assert!(of(2).is_some(), "{rows:?}");
    let found = &json["facts"]["proven"][target]["checked"];
    assert!(!found["host"]["processes"].as_array().expect("processes").is_empty(), "{target}");
}

#[test]
fn docker_is_measured_beside_its_own_command_line() {
    let Some(engine) = TestEngine::docker() else { return };
    let Some(json) = measured(&engine, "docker") else { return };
    is_whole(&json, "docker");
    is_whole(&json, "docker itself");
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "", "containers are left");
}

#[test]
fn podman_is_measured_beside_its_own_command_line() {
    let Some(engine) = TestEngine::podman() else { return };
    let Some(json) = measured(&engine, "podman") else { return };
    is_whole(&json, "podman");
    is_whole(&json, "podman itself");
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "", "containers are left");
}
