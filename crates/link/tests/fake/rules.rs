//! What no guest may do. Each closes the link at once, fails everything that waits, and is named.

use agentkernel_core::{Command, ErrorKind, ProcessEvent};
use agentkernel_link::{CloseReason, ExecDefaults, Link};
use agentkernel_protocol::{HEADER_LEN, Refused, Stage, ToGuest, ToHost};
use bytes::Bytes;

use crate::fake_guest::{FakeGuest, cat, closed, exited, hello, ready, running, soon, stdout};

/// Everything that can wait fails with the same reason, and the stream is closed.
async fn assert_broken(mut guest: FakeGuest, link: Link, why: &str) {
    let closed = closed(&link).await;
    assert_eq!((closed.reason, closed.why.as_str()), (CloseReason::Broken, why));
    let exec = link.exec(&Command::new(["true"]), &ExecDefaults::default()).await;
    let error = exec.map(|_| ()).expect_err("closed");
    assert_eq!((error.kind, error.why.as_str()), (ErrorKind::ProtocolBroken, why));
    assert_eq!(link.ping().await.expect_err("closed").kind, ErrorKind::ProtocolBroken);
    while guest.try_hear().await.is_some() {}
}

#[tokio::test]
async fn a_frame_on_a_channel_that_was_never_opened() {
    for (channel, message) in [(1, stdout(1)), (0, stdout(1)), (7, exited(0)), (1, ToHost::Started(5))] {
        let kind = if let ToHost::Stdout(_) = message { "Stdout" } else { "" };
        let (mut guest, link) = FakeGuest::connected().await;
        guest.say(channel, message).await;
        let closed = closed(&link).await;
        assert!(closed.is_broken() && closed.why.contains("it was never opened"), "{closed:?}");
        assert!(closed.why.contains(kind), "{closed:?}");
    }
}

#[tokio::test]
async fn a_frame_after_the_last_one_of_its_channel() {
    for message in [stdout(1), exited(0), ToHost::StdinCredit(0)] {
        let (mut guest, link) = FakeGuest::connected().await;
        let (channel, _process) = running(&mut guest, &link, &Command::new(["true"])).await;
        guest.say_exited(channel, 0).await;
        guest.say(channel, message).await;
        let closed = closed(&link).await;
        assert!(closed.is_broken() && closed.why.contains("its process has ended"), "{closed:?}");
    }
}

#[tokio::test]
async fn a_frame_after_the_refusal() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (command, defaults) = (Command::new(["true"]), ExecDefaults::default());
    let (process, ()) = joined!(link.exec(&command, &defaults), async {
        let (channel, _) = guest.hear_start().await;
        let refused = Refused { stage: Stage::Exec, errno: 13, subject: String::new() };
        guest.say(channel, ToHost::Refused(refused)).await;
        guest.say(channel, exited(0)).await;
    });
    assert_eq!(process.map(|_| ()).expect_err("refused").kind, ErrorKind::CommandNotExecutable);
    assert_broken(guest, link, "Exited frame on channel 1: its process has ended").await;
}

#[tokio::test]
async fn anything_before_it_has_started() {
    for message in [stdout(1), exited(0), ToHost::StdinCredit(0)] {
        let (mut guest, link) = FakeGuest::connected().await;
        let (command, defaults) = (Command::new(["true"]), ExecDefaults::default());
        let (process, ()) = joined!(link.exec(&command, &defaults), async {
            let (channel, _) = guest.hear_start().await;
            guest.say(channel, message).await;
        });
        let error = process.map(|_| ()).expect_err("broken");
        assert_eq!(error.kind, ErrorKind::ProtocolBroken);
        assert!(error.why.ends_with("its process has not started"), "{error}");
    }
}

#[tokio::test]
async fn starting_twice() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, _process) = running(&mut guest, &link, &Command::new(["true"])).await;
    guest.say(channel, ToHost::Started(6)).await;
    assert_broken(guest, link, "Started frame on channel 1: its process has started already").await;
}

#[tokio::test]
async fn output_that_is_empty() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, _process) = running(&mut guest, &link, &Command::new(["true"])).await;
    guest.say(channel, ToHost::Stderr(Bytes::new())).await;
    assert_broken(guest, link, "Stderr frame on channel 1: it carries nothing").await;
}

#[tokio::test]
async fn credit_for_stdin_that_was_never_sent() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, process) = running(&mut guest, &link, &cat()).await;
    process.control().write_stdin(Bytes::from_static(b"abc")).await.expect("sent");
    assert!(matches!(guest.hear().await, (1, ToGuest::Stdin(_))));
    guest.say(channel, ToHost::StdinCredit(4)).await;
    let why = "StdinCredit frame on channel 1: 4 bytes were taken of 3 that were sent";
    assert_broken(guest, link, why).await;
}

#[tokio::test]
async fn being_ready_twice() {
    let (mut guest, link) = FakeGuest::connected().await;
    guest.say(0, ToHost::Ready(ready(hello().token))).await;
    assert_broken(guest, link, "Ready frame: it came a second time").await;
}

#[tokio::test]
async fn a_pong_that_nobody_asked_for() {
    let (mut guest, link) = FakeGuest::connected().await;
    guest.say(0, ToHost::Pong(1)).await;
    assert_broken(guest, link, "Pong frame: nothing was asked").await;
}

#[tokio::test]
async fn a_pong_with_another_number() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (answer, ()) = joined!(link.ping(), async {
        let (0, ToGuest::Ping(number)) = guest.hear().await else { panic!("a ping") };
        guest.say(0, ToHost::Pong(number + 1)).await;
    });
    assert_eq!(answer.expect_err("broken").kind, ErrorKind::ProtocolBroken);
    assert_broken(guest, link, "Pong frame: it answers ping 2, and 1 was asked").await;
}

