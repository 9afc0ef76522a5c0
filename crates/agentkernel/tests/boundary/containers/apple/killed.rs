//! Programs that hold containers, killed at any moment. The program is this very test, run once more: agentkernel itself
//! says of a Linux host that it has no such container.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use agentkernel_container::AppleBackend;
use agentkernel_core::Backend as _;
use agentkernel_testkit::TestApple;

use super::super::apple_fixture::{
    AppleFixture, apple_fixture, apple_settings, apple_settings_of, apple_spec,
};
use super::faults::until_empty;
use crate::support::exec;

/// Variables that tell the program what to drive, and where it is at home.
const DRIVEN: &str = "AK_TEST_APPLE";
const HOME: &str = "AK_TEST_HOME";

#[expect(clippy::disallowed_methods, reason = "what the test that started it says")]
fn said(name: &str) -> Option<std::path::PathBuf> {
    std::env::var_os(name).map(Into::into)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it is what the others kill"]
async fn holds_a_container() {
    let (Some(driven), Some(home)) = (said(DRIVEN), said(HOME)) else { return };
    let backend = AppleBackend::new(apple_settings_of(&driven, &home));
    let sandbox = backend.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
    let script = "(setsid sleep 1000 &); sleep 1000 & echo up";
    println!("{}", exec(&*sandbox, &["sh", "-c", script]).await.text());
    std::future::pending::<()>().await;
}

fn holder(apple: &TestApple, home: &Path) -> Child {
    #[expect(clippy::disallowed_methods, reason = "it is killed, and so cannot be this process")]
    let mut program = Command::new(std::env::current_exe().expect("this test"));
    let name = "containers::apple::killed::holds_a_container";
    program.args(["--exact", name, "--ignored", "--nocapture"]).stdout(Stdio::piped()).stderr(Stdio::null());
    program.env(DRIVEN, apple.search_path()).env(HOME, home).spawn().expect("it starts")
}

fn kill(mut child: Child) {
    child.kill().expect("killed");
    child.wait().expect("reaped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_container_of_a_killed_program_ends_by_itself() {
    let Some(AppleFixture { apple, home, .. }) = apple_fixture().await else { return };
    let mut child = holder(&apple, home.path());
    let stdout = child.stdout.take().expect("its output");
    assert!(BufReader::new(stdout).lines().any(|line| line.expect("text") == "up"), "it comes up");
    assert_eq!(apple.containers().len(), 1);
    kill(child);
    // No next start cleans up here.
    until_empty(&apple);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_killed_at_any_moment_leaves_nothing_that_the_next_start_does_not_remove() {
    let Some(AppleFixture { apple, home, backend }) = apple_fixture().await else { return };
    drop(backend);
    for number in 1..25 {
        let child = holder(&apple, home.path());
        tokio::time::sleep(Duration::from_millis(50 * number)).await;
        kill(child);
    }
    // What was being run when they were killed runs on to its end.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let next = AppleBackend::new(apple_settings(&apple, home.path()));
    let sandbox = next.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
    let own = format!("{}.agentkernel", sandbox.name());
    let is_settled = || apple.containers() == [&*own];
    for _ in 0..400 {
        if is_settled() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(is_settled(), "{:?}", apple.containers());
    sandbox.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_boot_that_is_given_up_at_any_moment_leaves_nothing() {
    let Some(AppleFixture { apple, backend, .. }) = apple_fixture().await else { return };
    for number in 1..16 {
        let time = Duration::from_millis(90 * number);
        let spec = apple_spec().build().expect("valid");
        drop(tokio::time::timeout(time, backend.boot(&spec)).await);
    }
    // What was being made just then is there soon, and goes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    until_empty(&apple);
}
