//! Programs that hold containers of Docker, killed at any moment.

use std::time::{Duration, Instant};

use agentkernel_testkit::TestEngine;

use crate::{Runs, SETTLE, TURN, assert_nothing_left};

impl Runs {
    /// With this engine.
    fn start_in(&self, engine: &TestEngine, number: usize, command: &[&str]) -> std::process::Child {
        let name = format!("{}-docker-{number}", self.word);
        let mut program = self.environment.command(crate::support::PROGRAM);
        program.env("DOCKER_HOST", engine.address());
        program.args(["run", "--backend", "docker", "--name", &name, "--"]).args(command);
        program.spawn().expect("starts")
    }
}

/// Waits until the engine's own client sees no container.
async fn assert_no_container(engine: &TestEngine) {
    let deadline = Instant::now() + SETTLE;
    loop {
        let left = engine.client(&["ps", "--all", "--format", "{{.Names}} {{.Status}}"]);
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "left: {left}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_program_that_is_killed_at_any_moment_leaves_no_container() {
    let _turn = TURN.lock().await;
    let Some(engine) = TestEngine::docker() else { return };
    let runs = Runs::new();
    // The first makes the base image, which stays.
    assert!(runs.start_in(&engine, 0, &["true"]).wait().expect("reaped").success());
    let before = runs.snapshot();
    for number in 1..40 {
        let mut child = runs.start_in(&engine, number, &["sleep", "1000"]);
        // From before the engine is asked until after the sandbox is up.
        tokio::time::sleep(Duration::from_millis(u64::try_from(number).expect("small") * 6)).await;
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
    // Those that ran end with their stdin, those that did not are removed by the next.
    assert!(runs.start_in(&engine, 99, &["true"]).wait().expect("reaped").success());
    assert_no_container(&engine).await;
    assert_nothing_left(&before);
}

#[tokio::test]
async fn twenty_at_once_all_work_and_leave_no_container() {
    let _turn = TURN.lock().await;
    let Some(engine) = TestEngine::docker() else { return };
    let runs = Runs::new();
    assert!(runs.start_in(&engine, 100, &["true"]).wait().expect("reaped").success());
    let before = runs.snapshot();
    let children: Vec<_> = (0..20).map(|number| runs.start_in(&engine, number, &["echo", "here"])).collect();
    for child in children {
        let output = child.wait_with_output().expect("reaped");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((&*output.stdout, output.status.code()), (&b"here\n"[..], Some(0)), "{errors}");
    }
    assert_no_container(&engine).await;
    assert_nothing_left(&before);
}
