//! The suite that every backend must pass, a test for each group: each rule boots a machine of its own.

use std::time::Duration;

use agentkernel_testkit::conformance::{self, SuiteOptions};

use crate::fixture::fixture;

/// Names are not compared with those of other machines yet.
const NAMES_OPEN: &[&str] = &["names.are_taken_once"];

/// A machine shows its own kernel's threads, some fifty, and no process of the host's.
const OF_A_KERNEL: &[&str] = &["isolation.only_its_own_processes"];

async fn keeps(groups: &[&str], but: &[&str]) {
    let Some(fixture) = fixture().await else { return };
    let mut options = SuiteOptions::for_backend(&fixture.backend);
    options.image = fixture.image.clone();
    options.deadline = Duration::from_secs(300);
    options.only = groups.iter().map(|group| format!("{group}.")).collect();
    let report = conformance::run(&fixture.backend, &options).await;
    println!("{report}");
    report.assert_held_but(but);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    keeps(&["limits"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_holds() {
    keeps(&["isolation"], OF_A_KERNEL).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_hold() {
    keeps(&["lifecycle", "life", "names", "time"], NAMES_OPEN).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_hold() {
    keeps(&["exec", "signals", "streams", "terminal"], &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_hold() {
    keeps(&["files", "folders", "archives"], &[]).await;
}
