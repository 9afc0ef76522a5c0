//! Mounts are recognised by what is mounted, wherever that comes to lie.

use std::path::{Path, PathBuf};

use agentkernel_core::{Access, Backend as _, BindMount, Profile, SandboxName, SandboxSpec};
use agentkernel_testkit::random_u64;

use crate::support::{exec, fixture};

fn spec(mounts: &[(&Path, &str)]) -> SandboxSpec {
    let builder = SandboxSpec::builder(SandboxName::from_random(random_u64()), Profile::Restrictive);
    let mount = |(source, place): &(&Path, &str)| {
        BindMount::new(source, Path::new(place), Access::ReadWrite).expect("valid")
    };
    mounts
        .iter()
        .map(mount)
        .fold(builder, agentkernel_core::SandboxSpecBuilder::mount)
        .build()
        .expect("valid")
}

#[tokio::test]
async fn a_mount_may_have_any_name_and_lie_behind_a_link_of_the_image() {
    let Some(fixture) = fixture().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let odd: PathBuf = folder.path().join("a b\t\\c#");
    std::fs::create_dir(&odd).expect("made");
    // In the host image /var/tmp is a link to /tmp. Whoever mounts over /tmp itself wants just that.
    let mounts = [
        (folder.path(), "/var/tmp/there"),
        (&*odd, "/mnt/a b\t\\c#"),
        (&*odd, "/workspace"),
        (&*odd, "/mnt/twice"),
    ];
    let sandbox = fixture.backend.boot(&spec(&mounts)).await.expect("boots").sandbox;
    let posture = sandbox.posture().await.expect("readable");
    assert!(posture.holds(), "{:#?}", posture.broken().collect::<Vec<_>>());
    sandbox.stop().await.expect("stops");
}

#[tokio::test]
async fn a_sandbox_may_move_what_is_in_its_own_folders() {
    let Some(fixture) = fixture().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let mounts = [(folder.path(), "/workspace/a/b")];
    let sandbox = fixture.backend.boot(&spec(&mounts)).await.expect("boots").sandbox;
    let moved = exec(&*sandbox, &["sh", "-c", "mv /workspace/a /workspace/c && ls -d /workspace/c/b"]).await;
    assert_eq!(moved.text(), "/workspace/c/b");
    let posture = sandbox.posture().await.expect("readable");
    assert!(posture.holds(), "{:#?}", posture.broken().collect::<Vec<_>>());
    sandbox.stop().await.expect("stops");
}
