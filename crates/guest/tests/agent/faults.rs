//! Hosts that break the rules, and what the agent does about it.

use std::path::Path;

use agentkernel_protocol::{
    Direction, HEADER_LEN, Hello, Kind, MAX_PAYLOAD, PROTOCOL_VERSION, STDIN_WINDOW, Status, ToGuest, ToHost,
    encode,
};
use bytes::{Bytes, BytesMut};

use crate::client::Guest;
use crate::launch::{TOKEN, hello, program};
use crate::request::words;

fn header(len: u32, kind: u8, channel: u32) -> Vec<u8> {
    [&len.to_le_bytes()[..], &[kind], &channel.to_le_bytes()].concat()
}

/// Sends raw bytes to an agent on which a process runs; returns the fault, which must end both.
fn fault_of(bytes: &[u8]) -> String {
    let mut guest = Guest::ready();
    let (_, pid) = guest.started(words(&["sleep", "1000"]));
    guest.send_bytes(bytes);
    let (reason, code) = guest.fault();
    assert_eq!(code, Some(5), "{reason}");
    assert!(!Path::new(&format!("/proc/{pid}")).exists(), "it was killed: {reason}");
    reason
}

fn fault_of_message(channel: u32, message: &ToGuest) -> String {
    let mut frame = BytesMut::new();
    encode(channel, message, &mut frame).expect("a message that fits");
    fault_of(&frame)
}

#[test]
fn malformed_frames_end_the_sandbox() {
    let stdin = Kind::Stdin as u8;
    assert_eq!(fault_of(&header(u32::MAX, stdin, 1)), "frame of 4294967295 bytes exceeds the cap of 262144");
    let too_long = u32::try_from(MAX_PAYLOAD).expect("it fits") + 1;
    assert_eq!(fault_of(&header(too_long, stdin, 1)), "frame of 262145 bytes exceeds the cap of 262144");
    for kind in [0, 12, 64, 76, 255] {
        assert_eq!(fault_of(&header(0, kind, 1)), format!("unknown frame kind {kind}"));
    }
    for kind in Kind::ALL.iter().filter(|kind| kind.direction() == Direction::ToHost) {
        assert_eq!(
            fault_of(&header(0, *kind as u8, 1)),
            format!("frame kind {kind:?} came from the wrong side")
        );
    }
    for kind in [Kind::Start, Kind::Credit, Kind::Signal, Kind::Resize, Kind::Ping, Kind::Hello, Kind::Renew]
    {
        let reason = fault_of(&header(0, kind as u8, 1));
        assert_eq!(reason, format!("malformed {kind:?} frame: body does not parse"));
    }
    let signal = [header(2, Kind::Signal as u8, 1), vec![65, 0]].concat();
    assert_eq!(fault_of(&signal), "malformed Signal frame: no such signal");
}

#[test]
fn frames_on_the_wrong_channel_end_the_sandbox() {
    let never = "a frame for channel 2, which was never opened";
    assert_eq!(fault_of_message(2, &ToGuest::StdinEnd), never);
    assert!(fault_of_message(0, &ToGuest::StdinEnd).contains("channel 0"));
    assert_eq!(fault_of_message(1, &ToGuest::Ping(1)), "a frame for the whole stream came on a channel");
    assert_eq!(fault_of_message(1, &ToGuest::Hold), "a frame for the whole stream came on a channel");
    assert_eq!(fault_of_message(0, &ToGuest::Renew(String::new())), "nothing is held");
    assert_eq!(fault_of_message(0, &ToGuest::Hello(hello())), "a second Hello");
    for channel in [0, 1] {
        let reason = fault_of_message(channel, &ToGuest::Start(Box::new(words(&["true"]))));
        assert_eq!(reason, format!("channel {channel} was opened before, or is none"));
    }
}

#[test]
fn what_nobody_can_renew_is_not_held_and_goes_on() {
    let mut guest = Guest::ready();
    guest.send(0, &ToGuest::Hold);
    let answer = guest.next();
    assert_eq!(answer, Some((0, ToHost::Held(Some("nobody can renew this".into())))));
    assert_eq!(guest.run(words(&["true"])).status(), Status::Code(0));
}

#[test]
fn the_number_of_an_ended_channel_is_used_up() {
    let mut guest = Guest::ready();
    guest.run(words(&["true"]));
    guest.refused(words(&["no such program"]));
    guest.send(2, &ToGuest::Start(Box::new(words(&["true"]))));
    assert_eq!(guest.fault(), ("channel 2 was opened before, or is none".into(), Some(5)));
}

#[test]
fn more_stdin_than_was_agreed_ends_the_sandbox() {
    let mut guest = Guest::ready();
    let (channel, _) = guest.started(words(&["sleep", "1000"]));
    for _ in 0..STDIN_WINDOW / 131_072 + 1 {
        guest.send(channel, &ToGuest::Stdin(Bytes::from(vec![0; 131_072])));
    }
    assert_eq!(guest.fault(), ("more stdin than its window allows".into(), Some(5)));
    let mut guest = Guest::ready();
    let (channel, _) = guest.started(words(&["sleep", "1000"]));
    guest.send(channel, &ToGuest::StdinEnd);
    guest.send(channel, &ToGuest::StdinEnd);
    guest.send(channel, &ToGuest::Stdin(Bytes::from_static(b"more")));
    assert_eq!(guest.fault(), ("stdin after its end".into(), Some(5)));
}

