//! The greeting: who is let in, and what the others are told.

use std::time::Duration;

use agentkernel_core::{Error, ErrorKind};
use agentkernel_link::{GUEST_BUILD, Mount, Token, connect};
use agentkernel_protocol::{PROTOCOL_VERSION, Ready, ToHost};

use crate::fake_guest::{FakeGuest, hello, ready, ready_info, stdout};

/// Greets a guest that answers with this.
async fn greeted_by(answer: ToHost) -> Error {
    let (mut guest, stream) = FakeGuest::new();
    let (connected, ()) = tokio::join!(connect(stream, hello()), async {
        guest.hear_hello().await;
        guest.say(0, answer).await;
    });
    connected.map(|_| ()).expect_err("refused")
}

#[tokio::test]
async fn a_guest_is_greeted_with_build_token_and_mounts() {
    let (mut guest, stream) = FakeGuest::new();
    let mount = Mount {
        source: "proc".into(),
        target: "/proc".into(),
        fstype: "proc".into(),
        flags: 0,
        data: String::new(),
    };
    let options = agentkernel_link::HelloOptions { mounts: vec![mount.clone()], ..hello() };
    let (connected, greeting) = tokio::join!(connect(stream, options), guest.greet());
    let (_, info) = connected.expect("greeted");
    assert_eq!(info, ready_info());
    assert_eq!(info.startup(), Duration::from_micros(3));
    assert_eq!((greeting.protocol, greeting.build.as_str()), (PROTOCOL_VERSION, GUEST_BUILD));
    assert_eq!((greeting.token, greeting.mounts), (hello().token, vec![mount]));
}

#[tokio::test]
async fn another_build_is_refused_with_both_named() {
    let other = Ready { build: "0123\x1b[2J".into(), ..ready(hello().token) };
    let error = greeted_by(ToHost::Ready(other)).await;
    assert_eq!(error.kind, ErrorKind::Boot);
    assert_eq!(error.why, format!("it is build 0123\u{fffd}[2J, this program needs build {GUEST_BUILD}"));
}

#[tokio::test]
async fn another_protocol_is_refused_with_both_named() {
    let other = Ready { protocol: 99, ..ready(hello().token) };
    let error = greeted_by(ToHost::Ready(other)).await;
    assert_eq!(error.kind, ErrorKind::Boot);
    assert_eq!(error.why, format!("it speaks protocol 99, this program protocol {PROTOCOL_VERSION}"));
}

#[tokio::test]
async fn another_sandboxs_answer_is_refused() {
    let error = greeted_by(ToHost::Ready(ready(Token([8; 32])))).await;
    assert_eq!(error.kind, ErrorKind::ProtocolBroken);
    assert!(error.why.contains("token"), "{error}");
}

#[tokio::test]
async fn a_guest_that_gives_up_is_quoted() {
    let error = greeted_by(ToHost::Fault("no /proc\n".into())).await;
    assert_eq!(error.kind, ErrorKind::Boot);
    assert_eq!(error.to_string(), "greet the guest agent: the guest agent says: no /proc\u{fffd}");
}

#[tokio::test]
async fn anything_else_than_ready_is_refused() {
    let error = greeted_by(stdout(3)).await;
    assert_eq!(error.kind, ErrorKind::ProtocolBroken);
    assert!(error.why.contains("Stdout"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_guest_is_not_waited_for_for_ever() {
    let (_guest, stream) = FakeGuest::new();
    let error = connect(stream, hello()).await.map(|_| ()).expect_err("too late");
    assert_eq!(error.kind, ErrorKind::Boot);
    assert_eq!(error.why, "it was not ready within 5000 ms");
}

#[tokio::test]
async fn a_stream_that_ends_before_ready_is_an_error_of_booting() {
    let (guest, stream) = FakeGuest::new();
    drop(guest);
    let error = connect(stream, hello()).await.map(|_| ()).expect_err("nobody there");
    assert_eq!(error.kind, ErrorKind::Boot);
    assert!(error.why.starts_with("it closed its stream before it was ready"), "{error}");
}
