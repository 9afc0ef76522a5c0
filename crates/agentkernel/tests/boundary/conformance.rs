//! The suite that every backend must pass, on the embedded boundary.

use agentkernel_testkit::conformance::{self, SuiteOptions};

use crate::support::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_boundary_keeps_the_contract() {
    let Some(fixture) = fixture().await else { return };
    let report = conformance::run(&fixture.backend, &SuiteOptions::for_backend(&fixture.backend)).await;
    println!("{report}");
    report.assert_all_held();
}
