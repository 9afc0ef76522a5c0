//! Engines that are killed, restarted, silent or full of other people's containers: what is told, and that nothing is left.

use std::time::{Duration, Instant};

use agentkernel_container::{ContainerBackend, EngineSettings};
use agentkernel_core::{
    Availability, Backend as _, CauseOfDeath, Command, ErrorKind, Profile, SandboxName, SandboxSpec,
};
use agentkernel_testkit::{TestEngine, random_u64};

use super::fixture::{backend, fixture, settings};
use crate::host::processes_beside;
use crate::support::{exec, spec};

pub fn named(name: &SandboxName) -> SandboxSpec {
    SandboxSpec::builder(name.clone(), Profile::Restrictive).build().expect("valid")
}

pub fn fresh_name() -> SandboxName {
    SandboxName::from_random(random_u64())
}

/// First process of a container, as the engine's own client says it.
fn init_of(engine: &TestEngine, name: &SandboxName) -> i32 {
    let pid = engine.client(&["inspect", "--format", "{{.State.Pid}}", &format!("agentkernel-{name}")]);
    pid.parse().expect("a pid")
}

pub fn all_containers(engine: &TestEngine) -> Vec<String> {
    engine.client(&["ps", "--all", "--format", "{{.Names}}"]).lines().map(str::to_owned).collect()
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "it is not so: {what}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_under_a_command_ends_the_sandbox_and_says_so() {
    let Some(mut fixture) = fixture().await else { return };
    let spec = spec();
    let sandbox = fixture.backend.boot(&spec).await.expect("boots").sandbox;
    let init = init_of(&fixture.engine, spec.name());
    let mut command = sandbox.exec(&Command::new(["sleep", "1000"])).await.expect("it starts");
    fixture.engine.kill();
    let ended = sandbox.ended().await;
    assert_eq!((ended.cause, &*ended.detail), (CauseOfDeath::BoundaryCrashed, "the engine went away"));
    assert_eq!(command.next().await.expect_err("it is gone").kind, ErrorKind::SandboxGone);
    drop(command);
    let error = sandbox.stop().await.expect_err("nobody removes the container");
    assert_eq!(error.kind, ErrorKind::Cleanup);
    assert!(error.hint.is_some_and(|hint| hint.contains("once the engine answers")));
    until("all its processes end", || processes_beside(init).is_empty());
    let engine = fixture.engine.restarted();
    let next = backend(&engine).boot(&named(spec.name())).await.expect("the name is free").sandbox;
    assert_eq!(exec(&*next, &["echo", "works"]).await.text(), "works");
    next.stop().await.expect("stops");
    assert_eq!(all_containers(&engine), Vec::<String>::new());
}

