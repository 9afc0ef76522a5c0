//! A program that fails, hangs, lies or loses its machine: what is told, and that nothing is left.

use std::time::{Duration, Instant};

use agentkernel_container::AppleBackend;
use agentkernel_core::{Backend as _, CauseOfDeath, Command, ErrorKind, Profile, SandboxName, SandboxSpec};
use agentkernel_testkit::{TestApple, random_u64};
use rustix::process::{Pid, Signal, kill_process};

use super::super::apple_fixture::{AppleFixture, IMAGE, apple_fixture, apple_settings, apple_spec, image};
use crate::support::exec;

/// Longer than a run of the stand-in takes on a busy host.
const HASTY: Duration = Duration::from_secs(8);

fn named(name: &SandboxName) -> SandboxSpec {
    SandboxSpec::builder(name.clone(), Profile::Restrictive).image(image()).build().expect("valid")
}

/// Waits until there is no container.
pub fn until_empty(apple: &TestApple) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !apple.containers().is_empty() {
        assert!(Instant::now() < deadline, "left: {:?}", apple.containers());
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_fails_is_told_in_the_programs_own_words_and_leaves_nothing() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    for verb in ["image", "create", "start", "start.after", "exec", "inspect", "report"] {
        apple.break_verb(verb, "echo 'Error: internalError: \"no luck\"' >&2; exit 1");
        let error = backend.boot(&apple_spec().build().expect("valid")).await.err().expect(verb);
        assert!(matches!(error.kind, ErrorKind::Boot), "{verb}: {error}");
        assert!(error.to_string().contains("no luck"), "{verb}: {error}");
        apple.mend(verb);
        until_empty(&apple);
    }
    let sandbox = backend.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
    sandbox.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_lies_is_found_out_and_leaves_nothing() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    for (verb, lie, kind, told) in [
        ("create", "echo made", ErrorKind::Boot, "container not found"),
        ("start", "echo started", ErrorKind::Boot, "is not running"),
        ("exec", "cat /dev/zero | head -c 100000", ErrorKind::ProtocolBroken, "frame"),
        ("exec", "exit 0", ErrorKind::Boot, "closed its stream before it was ready"),
        ("inspect", "echo '{'", ErrorKind::Boot, "is not JSON"),
        ("inspect", "echo '[]'", ErrorKind::ControlRefused, "engine.readOnly"),
        (
            "inspect",
            "echo '[{\"configuration\": {\"readOnly\": true}}]'",
            ErrorKind::ControlRefused,
            "engine.capDrop",
        ),
        ("report", "echo nonsense", ErrorKind::Boot, "garbled"),
        ("report", "exit 0", ErrorKind::ControlRefused, "inside.no_new_privs"),
        ("report", "cat /dev/zero | head -c 17000000", ErrorKind::Boot, "more than"),
    ] {
        apple.break_verb(verb, lie);
        let error = backend.boot(&apple_spec().build().expect("valid")).await.err().expect(verb);
        assert_eq!(error.kind, kind, "{verb} {lie}: {error}");
        assert!(error.to_string().contains(told), "{verb} {lie}: {error}");
        apple.mend(verb);
        until_empty(&apple);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_hangs_is_given_up_in_time_and_leaves_nothing() {
    let Some(AppleFixture { apple, home, .. }) = apple_fixture().await else { return };
    for verb in ["image", "create", "create.after", "start", "start.after", "report"] {
        let backend = AppleBackend::new(apple_settings(&apple, home.path())).hasty(HASTY);
        apple.break_verb(verb, "exec sleep 1000");
        let began = Instant::now();
        let error = backend.boot(&apple_spec().build().expect("valid")).await.err().expect(verb);
        assert!(began.elapsed() < HASTY * 3, "{verb}: {:?}", began.elapsed());
        assert!(error.to_string().contains("did not end within 8 s"), "{verb}: {error}");
        apple.mend(verb);
        drop(backend);
        until_empty(&apple);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_goes_ends_the_sandbox_and_says_so() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    let spec = apple_spec().build().expect("valid");
    let sandbox = backend.boot(&spec).await.expect("boots").sandbox;
    let mut command = sandbox.exec(&Command::new(["sleep", "1000"])).await.expect("it starts");
    let _killed =
        apple.engine().client(&["kill", "--signal", "KILL", &format!("{}.agentkernel", spec.name())]);
    let ended = sandbox.ended().await;
    assert_eq!(ended.cause, CauseOfDeath::BoundaryCrashed);
    assert!(ended.detail.contains("'container exec'"), "{}", ended.detail);
    assert_eq!(command.next().await.expect_err("it is gone").kind, ErrorKind::SandboxGone);
    let stopped = sandbox.stop().await.expect("stops");
    assert_eq!(stopped.cause, Some(CauseOfDeath::BoundaryCrashed));
    until_empty(&apple);
}

/// The program whose streams lead to this container.
fn caller_of(name: &str) -> Pid {
    let is_it = |pid: &i32| {
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        words.contains(&format!(" {name}.agentkernel ")) && words.contains(" exec --interactive ")
    };
    let entries = std::fs::read_dir("/proc").expect("listed").flatten();
    let mut pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.find(is_it).and_then(Pid::from_raw).expect("it runs")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_ends_the_container_and_says_so() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    let sandbox = backend.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
    let _running = sandbox.exec(&Command::new(["sleep", "1000"])).await.expect("it starts");
    kill_process(caller_of(sandbox.name().as_str()), Signal::KILL).expect("killed");
    let ended = sandbox.ended().await;
    assert_eq!(ended.cause, CauseOfDeath::BoundaryCrashed);
    assert!(ended.detail.contains("'container exec' ended with signal: 9"), "{}", ended.detail);
    // It goes by itself, before anybody stops it.
    until_empty(&apple);
    sandbox.stop().await.expect("stops");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_removed_is_told_and_the_next_start_removes_it() {
    let Some(AppleFixture { apple, home, .. }) = apple_fixture().await else { return };
    for (how, told) in
        [("exit 1", "exit status: 1"), ("exit 0", "does not remove it"), ("exec sleep 1000", "8 s")]
    {
        let backend = AppleBackend::new(apple_settings(&apple, home.path())).hasty(HASTY);
        // One that was never started does not end by itself.
        apple.break_verb("start", "echo no luck >&2; exit 1");
        apple.break_verb("delete", how);
        drop(backend.boot(&apple_spec().build().expect("valid")).await.err().expect("refused"));
        apple.mend("start");
        let sandbox = backend.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
        // What could end it by itself cannot either.
        apple.break_verb("inspect", "echo '[{}]'");
        let error = sandbox.stop().await.expect_err("nobody removes it");
        assert_eq!(error.kind, ErrorKind::Cleanup);
        assert!(error.to_string().contains(told), "{how}: {error}");
        assert!(error.hint.is_some_and(|hint| hint.contains("the next start")));
        apple.mend("inspect");
        // The thread that removes what failed to start ends by its own deadline.
        std::thread::park_timeout(HASTY + Duration::from_secs(1));
        drop(backend);
        apple.mend("delete");
        assert!(!apple.containers().is_empty(), "something is left");
        let next = AppleBackend::new(apple_settings(&apple, home.path()));
        let sandbox = next.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
        assert_eq!(apple.containers().len(), 1, "{:?}", apple.containers());
        sandbox.stop().await.expect("stops");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_of_others_are_left_alone() {
    let Some(AppleFixture { backend, apple, home }) = apple_fixture().await else { return };
    let name = SandboxName::from_random(random_u64());
    let foreign = format!("{name}.agentkernel");
    apple.run(&[
        "create", "--name", &foreign, "--memory", "200M", "--uid", "7", "--gid", "7", IMAGE, "sleep", "1000",
    ]);
    let error = backend.boot(&named(&name)).await.err().expect("taken");
    assert_eq!(error.kind, ErrorKind::NameTaken);
    assert!(error.why.contains("is not ours") && error.hint.is_some_and(|hint| hint.contains("--name")));
    assert_eq!(apple.containers(), [&*foreign]);
    // Neither is another program's of our own, whose home is elsewhere.
    let other = tempfile::tempdir().expect("a folder");
    let held = backend.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
    let elsewhere = AppleBackend::new(apple_settings(&apple, other.path()));
    let error = elsewhere.boot(&named(held.name())).await.err().expect("taken");
    assert_eq!((error.kind, &*error.why), (ErrorKind::NameTaken, "a live sandbox has it"));
    assert_eq!(exec(&*held, &["echo", "alive"]).await.text(), "alive");
    held.stop().await.expect("stops");
    assert_eq!(apple.containers(), [&*foreign]);
    apple.run(&["delete", "--force", &foreign]);
    drop(home);
}
