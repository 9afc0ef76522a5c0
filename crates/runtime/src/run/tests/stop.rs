//! A sandbox that cannot be taken down: that is told, whatever the command did.

use agentkernel_testkit::{Fault, FaultyBackend};

use super::*;

fn trial(script: &str) -> Trial {
    let backend = FaultyBackend::new(Arc::new(FakeBackend::new()), Fault::StopFails);
    Trial { registry: Registry::of(vec![Arc::new(backend)]), ..Trial::new(script) }
}

#[tokio::test]
async fn a_stop_that_fails_is_an_error_though_the_command_succeeded() {
    let mut kept = Kept::default();
    let error = trial("echo out").run(&mut kept).await.expect_err("something may be left");
    assert_eq!(error.kind, ErrorKind::Cleanup);
    assert_eq!(error.to_string(), "stop the sandbox: failed on purpose");
    assert_eq!(kept.stdout, b"out\n", "what the command said has arrived");
}

#[tokio::test]
async fn a_stop_that_fails_after_a_failure_is_told_beside_it() {
    let mut trial = trial("");
    trial.request.command = Command::new(["/no/such/program"]);
    let error = trial.run(&mut Kept::default()).await.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::CommandNotFound, "what the user asked about leads");
    assert!(error.why.ends_with("; then stop the sandbox: failed on purpose"), "{error}");
}
