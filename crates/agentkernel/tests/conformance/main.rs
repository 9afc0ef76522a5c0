//! The suite that every backend must pass, on each boundary that containers can have. Alone in its program: it counts the
//! descriptors of its own process.

#[path = "../boundary/support.rs"]
#[expect(dead_code, reason = "the other tests of the boundary use the rest")]
mod support;

use agentkernel_oci::engine::Engine;
use agentkernel_testkit::conformance::{self, SuiteOptions};

use support::{Fixture, fixture, fixture_with};

async fn keeps_the_contract(fixture: Fixture) {
    let report = conformance::run(&fixture.backend, &SuiteOptions::for_backend(&fixture.backend)).await;
    println!("{report}");
    report.assert_all_held();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_boundary_keeps_the_contract() {
    let Some(fixture) = fixture().await else { return };
    keeps_the_contract(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runc_keeps_the_contract() {
    let Some(fixture) = fixture_with(Engine::Runc).await else { return };
    keeps_the_contract(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn crun_keeps_the_contract() {
    let Some(fixture) = fixture_with(Engine::Crun).await else { return };
    keeps_the_contract(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn gvisor_keeps_the_contract() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    keeps_the_contract(fixture).await;
}
