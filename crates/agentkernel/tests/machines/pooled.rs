//! Machines that a daemon keeps warm: each goes to one lease, and nothing of one is in another.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::rig::{
    MACHINE, helpers, is_helper, machine, pool, post, root, serve, trial, warms_up, were_all_warm,
};
use crate::support::{DEADLINE, Trial, comes_true, work_file};

/// What is said where nobody was before, and by whoever looks once more.
const NEW: &str = "new new new\n";
const OLD: &str = "old old old\n";

/// What the program said as JSON of a sandbox that was warm and the daemon's.
#[track_caller]
fn warm(trial: &Trial, words: &[&str], code: i32) -> Value {
    let said = trial.say(words).assert_code(code);
    let json: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!((&json["way"], &json["origin"]), (&"daemon".into(), &"warm".into()), "{json}");
    json
}

/// Ends the daemon, and looks that its machines have ended with it.
fn end(mut trial: Trial) {
    let helpers = helpers(&trial);
    assert!(!helpers.is_empty(), "the warm ones have theirs");
    trial.say(&["shutdown"]).assert_success();
    assert!(trial.daemon().has_ended());
    let are_gone = comes_true(DEADLINE, || !helpers.iter().any(|pid| is_helper(pid)));
    assert!(are_gone, "helpers live on: {helpers:?}");
}

#[test]
fn no_state_passes_between_two_leases_of_linux_machines() {
    let Some(mut trial) = trial() else { return };
    let root = root();
    let kind = ["--rootfs", root.to_str().expect("text")];
    serve(&mut trial, 2, &kind);
    let (mut names, mut pids) = (BTreeSet::new(), BTreeSet::new());
    for _ in 0..2 {
        pids.extend(helpers(&trial));
        let words = [&["run", "--format", "json"], &MACHINE[..], &kind, &["--", "left", "look", "look", "9"]];
        let said = warm(&trial, &words.concat(), 9);
        assert_eq!(said["stdout"], format!("{NEW}{OLD}"), "what one has left, only it finds: {said}");
        assert_eq!(said["backend"], "hyperlight");
        assert!(names.insert(said["name"].to_string()), "{said} was there before");
        warms_up(&trial, 2);
    }
    let used_up = || pids.iter().filter(|pid| !is_helper(pid)).count() == 2;
    assert!(comes_true(DEADLINE, used_up), "each is used once: {:?} of {pids:?}", helpers(&trial));
    let request = json!({
        "sandbox": machine("rootfs", &root), "command": {"argv": ["left", "complain", "look", "5"]}
    });
    let said = post(&trial, "/v1/runs", &request);
    assert_eq!((&said["exit_code"], &said["origin"]), (&5.into(), &"warm".into()), "{said}");
    assert_eq!((&said["stdout"], &said["stderr"]), (&NEW.into(), &"mine\n".into()));
    warms_up(&trial, 2);
    were_all_warm(&trial, 3, 2);
    end(trial);
}

/// Nor within one that lives on: each command has a machine in which nothing has run.
#[test]
fn no_state_passes_between_two_commands_of_a_machine_that_lives_on() {
    let Some(mut trial) = trial() else { return };
    let root = root();
    let kind = ["--rootfs", root.to_str().expect("text")];
    serve(&mut trial, 1, &kind);
    trial.say(&[&["create", "--name", "kept"], &MACHINE[..], &kind].concat()).assert_success();
    let exec = |words: &[&str]| trial.say(&[&["exec", "kept", "--", "left"], words].concat());
    for _ in 0..2 {
        for _ in 0..2 {
            let said = exec(&["look", "look"]).assert_success();
            assert_eq!(said.stdout_text(), format!("{NEW}{OLD}"), "{said:?}");
        }
        exec(&["look", "crash"]).assert_code(128 + 11);
    }
    warms_up(&trial, 1);
    were_all_warm(&trial, 1, 1);
    trial.say(&["rm", "-f", "kept"]).assert_success();
    end(trial);
}

#[test]
fn no_state_passes_between_two_leases_of_machines_with_a_module() {
    let Some(mut trial) = trial() else { return };
    serve(&mut trial, 2, &["--module", "left.wasm"]);
    let call = |function: &str| {
        let words = [&["call", "--format", "json"], &MACHINE[..], &["left.wasm", function]].concat();
        warm(&trial, &words, 0)["values"].clone()
    };
    for round in 0..2 {
        assert_eq!(call("count_twice()"), json!([6]), "what one has counted, it finds");
        warms_up(&trial, 2);
        assert_eq!(call("count()"), json!([3]), "{round}: another has counted in it");
        warms_up(&trial, 2);
    }
    let words = [&["run", "--format", "json"], &MACHINE[..], &["left.wasm"]].concat();
    assert_eq!(warm(&trial, &words, 7)["stdout"], "3\n");
    warms_up(&trial, 2);
    let module = machine("module", &work_file(&trial, "left.wasm"));
    let request = json!({"sandbox": module, "command": {"argv": ["left"]}});
    let said = post(&trial, "/v1/runs", &request);
    assert_eq!((&said["exit_code"], &said["stdout"]), (&7.into(), &"3\n".into()), "{said}");
    assert_eq!((&said["stderr"], &said["origin"]), (&"mine\n".into(), &"warm".into()));
    warms_up(&trial, 2);
    let request = json!({"sandbox": module, "call": {"function": "count", "arguments": []}});
    let said = post(&trial, "/v1/calls", &request);
    assert_eq!((&said["values"], &said["origin"]), (&json!([3]), &"warm".into()), "{said}");
    warms_up(&trial, 2);
    were_all_warm(&trial, 7, 2);
    end(trial);
}

/// `--pool`, and a backend that the user's settings name: nobody has to say it on each line.
#[test]
fn a_daemon_keeps_warm_what_a_run_without_flags_takes() {
    let Some(mut trial) = trial() else { return };
    let settings = trial.environment.agentkernel_home().join("agentkernel.toml");
    std::fs::write(settings, "[run]\nbackend = \"hyperlight\"\nmemory = \"128M\"\n").expect("written");
    trial.serve(&["--pool", "1..1"]);
    warms_up(&trial, 1);
    let said = warm(&trial, &["run", "--format", "json", "--", "/bin/echo", "hello"], 0);
    assert_eq!((&said["stdout"], &said["cause"]), (&"hello\n".into(), &"exited".into()), "{said}");
    warms_up(&trial, 1);
    assert_eq!(pool(&trial)["total"]["hits"], 1);
    trial.say(&["pool", "set", "0..0"]).assert_success();
    trial.say(&["pool", "drain"]).assert_success();
    assert_eq!(pool(&trial)["warm"], 0);
    assert!(comes_true(DEADLINE, || helpers(&trial).is_empty()), "{:?}", helpers(&trial));
}
