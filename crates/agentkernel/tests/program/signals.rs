//! Signals end the run, and leave nothing.

use std::time::{Duration, Instant};

use agentkernel_testkit::Finished;
use rustix::process::Signal;

use crate::support::{DEADLINE, Trial, code};

const IGNORES_ALL: &str = "trap '' INT TERM HUP QUIT; echo ready; while :; do sleep 0.2; done";

#[test]
fn a_signal_reaches_the_command_and_its_end_is_ours() {
    let Some(trial) = Trial::booting() else { return };
    for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT] {
        let running = trial.start(&[], "echo ready; exec sleep 60");
        running.signal(signal);
        let said = running.finish();
        assert_eq!((code(&said), said.stderr_text().as_str()), (128 + signal.as_raw(), ""), "{signal:?}");
    }
    trial.assert_nothing_left();
}

#[test]
fn a_command_may_clean_up_before_it_ends() {
    let Some(trial) = Trial::booting() else { return };
    let script = "trap 'echo cleaned; exit 9' TERM; echo ready; sleep 60 & wait";
    let running = trial.start(&[], script);
    running.signal(Signal::TERM);
    let said = running.finish().assert_code(9);
    assert_eq!(said.stdout_text(), "cleaned\n");
}

#[test]
fn a_command_that_does_not_end_is_killed_after_two_seconds() {
    let Some(trial) = Trial::booting() else { return };
    let running = trial.start(&[], IGNORES_ALL);
    let began = Instant::now();
    running.signal(Signal::TERM);
    running.finish().assert_code(143);
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(2) && took < Duration::from_secs(20), "{took:?}");
    trial.assert_nothing_left();
}

#[test]
fn the_second_signal_kills_at_once() {
    let Some(trial) = Trial::booting() else { return };
    let running = trial.start(&[], IGNORES_ALL);
    let began = Instant::now();
    running.signal(Signal::INT);
    // Two at once would be one for the kernel.
    crate::support::comes_true(Duration::from_millis(200), || false);
    running.signal(Signal::INT);
    running.finish().assert_code(130);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn a_signal_at_any_moment_ends_the_run_and_leaves_nothing() {
    let Some(trial) = Trial::booting() else { return };
    for delay_ms in (0..60).step_by(6) {
        let child = trial.sh_command(&[], "exec sleep 60").spawn().expect("start");
        crate::support::comes_true(Duration::from_millis(delay_ms), || false);
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, Signal::TERM).expect("it lives");
        let said = Finished::wait(format!("run, ended after {delay_ms} ms"), child, DEADLINE);
        assert_eq!(code(&said), 143, "after {delay_ms} ms: {}", said.stderr_text());
        trial.assert_nothing_left();
    }
}

#[test]
fn sigkill_at_any_moment_leaves_nothing() {
    let Some(trial) = Trial::booting() else { return };
    for delay_ms in (0..60).step_by(6) {
        let mut child = trial.sh_command(&[], "exec sleep 60").spawn().expect("start");
        crate::support::comes_true(Duration::from_millis(delay_ms), || false);
        child.kill().expect("kill");
        child.wait().expect("wait");
        trial.assert_nothing_left();
    }
}

/// What was begun and not yet ordered is known to nobody but the program that was killed.
#[test]
fn sigkill_leaves_no_record_that_no_supervisor_knows_of() {
    let Some(trial) = Trial::booting() else { return };
    if crate::BY_DAEMON {
        return; // the program that is killed there has no records
    }
    let running = trial.start(&[], "echo ready; exec sleep 60");
    let begun = trial.environment.agentkernel_home().join("run/sandboxes/begun.json");
    std::fs::write(&begun, "{}").expect("write");
    running.signal(Signal::KILL);
    drop(running.finish());
    let gone = crate::support::comes_true(Duration::from_secs(10), || !begun.exists());
    assert!(gone, "{} is still there", begun.display());
    trial.assert_nothing_left();
}

#[test]
fn a_signal_that_the_caller_ignores_stays_ignored() {
    let Some(trial) = Trial::booting() else { return };
    let program = crate::support::PROGRAM;
    let script = format!(
        "trap '' HUP; exec {program} run --name {} -- sh -c 'echo ready; sleep 1; exit 5'",
        trial.name
    );
    let mut child = trial.environment.command("/bin/sh").args(["-c", &script]).spawn().expect("start");
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut line).expect("ready");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::HUP).expect("it lives");
    Finished::wait("run under nohup".into(), child, DEADLINE).assert_code(5);
}
