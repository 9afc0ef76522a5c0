//! Runtimes of the host, of which any part is killed at any moment.

use std::process::Child;
use std::time::Duration;

use agentkernel_oci::engine::Engine;
use agentkernel_testkit::leaks::Snapshot;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::fixture_with;
use crate::{Runs, TURN, descendants, wait_for_output};

/// What a sandbox of each has while it lives, besides its program; and what makes it and goes.
fn parts(engine: Engine) -> (&'static [&'static str], &'static [&'static str]) {
    match engine {
        Engine::Runc => (&["ak-supervisor"], &["runc"]),
        Engine::Crun => (&["ak-supervisor"], &["crun"]),
        Engine::Gvisor => (&["runsc-sandbox", "runsc-gofer", "runsc", "ak-supervisor"], &[]),
    }
}

fn kill_part(child: &Child, part: &str) -> bool {
    let ours = descendants(child.id());
    let victim = ours.iter().find(|(_, name)| name == part).and_then(|(pid, _)| Pid::from_raw(*pid));
    // It may have ended a moment ago.
    victim.is_some_and(|victim| kill_process(victim, Signal::KILL).is_ok())
}

/// Runs by this runtime, and what there is before the first of them; what is remembered of the runtime stays.
async fn runs_by(engine: Engine) -> Option<(&'static str, Runs, Snapshot)> {
    fixture_with(engine).await?;
    let (backend, runs) = (engine.kind().as_str(), Runs::new());
    assert!(runs.start_on(backend, 99, &["true"]).wait().expect("reaped").success());
    let before = runs.snapshot();
    Some((backend, runs, before))
}

#[tokio::test]
async fn whatever_is_killed_of_a_runtime_and_whenever_the_next_run_cleans_up() {
    let _turn = TURN.lock().await;
    for (engine, step_ms) in [(Engine::Runc, 3), (Engine::Crun, 2), (Engine::Gvisor, 15)] {
        let Some((backend, runs, before)) = runs_by(engine).await else { continue };
        let (lasting, passing) = parts(engine);
        let parts = [lasting, passing].concat();
        for number in 0..24 {
            let mut child = runs.start_on(backend, number, &["sleep", "1000"]);
            // From before there is a supervisor until after the sandbox is up.
            tokio::time::sleep(Duration::from_millis(u64::try_from(number).expect("small") * step_ms)).await;
            kill_part(&child, parts[number % parts.len()]);
            child.kill().expect("killed");
            child.wait().expect("reaped");
        }
        runs.clean_up(backend, 100..130, &before);
    }
}

#[tokio::test]
async fn a_part_of_a_runtime_that_is_killed_under_a_command_is_told_and_leaves_nothing() {
    let _turn = TURN.lock().await;
    for engine in [Engine::Runc, Engine::Crun, Engine::Gvisor] {
        let Some((backend, runs, before)) = runs_by(engine).await else { continue };
        for (number, part) in parts(engine).0.iter().enumerate() {
            let mut child = runs.start_on(backend, number, &["sh", "-c", "echo up; sleep 1000"]);
            wait_for_output(&mut child);
            assert!(kill_part(&child, part), "{backend} has no {part}: {:?}", descendants(child.id()));
            let output = child.wait_with_output().expect("it ends by itself");
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(125), "{backend}, {part}: {told}");
            assert!(told.contains("agentkernel: run the command: "), "{backend}, {part}: {told}");
        }
        runs.clean_up(backend, 100..130, &before);
    }
}
