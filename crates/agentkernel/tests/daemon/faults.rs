//! A guest agent that stands still: whoever waits is told in time, and its sandbox does not go on.

use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::pools::pool;
use crate::support::{DEADLINE, Trial, comes_true};

/// The guest agents of the daemon's sandboxes, as the host sees them.
fn agents(trial: &Trial) -> Vec<Pid> {
    let folder = trial.environment.agentkernel_home().join("run/sandboxes");
    let records = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    records.filter_map(|record| agent(&record)).collect()
}

fn agent(record: &Path) -> Option<Pid> {
    let record: Value = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    Pid::from_raw(record["init"]["pid"].as_i64()?.try_into().ok()?)
}

/// The sandbox of this trial's name, as it is listed.
fn listed(trial: &Trial) -> Value {
    let said = trial.say(&["ps", "-a", "--format", "json"]).assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let all = json["sandboxes"].as_array().expect("a list");
    all.iter().find(|one| one["name"] == trial.name.as_str()).expect("it is listed").clone()
}

/// A sandbox without warm ones beside it, and its guest agent.
fn with_agent() -> Option<(Trial, Pid)> {
    let mut trial = Trial::alone()?;
    trial.serve(&["--pool", "0..0"]);
    trial.say(&["create", "--name", &trial.name]).assert_success();
    let agents = agents(&trial);
    assert_eq!(agents.len(), 1, "{agents:?}");
    Some((trial, agents[0]))
}

/// That it ended because of its agent, and nothing of it is left.
fn assert_died_of_it(trial: &Trial, agent: Pid) {
    assert!(comes_true(DEADLINE, || listed(trial)["state"] == "ended"), "{}", listed(trial));
    let ended = listed(trial);
    assert_eq!(ended["cause"], "boundary_crashed", "{ended}");
    assert_eq!(ended["detail"], "the guest agent does not answer", "{ended}");
    assert!(!agents(trial).contains(&agent), "its record is left");
    assert!(kill_process(agent, Signal::CONT).is_err(), "it lives on");
    let refused = trial.say(&["exec", &trial.name, "--", "true"]).assert_code(125);
    assert!(refused.stderr_text().contains("boundary_crashed"), "{}", refused.stderr_text());
}

#[test]
fn a_command_for_an_agent_that_stands_still_ends_by_its_deadline_and_so_does_the_sandbox() {
    let Some((trial, agent)) = with_agent() else { return };
    kill_process(agent, Signal::STOP).expect("it lives");
    let late = trial.say(&["exec", "--timeout", "500ms", &trial.name, "--", "true"]);
    assert!(matches!(late.status.code(), Some(124 | 125)), "{late:?}");
    assert_died_of_it(&trial, agent);
}

#[test]
fn a_command_whose_agent_stops_under_it_ends_by_its_deadline_and_so_does_the_sandbox() {
    let Some((trial, agent)) = with_agent() else { return };
    let mut command = trial.command(&["exec", "--timeout", "3s", &trial.name, "--", "sh", "-c"]);
    let child = command.arg("touch /workspace/begun; exec sleep 60").spawn().expect("start");
    let begun = || trial.say(&["exec", &trial.name, "--", "test", "-e", "/workspace/begun"]).status.success();
    assert!(comes_true(DEADLINE, begun), "it does not begin");
    kill_process(agent, Signal::STOP).expect("it lives");
    let said = agentkernel_testkit::Finished::wait("exec".into(), child, DEADLINE).assert_code(124);
    assert!(said.stderr_text().contains("timeout"), "{}", said.stderr_text());
    assert_died_of_it(&trial, agent);
}

#[test]
fn a_warm_sandbox_whose_agent_stands_still_is_found_out_and_replaced() {
    let Some(mut trial) = Trial::alone() else { return };
    trial.serve(&["--pool", "2..2"]);
    assert!(comes_true(DEADLINE, || pool(&trial)["warm"] == 2), "{}", pool(&trial));
    let stopped = agents(&trial);
    assert_eq!(stopped.len(), 2, "{stopped:?}");
    for agent in &stopped {
        kill_process(*agent, Signal::STOP).expect("it lives");
    }
    let replaced = || {
        let now = agents(&trial);
        now.len() == 2 && now.iter().all(|agent| !stopped.contains(agent)) && pool(&trial)["warm"] == 2
    };
    assert!(comes_true(DEADLINE, replaced), "{}", pool(&trial));
    assert_eq!(pool(&trial)["total"]["discarded"], 2, "{}", pool(&trial));
    let said = trial.say(&["run", "--timing", "--", "echo", "hi"]).assert_success();
    assert_eq!(said.stdout_text(), "hi\n");
    assert!(said.stderr_text().contains("warm"), "{}", said.stderr_text());
}

#[test]
fn a_run_that_gets_a_sandbox_whose_agent_has_just_stopped_ends_by_its_deadline() {
    let Some(mut trial) = Trial::alone() else { return };
    trial.serve(&["--pool", "1..1"]);
    assert!(comes_true(DEADLINE, || pool(&trial)["warm"] == 1), "{}", pool(&trial));
    let stopped = agents(&trial);
    for agent in &stopped {
        kill_process(*agent, Signal::STOP).expect("it lives");
    }
    let said = trial.say(&["run", "--timeout", "1s", "--", "true"]);
    // It may also have been found out first.
    assert!(matches!(said.status.code(), Some(0 | 124 | 125)), "{said:?}");
    assert!(
        comes_true(DEADLINE, || !agents(&trial).iter().any(|agent| stopped.contains(agent))),
        "it lives on"
    );
    trial.say(&["run", "--", "true"]).assert_success();
}
