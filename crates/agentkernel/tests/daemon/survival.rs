//! What a daemon that was killed leaves to the next one.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sockets;
use crate::support::{DEADLINE, Trial, comes_true};

/// What is told of one of the trial's sandboxes.
pub fn told(trial: &Trial, name: &str) -> Value {
    let said = trial.say(&["ps", "-a", "--format", "json"]).assert_success();
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    let sandboxes = json["sandboxes"].as_array().expect("a list");
    sandboxes.iter().find(|one| one["name"] == name).cloned().unwrap_or_default()
}

#[test]
fn a_socket_of_the_host_is_served_again() {
    let Some(mut trial) = Trial::booting() else { return };
    let name = trial.name.clone();
    let socket = format!("{}:service", sockets::shouting(&trial).display());
    trial.say(&["create", "--name", &name, "--unix-socket", &socket]).assert_success();
    let ask = |trial: &Trial, word: &str| {
        trial.say(&["exec", &name, "--", "python3", "-c", sockets::ASK, word]).assert_success().stdout_text()
    };
    assert_eq!(ask(&trial, "before"), "BEFORE");
    trial.daemon().crash();
    trial.serve(&["--pool", "1..2"]);
    assert_eq!(ask(&trial, "after"), "AFTER");
    trial.say(&["rm", "-f", &name]).assert_success();
    trial.assert_nothing_left();
}

/// The PID on the host of the first process of a sandbox, by its record.
fn init_of(trial: &Trial, name: &str) -> Pid {
    let host_name = told(trial, name)["host_name"].as_str().expect("a name").to_owned();
    let path = trial.environment.agentkernel_home().join("run/sandboxes").join(format!("{host_name}.json"));
    let record: Value = serde_json::from_slice(&fs::read(path).expect("a record")).expect("JSON");
    let pid = record["init"]["pid"].as_i64().expect("a PID");
    Pid::from_raw(i32::try_from(pid).expect("a PID")).expect("not zero")
}

fn lives(pid: Pid) -> bool {
    kill_process(pid, Signal::CONT).is_ok()
}

#[test]
fn sandboxes_their_files_and_their_commands_are_there_again() {
    are_there_again_on("oci");
}

#[test]
fn those_that_a_runtime_made_are_there_again() {
    are_there_again_on("runc");
    are_there_again_on("crun");
}

#[test]
fn those_of_gvisor_are_there_again() {
    are_there_again_on("gvisor");
}

fn are_there_again_on(backend: &str) {
    let Some(mut trial) = Trial::booting_on(backend) else { return };
    let name = trial.name.clone();
    trial.say(&["create", "--backend", backend, "--name", &name]).assert_success();
    trial.say(&["exec", &name, "--", "sh", "-c", "echo kept >file"]).assert_success();
    let script = "echo before; while ! test -e go; do sleep 0.05; done; echo after; exit 5";
    let said = trial.say(&["exec", "-d", &name, "--", "sh", "-c", script]).assert_success();
    let pid = said.stdout_text().trim().to_owned();
    assert!(comes_true(DEADLINE, || trial.say(&["logs", &name]).stdout_text() == "before\n"));
    let init = init_of(&trial, &name);

    trial.daemon().crash();
    // Warm sandboxes are nobody's: they go with the daemon.
    assert!(comes_true(DEADLINE, || trial.daemon().records().len() == 2), "{:?}", trial.daemon().records());
    assert!(lives(init));
    trial.serve(&["--pool", "1..2"]);

    assert_eq!(told(&trial, &name)["state"], "running");
    assert_eq!(init_of(&trial, &name), init, "it is another one");
    trial.say(&["inspect", &name, "--posture"]).assert_success();
    let kept = trial.say(&["exec", &name, "--", "sh", "-c", "cat file; id -u"]).assert_success();
    assert_eq!(kept.stdout_text(), "kept\n65532\n");
    trial.say(&["exec", &name, "--", "touch", "go"]).assert_success();
    let said = trial.say(&["attach", &name, &pid]).assert_code(5);
    assert_eq!(said.stdout_text(), "after\n");
    trial.say(&["rm", "-f", &name]).assert_success();
    assert!(!lives(init));
    trial.assert_nothing_left();
}

#[test]
fn what_was_paused_is_paused_still() {
    let Some(mut trial) = Trial::booting() else { return };
    let name = trial.name.clone();
    trial.say(&["create", "--name", &name]).assert_success();
    let count = "n=0; while :; do n=$((n+1)); echo $n >count; sleep 0.01; done";
    trial.say(&["exec", "-d", &name, "--", "sh", "-c", count]).assert_success();
    trial.say(&["pause", &name]).assert_success();
    for _ in 0..2 {
        trial.daemon().crash();
        trial.serve(&["--pool", "1..2"]);
        assert_eq!(told(&trial, &name)["state"], "paused");
        let init = init_of(&trial, &name);
        let state = || {
            let stat =
                fs::read_to_string(format!("/proc/{}/cgroup", init.as_raw_nonzero())).expect("it lives");
            let group = stat.lines().find_map(|line| line.split_once(":freezer:").map(|(_, path)| path));
            group.map(|path| {
                let file = format!("/sys/fs/cgroup/freezer{path}/freezer.state");
                fs::read_to_string(file).expect("a freezer").trim().to_owned()
            })
        };
        // On cgroup v2 there is no freezer to ask; the counter below says the same.
        assert!(state().is_none_or(|state| state == "FROZEN"), "{:?}", state());
    }
    trial.say(&["resume", &name]).assert_success();
    let read = || trial.say(&["exec", &name, "--", "cat", "count"]).assert_success().stdout_text();
    let first = read();
    assert!(comes_true(DEADLINE, || read() != first), "time stands still");
    trial.say(&["rm", "-f", &name]).assert_success();
}

#[test]
fn one_that_died_meanwhile_is_told_with_its_cause_and_leaves_nothing() {
    let Some(mut trial) = Trial::booting() else { return };
    let name = trial.name.clone();
    trial.say(&["create", "--name", &name]).assert_success();
    let init = init_of(&trial, &name);
    trial.daemon().crash();
    kill_process(init, Signal::KILL).expect("it lives");
    assert!(comes_true(DEADLINE, || trial.daemon().records().is_empty()), "its supervisor did not clean up");
    trial.serve(&["--pool", "1..2"]);
    let told = told(&trial, &name);
    assert_eq!((&told["state"], &told["cause"]), (&"ended".into(), &"boundary_crashed".into()));
    let said = trial.say(&["exec", &name, "--", "true"]).assert_code(125);
    assert!(said.stderr_text().contains("restarted"), "{}", said.stderr_text());
    trial.assert_nothing_left();
}

#[test]
fn one_that_nobody_can_get_back_any_more_ends() {
    let Some(mut trial) = Trial::booting() else { return };
    let name = trial.name.clone();
    trial.say(&["create", "--name", &name]).assert_success();
    let init = init_of(&trial, &name);
    trial.daemon().crash();
    fs::remove_dir_all(trial.environment.agentkernel_home().join("run")).expect("removed");
    assert!(comes_true(DEADLINE, || !lives(init)), "it lives for nobody");
}

#[test]
fn one_that_is_told_to_end_with_the_daemon_does() {
    let Some(mut trial) = Trial::booting() else { return };
    let name = trial.name.clone();
    trial.say(&["create", "--name", &name]).assert_success();
    let init = init_of(&trial, &name);
    trial.daemon().signal(Signal::TERM);
    assert_eq!(trial.daemon().wait(), Some(0));
    assert!(!lives(init));
    assert!(trial.daemon().records().is_empty());
}
