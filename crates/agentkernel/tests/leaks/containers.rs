//! Programs that hold containers of an engine, killed at any moment.

use std::time::{Duration, Instant};

use agentkernel_testkit::TestEngine;

use crate::{Runs, SETTLE, TURN, assert_nothing_left};

/// An engine and the backend that drives it.
type Driven<'a> = (&'a TestEngine, &'static str);

impl Runs {
    /// On this engine.
    fn start_in(
        &self,
        (engine, backend): Driven<'_>,
        number: usize,
        command: &[&str],
    ) -> std::process::Child {
        let name = format!("{}-{backend}-{number}", self.word);
        let mut program = self.environment.command(crate::support::PROGRAM);
        program.env("DOCKER_HOST", engine.address()).env("CONTAINER_HOST", engine.address());
        program.args(["run", "--backend", backend, "--name", &name, "--"]).args(command);
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

/// Kills programs from before the engine is asked until after the sandbox is up.
async fn killed_at_any_moment(driven: Driven<'_>, step_ms: u64) {
    let runs = Runs::new();
    // The first makes the base image, which stays.
    assert!(runs.start_in(driven, 0, &["true"]).wait().expect("reaped").success());
    let before = runs.snapshot();
    for number in 1..40 {
        let mut child = runs.start_in(driven, number, &["sleep", "1000"]);
        tokio::time::sleep(Duration::from_millis(u64::try_from(number).expect("small") * step_ms)).await;
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }
    // Those that ran end with their stdin, those that did not are removed by the next.
    assert!(runs.start_in(driven, 99, &["true"]).wait().expect("reaped").success());
    assert_no_container(driven.0).await;
    assert_nothing_left(&before);
}

/// No next run cleans up here.
async fn ends_by_itself(driven: Driven<'_>) {
    let runs = Runs::new();
    assert!(runs.start_in(driven, 0, &["true"]).wait().expect("reaped").success());
    let before = runs.snapshot();
    let mut child = runs.start_in(driven, 1, &["sh", "-c", "echo up; sleep 1000 & sleep 1000"]);
    crate::wait_for_output(&mut child);
    child.kill().expect("killed");
    child.wait().expect("reaped");
    drop(child);
    assert_no_container(driven.0).await;
    assert_nothing_left(&before);
}

#[tokio::test]
async fn the_container_of_a_killed_program_ends_by_itself_in_docker() {
    let _turn = TURN.lock().await;
    let Some(engine) = TestEngine::docker() else { return };
    ends_by_itself((&engine, "docker")).await;
}

#[tokio::test]
async fn the_container_of_a_killed_program_ends_by_itself_in_podman() {
    let _turn = TURN.lock().await;
    let Some(engine) = TestEngine::podman() else { return };
    ends_by_itself((&engine, "podman")).await;
}

async fn twenty_at_once(driven: Driven<'_>) {
    let runs = Runs::new();
    assert!(runs.start_in(driven, 100, &["true"]).wait().expect("reaped").success());
    let before = runs.snapshot();
    let children: Vec<_> = (0..20).map(|number| runs.start_in(driven, number, &["echo", "here"])).collect();
    for child in children {
        let output = child.wait_with_output().expect("reaped");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((&*output.stdout, output.status.code()), (&b"here\n"[..], Some(0)), "{errors}");
    }
    assert_no_container(driven.0).await;
    assert_nothing_left(&before);
}

#[tokio::test]
async fn a_program_that_is_killed_at_any_moment_leaves_no_container_of_docker() {
    let _turn = TURN.lock().await;
    let Some(engine) = TestEngine::docker() else { return };
    killed_at_any_moment((&engine, "docker"), 6).await;
}

#[tokio::test]
async fn twenty_at_once_all_work_and_leave_no_container_of_docker() {
    let _turn = TURN.lock().await;
    let Some(engine) = TestEngine::docker() else { return };
    twenty_at_once((&engine, "docker")).await;
}

#[tokio::test]
async fn a_program_that_is_killed_at_any_moment_leaves_no_container_of_podman() {
    let _turn = TURN.lock().await;
    let Some(engine) = TestEngine::podman() else { return };
    killed_at_any_moment((&engine, "podman"), 6).await;
}

#[tokio::test]
async fn twenty_at_once_all_work_and_leave_no_container_of_podman() {
    let _turn = TURN.lock().await;
    let Some(engine) = TestEngine::podman() else { return };
    twenty_at_once((&engine, "podman")).await;
}
