//! The attack probe, and its way into a sandbox.

use std::path::{Path, PathBuf};

use agentkernel_core::Sandbox;
use bytes::Bytes;

/// Where it is in a sandbox.
pub const PLACE: &str = "/workspace/probe";

/// Variable with the path of a probe that was built before, for a host that cannot build one.
pub const BUILT: &str = "AGENTKERNEL_TEST_PROBE";

/// Builds the probe beside the other programs and returns its path.
#[expect(
    clippy::disallowed_methods,
    reason = "who starts this test in an emulated host says so by a variable"
)]
pub fn program() -> PathBuf {
    if let Some(built) = std::env::var_os(BUILT) {
        return built.into();
    }
    // Optimised if the test is: then it lies in the same folder.
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    // It builds the adversary, which is no program of ours.
    let status = std::process::Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--package", "agentkernel-attack-probe", "--profile", profile])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo runs");
    assert!(status.success(), "the attack probe does not build");
    Path::new(crate::support::PROGRAM).with_file_name("attack-probe")
}

/// Puts the probe into a sandbox.
pub async fn put_into(sandbox: &dyn Sandbox) {
    let content = std::fs::read(program()).expect("readable");
    let mut sink = sandbox.files().write(PLACE.as_bytes(), 0o755).await.expect("opens");
    sink.write(Bytes::from(content)).await.expect("takes it");
    sink.finish().await.expect("finishes");
}