#[tokio::test]
async fn a_frame_of_the_whole_stream_on_a_channel() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, _process) = running(&mut guest, &link, &Command::new(["true"])).await;
    guest.say(channel, ToHost::Fault("no".into())).await;
    assert_broken(guest, link, "Fault frame on channel 1: it belongs to no channel").await;
}

#[tokio::test]
async fn bytes_that_are_no_frame() {
    let malformed: [&[u8]; 4] = [
        &[0xff; HEADER_LEN],                    // longer than the cap
        &[0, 0, 0, 0, 99, 0, 0, 0, 0],          // an unknown kind
        &[0, 0, 0, 0, 1, 0, 0, 0, 0],           // Hello, from the wrong side
        &[3, 0, 0, 0, 70, 1, 0, 0, 0, 9, 9, 9], // an exit that does not parse
    ];
    for bytes in malformed {
        let (mut guest, link) = FakeGuest::connected().await;
        let (_, mut process) = running(&mut guest, &link, &Command::new(["true"])).await;
        guest.say_bytes(bytes).await;
        assert_eq!(soon(process.next()).await.expect_err("broken").kind, ErrorKind::ProtocolBroken);
        assert!(closed(&link).await.is_broken());
    }
}

#[tokio::test]
async fn everything_that_waits_fails_at_once() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, mut process) = running(&mut guest, &link, &cat()).await;
    let control = process.control();
    let (command, defaults) = (Command::new(["true"]), ExecDefaults::default());
    let (next, write, exec, ping, ()) = joined!(
        process.next(),
        control.write_stdin(Bytes::from(vec![0; 3 << 20])),
        link.exec(&command, &defaults),
        link.ping(),
        async {
            let mut heard = 0;
            while heard < 1 << 20 {
                if let (_, ToGuest::Stdin(bytes)) = guest.hear().await {
                    heard += bytes.len();
                }
            }
            guest.say(channel + 9, exited(0)).await;
        }
    );
    for kind in [
        next.map(|_| ()).expect_err("broken").kind,
        write.expect_err("broken").kind,
        exec.map(|_| ()).expect_err("broken").kind,
        ping.map(|_| ()).expect_err("broken").kind,
    ] {
        assert_eq!(kind, ErrorKind::ProtocolBroken);
    }
}

#[tokio::test]
async fn the_end_of_the_stream_is_no_breach_and_what_came_before_is_kept() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (channel, mut process) = running(&mut guest, &link, &Command::new(["true"])).await;
    guest.say(channel, stdout(3)).await;
    guest.say_bytes(&[5, 0, 0]).await;
    drop(guest);
    assert_eq!(closed(&link).await.why, "the stream ended within a frame");
    assert!(soon(process.next()).await.is_ok(), "output that had come");
    let error = soon(process.next()).await.expect_err("gone");
    assert_eq!(error.kind, ErrorKind::SandboxGone);
    assert_eq!(process.control().close_stdin().await.expect_err("gone").kind, ErrorKind::SandboxGone);
}

#[tokio::test]
async fn a_guest_that_gives_up_is_quoted_to_everyone() {
    let (mut guest, link) = FakeGuest::connected().await;
    let (_, mut process) = running(&mut guest, &link, &Command::new(["true"])).await;
    guest.say(0, ToHost::Fault("the host broke a rule".into())).await;
    let error = soon(process.next()).await.expect_err("gone");
    assert_eq!(error.kind, ErrorKind::SandboxGone);
    assert_eq!(error.why, "the guest agent says: the host broke a rule");
    assert_eq!(closed(&link).await.reason, CloseReason::GaveUp);
}

/// Numbers without a pattern, the same in every run.
fn random(state: &mut u64) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).expect("31 bits")
}

#[tokio::test]
async fn no_guest_can_make_the_host_panic_or_hang() {
    let mut state = 1;
    for _ in 0..500 {
        let (mut guest, link) = FakeGuest::connected().await;
        let (_, mut process) = running(&mut guest, &link, &cat()).await;
        for _ in 0..20 {
            let kinds = [65, 66, 67, 68, 68, 68, 69, 69, 70, 71, 72, 73];
            let len = random(&mut state) % 12;
            let mut frame = vec![u8::try_from(len).expect("small"), 0, 0, 0];
            frame.push(kinds[random(&mut state) % kinds.len()]);
            frame.extend([u8::try_from(random(&mut state) % 3).expect("small"), 0, 0, 0]);
            frame.extend((0..len).map(|_| u8::try_from(random(&mut state) % 256).expect("a byte")));
            if !guest.try_say_bytes(&frame).await {
                break;
            }
        }
        drop(guest);
        while !matches!(soon(process.next()).await, Err(_) | Ok(ProcessEvent::Exited(_))) {}
        let closed = closed(&link).await;
        assert!(!closed.why.contains("the task"), "{closed:?}");
    }
}

#[test]
fn a_link_whose_runtime_has_ended_keeps_nobody_waiting() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let first = runtime();
    let (_guest, link, mut process) = first.block_on(async {
        let (mut guest, link) = FakeGuest::connected().await;
        let (_, process) = running(&mut guest, &link, &cat()).await;
        (guest, link, process)
    });
    drop(first);
    runtime().block_on(async {
        assert_eq!(soon(process.next()).await.expect_err("gone").kind, ErrorKind::SandboxGone);
        assert_eq!(link.ping().await.expect_err("gone").kind, ErrorKind::SandboxGone);
    });
}
