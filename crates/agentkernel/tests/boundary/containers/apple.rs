//! Apple's container, on a stand-in: its way from a description to a sandbox and back.

use agentkernel_core::Backend as _;

use super::apple_fixture::{AppleFixture, apple_fixture, apple_spec};
use crate::support::exec;

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_apples_is_used_as_it_is_and_nothing_is_left() {
    let Some(AppleFixture { backend, apple, home }) = apple_fixture().await else { return };
    let sandbox = backend.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
    let script = "echo $GREETING $PWD $(id -u); cat /etc/marker; echo; touch /x /etc/x 2>&1; echo mine >file && cat file";
    let said = exec(&*sandbox, &["sh", "-c", script]).await.text();
    assert!(said.starts_with("hello /workspace 65532\nof the image\n"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    assert!(said.ends_with("mine"), "{said}");
    let posture = sandbox.posture().await.expect("readable");
    assert!(posture.holds(), "{posture:?}");
    sandbox.stop().await.expect("stops");
    assert_eq!(apple.containers(), Vec::<String>::new());
    drop((backend, home));
}
