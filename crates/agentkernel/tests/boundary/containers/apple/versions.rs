//! Versions of the program, and systems that have none.

use agentkernel_container::{AppleBackend, EngineSettings, HostSystem};
use agentkernel_core::{Availability, Backend as _, ByteSize, ErrorKind, Limits, Profile};

use super::super::apple_fixture::{AppleFixture, apple_fixture, apple_settings, apple_spec};
use crate::support::exec;

async fn needs(backend: &AppleBackend) -> (String, String) {
    match backend.probe().await {
        Availability::Unavailable { needs, hint } => (needs, hint),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_version_that_can_and_the_last_that_cannot() {
    let Some(AppleFixture { apple, home, .. }) = apple_fixture().await else { return };
    let backend = || AppleBackend::new(apple_settings(&apple, home.path()));
    apple.set_version("0.12.0");
    let first = backend();
    let sandbox = first.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
    assert_eq!(exec(&*sandbox, &["echo", "$GREETING"]).await.text(), "$GREETING");
    assert!(sandbox.posture().await.expect("readable").holds());
    sandbox.stop().await.expect("stops");
    let small = Limits { disk: ByteSize::mib(8), ..Limits::of(Profile::Restrictive) };
    let error = first.boot(&apple_spec().limits(small).build().expect("valid")).await.err().expect("refused");
    assert_eq!((error.kind, &*error.subject), (ErrorKind::ControlRefused, "the size of /dev/shm"));
    assert!(error.why.contains("since version 1.0.0, and this is 0.12.0"), "{error}");
    apple.set_version("0.11.0");
    let last = backend();
    let (told, hint) = needs(&last).await;
    assert!(told.contains("0.12.0 or newer, and this is 0.11.0, without --cap-drop"), "{told}");
    assert!(hint.contains("upgrade"), "{hint}");
    let error = last.boot(&apple_spec().build().expect("valid")).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert_eq!(apple.containers(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_told_with_its_way_out() {
    let Some(AppleFixture { backend, apple, home }) = apple_fixture().await else { return };
    let settings = apple_settings(&apple, home.path());
    let system = |name: &str, release: &str| {
        let system = HostSystem { name: name.into(), release: release.into() };
        AppleBackend::new(EngineSettings { system, ..settings.clone() })
    };
    assert_eq!(needs(&system("Linux", "6.18")).await.0, "macOS 26 or newer, and this is Linux");
    assert!(needs(&system("Darwin", "24.6.0")).await.0.contains("this is Darwin 24.6.0"));
    let nowhere = EngineSettings { search_path: vec![home.path().to_owned()], ..settings.clone() };
    let (told, hint) = needs(&AppleBackend::new(nowhere)).await;
    assert!(told.contains("not installed") && hint.contains("github.com/apple/container"), "{told} {hint}");
    assert!(matches!(backend.probe().await, Availability::Available { .. }));
    apple.stop_services();
    let (told, hint) = needs(&backend).await;
    assert_eq!(
        (&*told, &*hint),
        ("the services of Apple's container, and they do not run", "container system start")
    );
    let error = backend.boot(&apple_spec().build().expect("valid")).await.err().expect("refused");
    assert_eq!((error.kind, error.hint.as_deref()), (ErrorKind::Boot, Some("container system start")));
    for (said, told) in
        [("echo moby 27", "says that it is 'moby 27'"), ("exit 3", "does not tell its version")]
    {
        apple.break_verb("version", said);
        let told_here = needs(&AppleBackend::new(settings.clone())).await.0;
        assert!(told_here.contains(told), "{told_here}");
    }
}