#[test]
fn a_stream_that_ends_within_a_frame_is_a_fault() {
    for len in [1, HEADER_LEN, HEADER_LEN + 2] {
        let mut guest = Guest::ready();
        let frame = [header(5, Kind::Stdin as u8, 1), b"hello".to_vec()].concat();
        guest.send_bytes(&frame[..len]);
        guest.hush();
        assert_eq!(guest.fault(), ("the stream ends within a frame".into(), Some(5)));
    }
}

#[test]
fn a_frame_may_come_in_any_pieces() {
    let mut guest = Guest::ready();
    let mut frames = BytesMut::new();
    encode(1, &ToGuest::Start(Box::new(words(&["cat"]))), &mut frames).expect("it fits");
    encode(1, &ToGuest::Stdin(Bytes::from_static(b"piece by piece")), &mut frames).expect("it fits");
    encode(1, &ToGuest::StdinEnd, &mut frames).expect("it fits");
    for byte in frames {
        guest.send_bytes(&[byte]);
    }
    guest.await_text(1, "piece by piece");
    guest.exited(1);
}

#[test]
fn a_million_tiny_frames_are_answered_within_bounded_memory() {
    let mut guest = Guest::ready();
    let mut frames = BytesMut::new();
    for _ in 0..1000 {
        encode(0, &ToGuest::Ping(1), &mut frames).expect("it fits");
    }
    // First without listening, until the agent takes no more: it must not collect answers for ever.
    let mut sent = guest.send_until_blocked(&frames);
    let rss = std::fs::read_to_string(format!("/proc/{}/status", guest.pid())).expect("its status");
    let rss =
        rss.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    let rss: u64 = rss.expect("its resident memory");
    assert!(rss < 12 * 1024, "{rss} KiB, of a program that was not built to be small");
    let mut answered = 0;
    while answered < 1_000_000 {
        let whole = sent - sent % frames.len();
        let pings = whole / (frames.len() / 1000);
        if answered < pings {
            assert_eq!(guest.next(), Some((0, ToHost::Pong(1))));
            answered += 1;
        } else {
            // What was cut off goes first.
            guest.send_bytes(&frames[sent % frames.len()..]);
            sent = whole + frames.len();
        }
    }
    assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
}

#[test]
fn a_host_of_another_protocol_is_told_both_versions() {
    let mut guest = Guest::strange();
    guest.send(0, &ToGuest::Hello(Hello { protocol: PROTOCOL_VERSION + 1, ..hello() }));
    assert_eq!(guest.fault(), ("the host speaks protocol 5, the guest protocol 4".into(), Some(4)));
}

#[test]
fn the_first_frame_must_be_the_greeting() {
    let mut guest = Guest::strange();
    guest.send(0, &ToGuest::Ping(1));
    assert_eq!(guest.fault(), ("the first frame must be Hello".into(), Some(5)));
    let mut guest = Guest::strange();
    guest.send_bytes(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(guest.fault().1, Some(5));
}

#[test]
fn a_host_that_says_nothing_is_left() {
    let mut guest = Guest::strange();
    guest.hush();
    assert_eq!(guest.end().code(), Some(3), "no greeting will come");
    let mut guest = Guest::strange();
    guest.send_bytes(&header(100, Kind::Hello as u8, 0)); // a beginning is not a greeting
    assert_eq!(guest.next(), None);
    assert_eq!(guest.end().code(), Some(3));
}

#[test]
fn the_greeting_is_answered_with_its_token() {
    let mut guest = Guest::strange();
    let ready = guest.greet();
    assert_eq!((ready.protocol, ready.token, ready.pid), (PROTOCOL_VERSION, TOKEN, guest.pid()));
    assert_eq!(ready.build, option_env!("AGENTKERNEL_GUEST_BUILD").unwrap_or("dev"));
    assert!(0 < ready.started_ns && ready.started_ns <= ready.ready_ns, "{ready:?}");
}

#[test]
fn who_starts_it_wrongly_is_told() {
    let output = program().arg("--help").output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(output.stderr, concat!("agentkernel-guest: usage: agentkernel-guest [--stdio] [--door | --door-on-stdout] [--lend-memory] [--tell-size] ", "| await NAME UID FILTERS | pass NAME | report | machine\n").as_bytes());
}

#[test]
fn processes_of_the_same_user_cannot_look_into_the_agent() {
    let mut guest = Guest::ready_as_nobody();
    // Started by root, the agent has the right to be secretive; the test must not be root itself.
    for file in ["environ", "mem", "maps", "fd/64", "auxv"] {
        let path = format!("/proc/{}/{file}", guest.pid());
        let outcome = guest.run(words(&["cat", &path]));
        let reason = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(reason.contains("Permission denied"), "{path}: {reason:?}, {:?}", outcome.status());
    }
    let own = guest.run(words(&["cat", "/proc/self/environ"]));
    assert!(own.stdout.starts_with(b"PATH="), "a process can look into itself: {own:?}");
}

#[test]
fn the_standard_streams_of_a_container_are_a_stream_as_well() {
    let mut guest = Guest::ready_on_stdio();
    assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
    assert!(guest.close().success());
}

#[test]
fn an_agent_of_another_build_is_not_served() {
    // Only a build that names itself can tell; one made by hand serves any host, and is covered by
    // the unit tests of the greeting.
    if let Some(build) = option_env!("AGENTKERNEL_GUEST_BUILD") {
        let mut guest = Guest::strange();
        guest.send(0, &ToGuest::Hello(Hello { build: "another".into(), ..hello() }));
        let expected = format!("the host expects guest build \"another\", this is build {build:?}");
        assert_eq!(guest.fault(), (expected, Some(4)));
    }
}
