//! What Docker and Podman do alike when something is taken from under us.

use agentkernel_core::{Backend as _, BindMount, CauseOfDeath, Profile, SandboxSpec};

use super::faults::{all_containers, fresh_name, named};
use super::fixture::{Fixture, fixture, podman_fixture};
use crate::support::{exec, spec};

/// What Podman needs for a container here, and Docker takes as well.
const NEEDS: &[&str] = &["--network", "none", "--ulimit", "nproc=1024:1024"];

/// An engine that is restarted serves the next sandbox.
async fn is_served_after_a_restart(fixture: Fixture) {
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let engine = fixture.engine.restarted();
    assert_eq!(sandbox.ended().await.cause, CauseOfDeath::BoundaryCrashed);
    sandbox.stop().await.expect("the new engine knows that it is gone");
    let next = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    next.stop().await.expect("stops");
    assert_eq!(all_containers(&engine), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_that_is_restarted_under_us_serves_the_next_sandbox() {
    let Some(fixture) = fixture().await else { return };
    is_served_after_a_restart(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_podman_that_is_restarted_under_us_serves_the_next_sandbox() {
    let Some(fixture) = podman_fixture().await else { return };
    is_served_after_a_restart(fixture).await;
}

/// What a killed program left goes, and nothing else.
async fn is_cleaned_up_after_a_killed_owner(fixture: Fixture) {
    let engine = &fixture.engine;
    let live = spec();
    let sandbox = fixture.backend.boot(&live).await.expect("boots").sandbox;
    let mine = format!("agentkernel-{}", live.name());
    let read = |format: &str| engine.client(&["inspect", "--format", format, &mine]);
    let (image, owner) = (read("{{.Config.Image}}"), read("{{index .Config.Labels \"agentkernel.owner\"}}"));
    // The same process number, of a process that began at another time.
    let (before, ticks) = owner.rsplit_once(' ').expect("words");
    let dead = format!("{before} {}", ticks.parse::<u64>().expect("a number") - 1);
    let name = fresh_name();
    for (name, owner) in [
        ("agentkernel-left-over".to_owned(), &dead),
        (format!("agentkernel-{name}"), &dead),
        // Labels can come from an image, and so to somebody else's container.
        ("of-an-image-with-our-labels".to_owned(), &dead),
        ("agentkernel-held".to_owned(), &owner),
    ] {
        let labels = ["agentkernel.sandbox=x".to_owned(), format!("agentkernel.owner={owner}")];
        let _id = engine.client(
            &[
                &["create"][..],
                NEEDS,
                &["--name", &name, "--label", &labels[0], "--label", &labels[1], &image, "x"],
            ]
            .concat(),
        );
    }
    // Its very name, and the rest by the way: another program of ours begins.
    let next = fixture.another().boot(&named(&name)).await.expect("the name was made free").sandbox;
    let mut names = all_containers(engine);
    names.sort();
    let mut expected = [
        mine,
        format!("agentkernel-{name}"),
        "agentkernel-held".into(),
        "of-an-image-with-our-labels".into(),
    ];
    expected.sort();
    assert_eq!(names, expected);
    next.stop().await.expect("stops");
    sandbox.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_owner_left_on_docker_is_removed_and_what_a_live_one_has_is_not() {
    let Some(fixture) = fixture().await else { return };
    is_cleaned_up_after_a_killed_owner(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_owner_left_on_podman_is_removed_and_what_a_live_one_has_is_not() {
    let Some(fixture) = podman_fixture().await else { return };
    is_cleaned_up_after_a_killed_owner(fixture).await;
}

/// The image that sandboxes need is made again.
async fn gets_its_image_again(fixture: Fixture) {
    let image = fixture.engine.client(&["images", "--quiet", "localhost/agentkernel/base"]);
    let _said = fixture.engine.client(&["rmi", &image]);
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    sandbox.stop().await.expect("stops");
    // Another user has another one, and the one before goes.
    let other =
        SandboxSpec::builder(fresh_name(), Profile::Restrictive).user("1234".parse().expect("a user"));
    let sandbox = fixture.backend.boot(&other.build().expect("valid")).await.expect("boots").sandbox;
    assert_eq!(exec(&*sandbox, &["id", "-un"]).await.text(), "sandbox");
    sandbox.stop().await.expect("stops");
    let images = || fixture.engine.client(&["images", "--all", "--quiet"]);
    assert_eq!(images().lines().count(), 1);
    // Several boots at once give it one.
    let _said = fixture.engine.client(&["rmi", &images()]);
    let boot = async || {
        fixture.backend.boot(&spec()).await.expect("boots").sandbox.stop().await.expect("stops");
    };
    tokio::join!(boot(), boot(), boot(), boot());
    assert_eq!(images().lines().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_image_that_somebody_removed_from_docker_is_made_again() {
    let Some(fixture) = fixture().await else { return };
    gets_its_image_again(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_base_image_that_somebody_removed_from_podman_is_made_again() {
    let Some(fixture) = podman_fixture().await else { return };
    gets_its_image_again(fixture).await;
}

/// A folder that is not there is named.
async fn refuses_a_mount_that_is_gone(fixture: Fixture) {
    let source = std::path::Path::new("/var/tmp/agentkernel-no-such-folder");
    let mount = BindMount::new(source, "/mnt/x".as_ref(), agentkernel_core::Access::ReadOnly).expect("valid");
    let spec = SandboxSpec::builder(fresh_name(), Profile::Restrictive).mount(mount).build().expect("valid");
    let error = fixture.backend.boot(&spec).await.err().expect("refused");
    assert!(error.subject.contains("agentkernel-no-such-folder"), "{error}");
    assert_eq!(all_containers(&fixture.engine), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_whose_source_is_gone_is_refused_by_name_on_docker() {
    let Some(fixture) = fixture().await else { return };
    refuses_a_mount_that_is_gone(fixture).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mount_whose_source_is_gone_is_refused_by_name_on_podman() {
    let Some(fixture) = podman_fixture().await else { return };
    refuses_a_mount_that_is_gone(fixture).await;
}
