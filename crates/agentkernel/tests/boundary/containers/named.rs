//! Images that the engine keeps, and that somebody else made.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use agentkernel_core::{Backend, Command, ErrorKind, Image, Profile, SandboxName, SandboxSpec};
use agentkernel_testkit::conformance::{self, SuiteOptions};
use agentkernel_testkit::random_u64;

use super::fixture::{Fixture, fixture, podman_fixture};
use crate::support::exec;

const NAME: &str = "example.org/test/box:1.0";

fn spec_of(name: &str) -> SandboxSpec {
    let image = Image::Named(name.parse().expect("a name"));
    let builder = SandboxSpec::builder(SandboxName::from_random(random_u64()), Profile::Restrictive);
    builder.image(image).build().expect("valid")
}

async fn images_are_used_and_kept_as_they_are(Fixture { backend, engine, .. }: Fixture) {
    let changes = ["ENV GREETING=hello", "ENTRYPOINT [\"/bin/false\"]", "USER 0", "WORKDIR /etc"];
    let Some(()) = engine.import_busybox(NAME, &changes, |_| {}) else { return };
    let sandbox = backend.boot(&spec_of(NAME)).await.expect("boots").sandbox;
    let script = "echo $GREETING $PWD $(id -u); cat /etc/marker; echo; ls /usr /home 2>&1; touch /x /etc/x 2>&1; \
                  echo mine >file && cat file";
    let said = exec(&*sandbox, &["sh", "-c", script]).await.text();
    assert!(said.starts_with("hello /workspace 65532\nof the image\n"), "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    assert!(said.contains("/home: No such file") && said.ends_with("mine"), "{said}");
    assert!(sandbox.posture().await.expect("readable").holds());
    sandbox.stop().await.expect("stops");
    // The second time nothing has to be made.
    let again = backend.boot(&spec_of(NAME)).await.expect("boots").sandbox;
    again.stop().await.expect("stops");
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "");

    let missing = backend.boot(&spec_of("example.org/test/none")).await.err().expect("it is not there");
    assert_eq!((missing.kind, &*missing.subject), (ErrorKind::Boot, "example.org/test/none"));
    let hint = missing.hint.expect("a way out");
    assert!(hint.contains(" pull example.org/test/none") && hint.contains(" load -i "), "{hint}");

    let Some(()) = engine.import_busybox("example.org/test/volume", &["VOLUME /data"], |_| {}) else {
        return;
    };
    let refused = backend
        .boot(&spec_of("example.org/test/volume:latest"))
        .await
        .err()
        .expect("a place without a limit");
    assert_eq!(
        (refused.kind, &*refused.subject),
        (ErrorKind::ControlRefused, "image example.org/test/volume:latest")
    );
    assert!(refused.why.contains("/data"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_dockers_is_used_and_kept_as_it_is() {
    if let Some(fixture) = fixture().await {
        images_are_used_and_kept_as_they_are(fixture).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_podmans_is_used_and_kept_as_it_is() {
    if let Some(fixture) = podman_fixture().await {
        images_are_used_and_kept_as_they_are(fixture).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_of_an_image_is_as_isolated_as_any() {
    let Some(Fixture { backend, engine, .. }) = fixture().await else { return };
    let Some(()) = engine.import_busybox(NAME, &[], |_| {}) else { return };
    let image = Image::Named(NAME.parse().expect("a name"));
    let options = SuiteOptions { image, ..SuiteOptions::for_backend(&backend) }.only("isolation.");
    let report = conformance::run(&backend as &dyn Backend, &options).await;
    report.assert_held_but(&[
        "isolation.namespaces_are_new",
        "isolation.siblings_share_no_namespace",
        "isolation.siblings_share_no_uid",
    ]);
}

/// Links in the places that are ours: whatever becomes of such a sandbox, nothing of the host is reached.
#[tokio::test(flavor = "multi_thread")]
async fn links_of_an_image_lead_nowhere() {
    let Some(Fixture { backend, engine, .. }) = fixture().await else { return };
    let outside = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let target = outside.path().to_owned();
    let links = |root: &Path| {
        for place in ["workspace", "tmp", ".agentkernel", "dev"] {
            symlink(&target, root.join(place)).expect("linked");
        }
    };
    let Some(()) = engine.import_busybox("example.org/test/links", &[], links) else { return };
    if let Ok(booted) = backend.boot(&spec_of("example.org/test/links")).await {
        let command = Command::new(["sh", "-c", "echo out >/workspace/file; echo out >/tmp/file"]);
        drop(booted.sandbox.exec(&command).await);
        booted.sandbox.stop().await.expect("stops");
    }
    assert_eq!(fs::read_dir(outside.path()).expect("listed").count(), 0, "something was made on the host");
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backend_that_keeps_no_images_says_who_does() {
    let Some(fixture) = crate::support::fixture().await else { return };
    let error = fixture.backend.boot(&spec_of(NAME)).await.err().expect("refused");
    assert_eq!((error.kind, &*error.subject), (ErrorKind::ControlRefused, "image example.org/test/box:1.0"));
    assert!(error.hint.is_some_and(|hint| hint.contains("--backend docker")));
}
