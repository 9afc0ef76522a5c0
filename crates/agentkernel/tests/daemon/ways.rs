//! Which way a run takes, and what is left when somebody goes away in its midst.

use std::time::Duration;

use agentkernel_testkit::Finished;
use serde_json::Value;

use crate::support::{DEADLINE, Trial, comes_true};

fn json(trial: &Trial, flags: &[&str]) -> Value {
    let said = trial.say(&[&["run", "--format", "json"], flags, &["--", "true"]].concat()).assert_success();
    serde_json::from_slice(&said.stdout).expect("JSON")
}

#[test]
fn a_run_says_which_way_it_took_and_whether_its_sandbox_was_warm() {
    let Some(trial) = Trial::booting() else { return };
    let warm = comes_true(DEADLINE, || json(&trial, &[])["origin"] == "warm");
    assert!(warm, "the pool does not get warm");
    let named = comes_true(DEADLINE, || json(&trial, &["--name", &trial.name])["origin"] == "warm");
    assert!(named, "a name is given to a warm one, too");
    let alone = json(&trial, &["--no-daemon"]);
    assert_eq!((&alone["way"], &alone["origin"]), (&Value::from("in-process"), &Value::from("cold")));
    // What the pool does not keep is booted for the run.
    for flags in [["--pids", "77"], ["--hostname", "web"]] {
        let cold = json(&trial, &flags);
        assert_eq!(
            (&cold["way"], &cold["origin"]),
            (&Value::from("daemon"), &Value::from("cold")),
            "{flags:?}"
        );
        assert_eq!(cold["backend"], "oci");
    }
}

#[test]
fn a_client_that_is_killed_takes_its_run_along() {
    let Some(trial) = Trial::booting() else { return };
    for script in ["echo ready; sleep 1000", "trap '' HUP TERM INT; echo ready; while :; do echo x; done"] {
        let running = trial.start(&[], script);
        running.signal(rustix::process::Signal::KILL);
        running.finish();
        trial.assert_nothing_left();
    }
}

#[test]
fn runs_at_once_do_not_wait_for_each_other() {
    let Some(trial) = Trial::booting() else { return };
    let began = std::time::Instant::now();
    let words = ["run", "--", "sh", "-c", "echo $0; sleep 2"];
    let children: Vec<_> = (0..4).map(|_| trial.command(&words).spawn().expect("start")).collect();
    for child in children {
        let said = Finished::wait("run".into(), child, DEADLINE).assert_success();
        assert_eq!(said.stdout_text(), "sh\n");
    }
    assert!(began.elapsed() < Duration::from_secs(7), "{:?}", began.elapsed());
    trial.assert_nothing_left();
}

#[test]
fn ctrl_c_overtakes_a_stdin_that_nobody_reads() {
    let Some(trial) = Trial::booting() else { return };
    let zeros = std::fs::File::open("/dev/zero").expect("/dev/zero");
    let mut command = trial.sh_command(&["-i"], "trap 'exit 9' INT; echo ready; while :; do sleep 0.1; done");
    let mut child = command.stdin(zeros).spawn().expect("start");
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut line).expect("ready");
    comes_true(Duration::from_millis(300), || false);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it lives");
    Finished::wait("run".into(), child, DEADLINE).assert_code(9);
    trial.assert_nothing_left();
}

#[test]
fn a_variable_whose_name_is_no_text_is_run_in_process() {
    use std::os::unix::ffi::OsStrExt as _;
    let Some(trial) = Trial::booting() else { return };
    let mut command = trial.command(&["run", "--timing", "-e"]);
    command.arg(std::ffi::OsStr::from_bytes(b"\xff=1")).args(["--", "true"]);
    let said = Finished::of(&mut command).assert_success();
    assert!(said.stderr_text().contains("way: in-process"), "{}", said.stderr_text());
}
