//! Warm sandboxes of whatever a host has for them: its runtimes and its container engines.

use std::collections::BTreeSet;

use agentkernel_testkit::TestEngine;
use agentkernel_testkit::leaks::{Marks, Snapshot, describe};

use crate::pools::{pool_of, warms_up};
use crate::support::{DEADLINE, Trial, comes_true};
use crate::survival::told;

/// Shows what an earlier one has left, leaves something itself, and says who it is. Without ls, which an old gVisor fails.
const LEAVES: &str =
    "echo /tmp/* /workspace/*; echo x >/tmp/left && echo x >/workspace/left && cat /tmp/left && hostname";

/// What that says where nothing was left, before the name.
const NOTHING: &str = "/tmp/* /workspace/*\nx\n";

/// A daemon that uses this engine.
fn beside(engine: &TestEngine) -> Option<Trial> {
    let mut trial = Trial::alone()?;
    trial.environment.use_engine(engine.address());
    trial.serve(&[]);
    Some(trial)
}

/// Runs this in a sandbox that was warm, and returns what it said.
fn run_warm(trial: &Trial, backend: &str, script: &str) -> String {
    let words = ["run", "--backend", backend, "--timing", "--", "sh", "-c", script];
    let said = trial.say(&words).assert_success();
    let way = said.stderr_text();
    assert!(way.contains("way: daemon, warm"), "{backend}: {way}");
    said.stdout_text()
}

/// The whole life of warm sandboxes of a backend, which the daemon of this trial can use.
fn are_kept_used_once_and_gone_with_the_daemon(mut trial: Trial, backend: &str) {
    trial.say(&["pool", "set", "2..2", "--backend", backend]).assert_success();
    warms_up(&trial, backend, 2);
    let mut words = names(&mut trial);
    let mut hosts = BTreeSet::new();
    for _ in 0..3 {
        let said = run_warm(&trial, backend, LEAVES);
        let host = said.strip_prefix(NOTHING).unwrap_or_else(|| panic!("of an earlier one: {said}"));
        assert!(hosts.insert(host.to_owned()), "each is used once: {host} of {hosts:?}");
        warms_up(&trial, backend, 2);
    }
    counted(&trial, backend, [3, 0]);
    go_to_those_that_live_on(&trial, backend);
    counted(&trial, backend, [4, 1]);
    warms_up(&trial, backend, 2);
    words.extend(names(&mut trial));
    trial.say(&["shutdown"]).assert_success();
    assert!(trial.daemon().has_ended());
    assert_nothing_mentions(words);
}

/// That so many were taken warm and so many were not, and nothing failed.
#[track_caller]
fn counted(trial: &Trial, backend: &str, [hits, misses]: [u64; 2]) {
    let pool = pool_of(trial, backend);
    let counts =
        ["hits", "misses", "boot_failures", "stop_failures"].map(|name| pool["total"][name].as_u64());
    assert_eq!(counts, [hits, misses, 0, 0].map(Some), "{pool}");
}

/// One with a name is a warm one, and one with another host name is booted for it.
fn go_to_those_that_live_on(trial: &Trial, backend: &str) {
    let create = ["create", "--backend", backend, "--name"];
    trial.say(&[&create[..], &["kept"]].concat()).assert_success();
    assert_eq!(told(trial, "kept")["origin"], "warm", "a name is given to a warm one, too");
    warms_up(trial, backend, 2);
    trial.say(&[&create[..], &["called", "--hostname", "web"]].concat()).assert_success();
    let said = trial.say(&["exec", "called", "--", "hostname"]).assert_success();
    assert_eq!(said.stdout_text(), "web\n");
    assert_eq!(told(trial, "called")["origin"], "cold");
}

/// What the daemon's sandboxes are called on the host, those of engines excepted.
fn names(trial: &mut Trial) -> BTreeSet<String> {
    let records = trial.daemon().records();
    let stems = records.iter().filter_map(|record| record.file_stem());
    stems.map(|stem| stem.to_string_lossy().into_owned()).collect()
}

/// That no process, mount, group or socket of the host is called so.
fn assert_nothing_mentions(words: BTreeSet<String>) {
    let marks = words.into_iter().fold(Marks::new(), Marks::word);
    let empty = Snapshot::take(&Marks::new());
    let mut left = Vec::new();
    let gone = comes_true(DEADLINE, || {
        left = Snapshot::take(&marks).leaked_since(&empty);
        left.is_empty()
    });
    assert!(gone, "left behind:{}", describe(&left));
}

#[test]
fn sandboxes_of_runc_are_kept_warm_used_once_and_gone_with_the_daemon() {
    let Some(trial) = Trial::booting_on("runc") else { return };
    are_kept_used_once_and_gone_with_the_daemon(trial, "runc");
}

