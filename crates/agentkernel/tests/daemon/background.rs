//! Commands that go on without a client.

use std::io::Read as _;
use std::time::Duration;

use agentkernel_testkit::Finished;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{DEADLINE, Trial, comes_true};

/// A trial with a sandbox, and the PID of a command in its background.
fn with_command(script: &str) -> Option<(Trial, String)> {
    let trial = Trial::booting()?;
    trial.say(&["create", "--name", &trial.name]).assert_success();
    let said = trial.say(&["exec", "-d", &trial.name, "--", "sh", "-c", script]).assert_success();
    let pid = said.stdout_text().trim().to_owned();
    assert!(pid.parse::<u32>().is_ok(), "{pid}");
    Some((trial, pid))
}

#[test]
fn attach_hears_all_of_it_and_has_its_exit_code() {
    let script = "echo before; while ! test -e go; do sleep 0.05; done; echo after; echo err >&2; exit 4";
    let Some((trial, pid)) = with_command(script) else { return };
    let mut child = trial.command(&["attach", &trial.name, &pid]).spawn().expect("start");
    let mut line = [0; 7];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("output");
    assert_eq!(&line, b"before\n");
    trial.say(&["exec", &trial.name, "--", "touch", "go"]).assert_success();
    let said = Finished::wait("attach".into(), child, DEADLINE).assert_code(4);
    assert_eq!((said.stdout_text(), said.stderr_text()), ("after\n".into(), "err\n".into()));
}

#[test]
fn whoever_leaves_leaves_it_running() {
    let Some((trial, pid)) = with_command("echo ready; sleep 1000") else { return };
    for signal in [Signal::INT, Signal::KILL] {
        let mut child = trial.command(&["attach", &trial.name, &pid]).spawn().expect("start");
        let mut line = [0; 6];
        child.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("output");
        kill_process(Pid::from_child(&child), signal).expect("it lives");
        let said = Finished::wait("attach".into(), child, DEADLINE);
        if signal == Signal::INT {
            let text = said.assert_code(130).stderr_text();
            assert!(text.contains("running"), "{text}");
        }
        trial.say(&["exec", &trial.name, "--", "kill", "-0", &pid]).assert_success();
    }
    let missing = trial.say(&["attach", &trial.name, "4242"]).assert_code(125);
    assert!(missing.stderr_text().contains("4242"), "{}", missing.stderr_text());
}

#[test]
fn logs_show_what_was_said_and_follow_it_to_the_sandboxs_end() {
    let Some((trial, _pid)) = with_command("echo one; while ! test -e go; do sleep 0.05; done; echo two")
    else {
        return;
    };
    assert!(
        comes_true(DEADLINE, || trial.say(&["logs", &trial.name]).assert_success().stdout_text() == "one\n")
    );
    let child = trial.command(&["logs", "-f", &trial.name]).spawn().expect("start");
    trial.say(&["exec", &trial.name, "--", "touch", "go"]).assert_success();
    assert!(comes_true(DEADLINE, || trial.say(&["logs", &trial.name]).stdout_text() == "one\ntwo\n"));
    comes_true(Duration::from_millis(200), || false);
    trial.say(&["stop", &trial.name]).assert_success();
    let said = Finished::wait("logs -f".into(), child, DEADLINE).assert_success();
    assert_eq!(said.stdout_text(), "one\ntwo\n");
}

#[test]
fn a_log_whose_reader_goes_away_ends_quietly() {
    let Some((trial, _pid)) = with_command("while echo more; do sleep 0.01; done") else { return };
    let mut child = trial.command(&["logs", "-f", &trial.name]).spawn().expect("start");
    child.stdout.as_mut().expect("a pipe").read_exact(&mut [0; 5]).expect("output");
    drop(child.stdout.take());
    let said = Finished::wait("logs -f".into(), child, DEADLINE).assert_code(141);
    assert_eq!(said.stderr_text(), "");
}