/// Not of Podman: a first process that its runtime has made and not begun would be left here.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_is_killed_while_a_sandbox_comes_up_is_an_error_and_leaves_no_container() {
    let Some(mut fixture) = fixture().await else { return };
    for delay_ms in [0, 5, 15, 40, 80, 120] {
        let name = fresh_name();
        let spec = named(&name);
        let booting = fixture.backend.boot(&spec);
        let killing = async {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            fixture.engine.kill();
        };
        let (booted, ()) = tokio::join!(tokio::time::timeout(Duration::from_secs(30), booting), killing);
        match booted.expect("it does not hang") {
            // It was quicker.
            Ok(booted) => drop(booted.sandbox.stop().await),
            Err(error) => assert!(
                matches!(error.kind, ErrorKind::Boot | ErrorKind::Unavailable | ErrorKind::Cleanup),
                "after {delay_ms} ms: {error} ({:?})",
                error.kind
            ),
        }
        fixture.engine = fixture.engine.restarted();
        let next = fixture.backend.boot(&named(&name)).await.expect("the name is free").sandbox;
        next.stop().await.expect("stops");
        until("no container is left", || all_containers(&fixture.engine).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_not_ours_is_never_touched() {
    let Some(fixture) = fixture().await else { return };
    let engine = &fixture.engine;
    let image =
        engine.client(&["images", "--format", "{{.Repository}}:{{.Tag}}", "localhost/agentkernel/base"]);
    let name = fresh_name();
    let theirs = format!("agentkernel-{name}");
    let _id = engine.client(&["create", "--name", &theirs, &image, "x"]);
    let error = fixture.backend.boot(&named(&name)).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::NameTaken);
    assert!(error.to_string().contains(&theirs) && error.to_string().contains("not ours"), "{error}");
    assert_eq!(all_containers(engine), [theirs]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_of_the_engine_is_told_and_leaves_nothing() {
    let Some(engine) = TestEngine::docker_on_a_small_disk(48 << 20) else { return };
    let backend = backend(&engine);
    backend.boot(&spec()).await.expect("boots").sandbox.stop().await.expect("stops");
    let fill = engine.disk().join("fill");
    let chunk = vec![0; 64 << 10];
    let mut file = std::fs::File::create(&fill).expect("made");
    while std::io::Write::write_all(&mut file, &chunk).is_ok() {}
    let error = backend.boot(&spec()).await.err().expect("there is no room");
    assert!(error.to_string().contains("no space left on device"), "{error}");
    // A child that another test has just forked may hold the file a while: its blocks go at once.
    file.set_len(0).expect("emptied");
    std::fs::remove_file(&fill).expect("removed");
    backend.boot(&spec()).await.expect("boots again").sandbox.stop().await.expect("stops");
    assert_eq!(all_containers(&engine), Vec::<String>::new());
}

async fn told_of(settings: EngineSettings) -> (String, String) {
    let backend = ContainerBackend::docker(settings);
    let error = backend.boot(&spec()).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    match backend.probe().await {
        Availability::Unavailable { needs, hint } => {
            assert!(
                error.why.contains(&needs) && error.hint.as_ref() == Some(&hint),
                "{error} / {needs} / {hint}"
            );
            (needs, hint)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_engine_that_is_not_there_is_told_with_the_way_out() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("d.sock");
    let nowhere = EngineSettings {
        docker_host: Some(format!("unix://{}", socket.display())),
        ..EngineSettings::default()
    };
    let (needs, hint) = told_of(nowhere.clone()).await;
    assert!(needs.contains("not installed") && hint.contains("apt-get install docker.io"), "{needs}: {hint}");
    std::fs::write(folder.path().join("dockerd"), "").expect("written");
    let installed = EngineSettings { search_path: vec![folder.path().to_owned()], ..nowhere };
    let (needs, hint) = told_of(installed.clone()).await;
    assert!(
        needs.contains("a running docker engine") && hint.contains("systemctl start docker"),
        "{needs}: {hint}"
    );
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("bound"));
    assert!(told_of(installed.clone()).await.0.contains("nobody listens"));
    let elsewhere = EngineSettings { docker_host: Some("tcp://192.0.2.1:2375".into()), ..installed };
    assert!(told_of(elsewhere).await.0.contains("tcp://192.0.2.1:2375"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_leads_to_its_engine() {
    let Some(fixture) = fixture().await else { return };
    let folder = tempfile::tempdir().expect("a folder");
    // Docker's own client writes it.
    let config = folder.path().to_str().expect("UTF-8");
    let docker = format!("host={}", fixture.engine.address());
    let _said =
        fixture.engine.client(&["--config", config, "context", "create", "mine", "--docker", &docker]);
    let by_context = EngineSettings {
        docker_host: None,
        docker_context: Some("mine".into()),
        docker_config: Some(folder.path().to_owned()),
        ..settings(&fixture.engine)
    };
    let sandbox = ContainerBackend::docker(by_context).boot(&spec()).await.expect("boots").sandbox;
    sandbox.stop().await.expect("stops");
}
