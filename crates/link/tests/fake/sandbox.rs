//! A boundary and a link together: who ends whom, and what is said about it.

use agentkernel_core::{
    BackendKind, CauseOfDeath, Command, Ended, Error, ErrorKind, Limits, Profile, Resize, Sandbox,
    SandboxSpec,
};
use agentkernel_link::{ExecDefaults, LinkedSandbox};
use agentkernel_protocol::{Ready, ToHost};

use crate::fake_boundary::{FakeBoundary, Fate, Remote};
use crate::fake_guest::{FakeGuest, closed, hello, ready, ready_info, soon};

fn spec() -> SandboxSpec {
    SandboxSpec::builder("test".parse().expect("a name"), Profile::Restrictive).build().expect("valid")
}

pub async fn attached() -> (FakeGuest, Remote, Box<LinkedSandbox>) {
    let (mut guest, stream) = FakeGuest::new();
    let (boundary, remote) = FakeBoundary::new();
    let spec = spec();
    let attaching = LinkedSandbox::attach(&spec, boundary, stream, hello(), ExecDefaults::default());
    let (attached, _) = joined!(attaching, guest.greet());
    let (sandbox, info) = attached.expect("attached");
    assert_eq!(info, ready_info());
    (guest, remote, Box::new(sandbox))
}

fn out_of_memory() -> Ended {
    Ended { cause: CauseOfDeath::OutOfMemory, detail: "limit 64M".into() }
}

async fn ping_error(sandbox: &LinkedSandbox) -> Error {
    sandbox.ping().await.expect_err("gone")
}

#[tokio::test]
async fn it_is_what_was_asked_for() {
    let (_guest, _remote, sandbox) = attached().await;
    assert_eq!((sandbox.name().as_str(), sandbox.backend()), ("test", BackendKind::Fake));
    assert!(sandbox.posture().await.is_ok());
}

#[tokio::test]
async fn a_new_size_reaches_the_boundary() {
    let (_guest, remote, sandbox) = attached().await;
    let to = Resize::from(&Limits::of(Profile::Moderate));
    sandbox.resize(&to).await.expect("resized");
    assert_eq!(*remote.resized.lock().expect("not poisoned"), Some(to));
}

#[tokio::test]
async fn stop_waits_for_the_boundary_and_fails_what_is_running() {
    let (mut guest, remote, sandbox) = attached().await;
    let command = Command::new(["sleep"]);
    let (process, _) = joined!(sandbox.exec(&command), guest.begin());
    let mut process = process.expect("started");
    let stopped = soon(sandbox.stop()).await.expect("stopped");
    assert_eq!(stopped.cause, None);
    assert_eq!(remote.fate(), Fate { stopped: true, dropped: true });
    let error = soon(process.next()).await.expect_err("stopped");
    assert_eq!((error.kind, error.why.as_str()), (ErrorKind::SandboxGone, "the sandbox was stopped"));
}

#[tokio::test]
async fn dropping_it_drops_the_boundary_at_once() {
    let (_guest, remote, sandbox) = attached().await;
    drop(sandbox);
    assert_eq!(remote.fate(), Fate { stopped: false, dropped: true });
}

#[tokio::test]
async fn a_breach_stops_the_boundary_without_being_asked() {
    let (mut guest, remote, sandbox) = attached().await;
    guest.say(5, ToHost::Started(1)).await;
    let ended = soon(sandbox.ended()).await;
    assert_eq!(ended.cause, CauseOfDeath::BoundaryCrashed);
    assert_eq!(ended.detail, "Started frame on channel 5: it was never opened");
    assert_eq!(ping_error(&sandbox).await.kind, ErrorKind::ProtocolBroken);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(remote.fate(), Fate { stopped: true, dropped: true });
    assert_eq!(sandbox.posture().await.expect_err("gone").kind, ErrorKind::ProtocolBroken);
    let to = Resize::from(&Limits::of(Profile::Moderate));
    assert_eq!(sandbox.resize(&to).await.expect_err("gone").kind, ErrorKind::ProtocolBroken);
    let stopped = soon(sandbox.stop()).await.expect("stopped before");
    assert_eq!(stopped.cause, Some(CauseOfDeath::BoundaryCrashed));
}

