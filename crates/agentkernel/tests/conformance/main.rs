//! The suite that every backend must pass, on the embedded boundary. Alone in its program: it counts the
//! descriptors of its own process.

#[path = "../boundary/support.rs"]
#[expect(dead_code, reason = "the other tests of the boundary use the rest")]
mod support;

use agentkernel_testkit::conformance::{self, SuiteOptions};

use support::fixture;

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_boundary_keeps_the_contract() {
    let Some(fixture) = fixture().await else { return };
    let report = conformance::run(&fixture.backend, &SuiteOptions::for_backend(&fixture.backend)).await;
    println!("{report}");
    report.assert_all_held();
}