#[test]
fn sandboxes_of_crun_are_kept_warm_used_once_and_gone_with_the_daemon() {
    let Some(trial) = Trial::booting_on("crun") else { return };
    are_kept_used_once_and_gone_with_the_daemon(trial, "crun");
}

#[test]
fn sandboxes_of_gvisor_are_kept_warm_used_once_and_gone_with_the_daemon() {
    let Some(trial) = Trial::booting_on("gvisor") else { return };
    are_kept_used_once_and_gone_with_the_daemon(trial, "gvisor");
}

#[test]
fn containers_of_docker_are_kept_warm_used_once_and_gone_with_the_daemon() {
    let Some(engine) = TestEngine::docker() else { return };
    let Some(trial) = beside(&engine) else { return };
    are_kept_used_once_and_gone_with_the_daemon(trial, "docker");
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "", "containers are left");
}

#[test]
fn containers_of_podman_are_kept_warm_used_once_and_gone_with_the_daemon() {
    let Some(engine) = TestEngine::podman() else { return };
    let Some(trial) = beside(&engine) else { return };
    are_kept_used_once_and_gone_with_the_daemon(trial, "podman");
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "", "containers are left");
}

/// A daemon that is killed has nobody who could take its containers down: they end with their standard input.
fn containers_end_with_a_daemon_that_is_killed(engine: &TestEngine, backend: &str) {
    let Some(mut trial) = beside(engine) else { return };
    trial.say(&["pool", "set", "1..1", "--backend", backend]).assert_success();
    warms_up(&trial, backend, 1);
    trial.say(&["create", "--backend", backend, "--name", "kept"]).assert_success();
    trial.say(&["exec", "-d", "kept", "--", "sleep", "1000"]).assert_success();
    warms_up(&trial, backend, 1);
    let all = || engine.client(&["ps", "--all", "--quiet"]);
    assert_eq!(all().lines().count(), 2);
    trial.daemon().crash();
    assert!(comes_true(DEADLINE, || all().is_empty()), "containers are left: {}", all());
    trial.serve(&[]);
    let kept = told(&trial, "kept");
    assert_eq!((&kept["state"], &kept["cause"]), (&"ended".into(), &"boundary_crashed".into()), "{kept}");
    trial.say(&["exec", "kept", "--", "true"]).assert_code(125);
    assert_eq!(trial.say(&["run", "--backend", backend, "--", "echo", "served"]).stdout_text(), "served\n");
    trial.say(&["shutdown"]).assert_success();
    assert!(comes_true(DEADLINE, || all().is_empty()), "containers are left: {}", all());
}

#[test]
fn containers_of_docker_end_with_a_daemon_that_is_killed() {
    let Some(engine) = TestEngine::docker() else { return };
    containers_end_with_a_daemon_that_is_killed(&engine, "docker");
}

#[test]
fn containers_of_podman_end_with_a_daemon_that_is_killed() {
    let Some(engine) = TestEngine::podman() else { return };
    containers_end_with_a_daemon_that_is_killed(&engine, "podman");
}

#[test]
fn an_engine_that_dies_costs_what_was_warm_and_is_used_again_once_it_is_back() {
    let Some(mut engine) = TestEngine::docker() else { return };
    let Some(trial) = beside(&engine) else { return };
    trial.say(&["pool", "set", "2..2", "--backend", "docker"]).assert_success();
    warms_up(&trial, "docker", 2);
    engine.kill();
    let pool = || pool_of(&trial, "docker");
    let is_told = || {
        let pool = pool();
        pool["warm"] == 0 && pool["total"]["discarded"] == 2 && pool["total"]["boot_failures"] != 0
    };
    assert!(comes_true(DEADLINE, is_told), "{}", pool());
    assert!(pool()["total"]["last_error"].is_string(), "{}", pool());
    let words = ["run", "--backend", "docker", "--", "echo", "served"];
    let refused = trial.say(&words).assert_code(125);
    assert!(refused.stderr_text().contains("nobody listens on "), "{}", refused.stderr_text());
    let engine = engine.restarted();
    assert_eq!(trial.say(&words).assert_success().stdout_text(), "served\n");
    warms_up(&trial, "docker", 2);
    assert_eq!(run_warm(&trial, "docker", "echo warm"), "warm\n");
    warms_up(&trial, "docker", 2);
    let all = || engine.client(&["ps", "--all", "--quiet"]);
    assert!(comes_true(DEADLINE, || all().lines().count() == 2), "more than what is warm: {}", all());
    trial.say(&["shutdown"]).assert_success();
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "", "containers are left");
}