#[tokio::test]
async fn stop_right_after_a_breach_still_waits_and_says_so() {
    let (mut guest, remote, sandbox) = attached().await;
    guest.say(5, ToHost::Started(1)).await;
    closed(sandbox.link()).await;
    let stopped = soon(sandbox.stop()).await.expect("stopped");
    assert_eq!(stopped.cause, Some(CauseOfDeath::BoundaryCrashed));
    assert!(remote.fate().stopped);
}

#[tokio::test]
async fn what_the_boundary_saw_is_told_to_whoever_lost_his_command() {
    let (mut guest, remote, sandbox) = attached().await;
    let command = Command::new(["hog"]);
    let (process, _) = joined!(sandbox.exec(&command), guest.begin());
    let mut process = process.expect("started");
    drop(guest);
    let (error, ()) = joined!(process.next(), async {
        tokio::time::sleep(std::time::Duration::from_millis(30)).await;
        remote.end(out_of_memory());
    });
    let error = error.expect_err("gone");
    assert_eq!(error.kind, ErrorKind::SandboxGone);
    assert_eq!(error.why, "out of memory: limit 64M");
    assert_eq!(soon(sandbox.ended()).await, out_of_memory());
    assert_eq!(ping_error(&sandbox).await.why, "out of memory: limit 64M");
    assert!(sandbox.files().stat(b"/", true).await.expect_err("gone").why.contains("out of memory"));
}

#[tokio::test(start_paused = true)]
async fn a_boundary_that_does_not_know_is_not_waited_for() {
    let (guest, _remote, sandbox) = attached().await;
    drop(guest);
    let ended = soon(sandbox.ended()).await;
    assert_eq!(ended.cause, CauseOfDeath::BoundaryCrashed);
    assert_eq!(ended.detail, "the guest agent closed its stream");
    assert_eq!(ping_error(&sandbox).await.kind, ErrorKind::SandboxGone);
}

#[tokio::test]
async fn the_boundarys_own_end_is_told_while_the_stream_is_still_open() {
    let (_guest, remote, sandbox) = attached().await;
    let ended = Ended { cause: CauseOfDeath::Killed, detail: "SIGKILL".into() };
    remote.end(ended.clone());
    assert_eq!(soon(sandbox.ended()).await, ended);
}

#[tokio::test]
async fn a_guest_that_cannot_be_greeted_leaves_nothing() {
    let (mut guest, stream) = FakeGuest::new();
    let (boundary, remote) = FakeBoundary::new();
    let spec = spec();
    let attaching = LinkedSandbox::attach(&spec, boundary, stream, hello(), ExecDefaults::default());
    let (attached, ()) = joined!(attaching, async {
        guest.hear_hello().await;
        guest.say(0, ToHost::Ready(Ready { build: "x".into(), ..ready(hello().token) })).await;
    });
    assert_eq!(attached.map(|_| ()).expect_err("refused").kind, ErrorKind::Boot);
    assert_eq!(remote.fate(), Fate { stopped: true, dropped: true });
}

#[tokio::test]
async fn a_boot_that_failed_says_what_the_boundary_saw() {
    let (guest, stream) = FakeGuest::new();
    drop(guest);
    let (boundary, remote) = FakeBoundary::new();
    remote.end(out_of_memory());
    let spec = spec();
    let attached = LinkedSandbox::attach(&spec, boundary, stream, hello(), ExecDefaults::default()).await;
    let error = attached.map(|_| ()).expect_err("nobody there");
    assert!(error.why.ends_with("the boundary says: out of memory: limit 64M"), "{error}");
}
