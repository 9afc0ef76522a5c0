//! The suite that every backend must pass, a test for each group.

use std::time::Duration;

use agentkernel_core::{Backend, ExitStatus};
use agentkernel_testkit::conformance::{self, Shared, SuiteOptions};
use agentkernel_testkit::leaks::{Marks, Snapshot, describe};

use crate::fixture::{Fixture, fixture};
use crate::said;

/// Rules of these groups, each with machines of its own.
async fn keeps(groups: &[&str]) {
    let Some(fixture) = fixture().await else { return };
    judge(&fixture, &fixture.backend, groups).await;
}

/// Rules of these groups, which are of what happens inside: with machines that were used before.
async fn keeps_inside(groups: &[&str]) {
    let Some(fixture) = fixture().await else { return };
    judge(&fixture, &Shared::new(&fixture.backend), groups).await;
}

async fn judge(fixture: &Fixture, backend: &dyn Backend, groups: &[&str]) {
    let mut options = SuiteOptions::for_backend(backend);
    options.image = fixture.image.clone();
    options.emulate = true;
    options.deadline = Duration::from_secs(300);
    options.only = groups.iter().map(|group| (*group).to_owned()).collect();
    let report = conformance::run(backend, &options).await;
    println!("{report}");
    report.assert_all_held();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    keeps(&["limits."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_holds() {
    keeps_inside(&["isolation."]).await;
}

/// All but the twenty cycles, of which there are a hundred below: an emulated boot takes seconds. Nor are ten booted at once, for on
/// two busy processors one of ten emulated kernels was seen never to come up; two live at once in `names`.
#[tokio::test(flavor = "multi_thread")]
async fn lives_hold() {
    let begin = ["probe", "boot", "ping", "stop", "drop", "a_failed"].map(|rule| format!("lifecycle.{rule}"));
    let rules = begin.iter().map(String::as_str).chain([
        "life.",
        "snapshots.",
        "names.",
        "time.a_lifetime",
        "time.no_command",
    ]);
    keeps(&rules.collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_machines_one_after_the_other_leave_nothing() {
    let Some(fixture) = fixture().await else { return };
    let specs: Vec<_> = (0..101).map(|_| fixture.spec().build().expect("sound")).collect();
    let marks = specs.iter().fold(Marks::of_this_process(), |marks, spec| marks.word(spec.name().as_str()));
    let mut before = None;
    for spec in &specs {
        let sandbox = fixture.backend.boot(spec).await.expect("booted").sandbox;
        assert_eq!(said(&*sandbox, &["true"]).await.exited.status, ExitStatus::Code(0));
        sandbox.stop().await.expect("stopped");
        // The first one may open what stays open for all that follow.
        before.get_or_insert_with(|| Snapshot::take(&marks));
    }
    let leaks = before.expect("taken").settled(Duration::from_secs(10)).await;
    assert!(leaks.is_empty(), "left on the host:{}", describe(&leaks));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_hold() {
    keeps_inside(&["exec.", "signals.", "streams.", "terminal.", "time.a_timeout"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_hold() {
    keeps_inside(&["files.", "folders.", "archives."]).await;
}
