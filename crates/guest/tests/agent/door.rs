//! Who gets in by the door, and who does not.

use std::fs::File;
use std::io::{ErrorKind, Read, Write, pipe};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use agentkernel_protocol::{
    Decoder, Direction, FileRequest, HEADER_LEN, Hello, Kind, PROTOCOL_VERSION, Start, ToGuest, ToHost,
    Token, encode,
};
use bytes::BytesMut;

use crate::client::{Guest, PATIENCE, until};
use crate::launch::{hello, program};
use crate::porter::{Porter, at_door, at_end, running};
use crate::request::{file, shell, words};
use crate::stop::{state, until_gone};

fn frame_of(message: &ToGuest) -> BytesMut {
    let mut frame = BytesMut::new();
    encode(0, message, &mut frame).expect("a message that fits");
    frame
}

/// How many sockets a process has, where that can be told.
fn sockets_of(pid: u32) -> Option<usize> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
    let targets = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let sockets = targets.filter(|target| target.to_string_lossy().starts_with("socket:"));
    Some(sockets.collect::<std::collections::BTreeSet<_>>().len())
}

/// What a stranger with these first bytes is told before the door is shut.
fn answer_to(porter: &Porter, bytes: &[u8]) -> String {
    let mut stream = porter.bring();
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    stream.write_all(bytes).expect("taken");
    let mut decoder = Decoder::new(Direction::ToHost);
    let mut heard = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut heard) {
        decoder.push(&heard[..len]);
    }
    let frame = decoder.next_frame().expect("a frame").expect("a whole one");
    assert!(decoder.is_between_frames(), "and nothing else");
    match frame.try_into() {
        Ok(ToHost::Fault(reason)) => reason,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn another_token_is_refused_and_the_right_one_is_let_in_afterwards() {
    let (mut guest, porter) = Guest::with_door();
    let (channel, pid) = guest.started(words(&["sleep", "1000"]));
    guest.lose_host();
    for bit in [0, 100, 255] {
        let mut token = hello().token;
        token.0[bit / 8] ^= 1 << (bit % 8);
        let stranger = frame_of(&ToGuest::Hello(Hello { token, ..hello() }));
        assert_eq!(answer_to(&porter, &stranger), "the token is not this sandbox's");
    }
    assert_eq!(guest.find_host(&porter).survivors, [running(channel, pid, 0)]);
    assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n");
}

#[test]
fn whoever_does_not_greet_properly_is_sent_away_and_ends_nothing() {
    let (mut guest, porter) = Guest::with_door();
    let (channel, pid) = guest.started(words(&["sleep", "1000"]));
    guest.lose_host();
    let other = frame_of(&ToGuest::Hello(Hello { protocol: PROTOCOL_VERSION + 1, ..hello() }));
    assert_eq!(answer_to(&porter, &other), "the host speaks protocol 5, the guest protocol 4");
    assert_eq!(answer_to(&porter, &frame_of(&ToGuest::Shutdown)), "the first frame must be Hello");
    let wrong_side = [&[0; 4][..], &[Kind::Ready as u8], &[0; 4]].concat();
    assert_eq!(answer_to(&porter, &wrong_side), "frame kind Ready came from the wrong side");
    assert!(answer_to(&porter, b"GET / HTTP/1.1\r\n\r\n").contains("exceeds the cap"));
    drop(porter.bring()); // gone before it has said a word
    assert_eq!(guest.find_host(&porter).survivors, [running(channel, pid, 0)]);
}

#[test]
fn a_stranger_does_not_disturb_the_host_and_a_successor_replaces_it() {
    let (mut guest, porter) = Guest::with_door();
    let (channel, pid) = guest.started(words(&["cat"]));
    let write = FileRequest::Write { path: b"/tmp/never".to_vec(), mode: 0o600 };
    let (_, worker_pid) = guest.started(file(write));
    let stranger = frame_of(&ToGuest::Hello(Hello { token: Token([0; 32]), ..hello() }));
    assert_eq!(answer_to(&porter, &stranger), "the token is not this sandbox's");
    let silent = porter.bring();
    guest.send(0, &ToGuest::Ping(1));
    assert_eq!(guest.next(), Some((0, ToHost::Pong(1))), "the host is still the host");
    let mut first = porter.bring();
    assert!(at_end(silent), "who has said nothing has to make room for the next one");
    // What the host says just before it is replaced is done; whom it is answered to is another matter.
    guest.send(channel, &ToGuest::Stdin("before".into()));
    first.write_all(&frame_of(&ToGuest::Hello(hello()))).expect("taken");
    let mut heard = Vec::new();
    while let Some((_, message)) = guest.next() {
        heard.push(message);
    }
    guest.talk_over(first);
    let Some((0, ToHost::Ready(ready))) = guest.next() else { panic!("not ready") };
    assert_eq!(ready.survivors.iter().map(|one| one.pid).collect::<Vec<_>>(), [pid]);
    until_gone(&[worker_pid]);
    guest.send(channel, &ToGuest::StdinEnd);
    while !matches!(heard.last(), Some(ToHost::Exited(_))) {
        heard.push(guest.next_of(channel));
    }
    let said = heard.iter().filter(|message| **message == ToHost::Stdout("before".into()));
    assert_eq!(said.count(), 1, "{heard:?}");
}

#[test]
fn a_silent_newcomer_is_left_and_delays_nobody() {
    let (mut guest, porter) = Guest::with_door();
    let limited = Start { timeout_ms: Some(1000), ..shell("trap '' TERM; while :; do sleep 0.1; done") };
    let (limited, limited_pid) = guest.started(limited);
    let (channel, pid) = guest.started(words(&["sleep", "1000"]));
    guest.lose_host();
    let mut silent = porter.bring();
    silent.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    silent.write_all(&[100, 0, 0, 0, Kind::Hello as u8, 0]).expect("taken"); // a beginning is no greeting
    until("its time was up", || state(limited_pid).is_none());
    silent.set_nonblocking(true).expect("a socket");
    assert!(silent.read(&mut [0; 16]).is_err(), "it is still waited for");
    silent.set_nonblocking(false).expect("a socket");
    assert!(at_end(silent));
    let survivors = guest.find_host(&porter).survivors;
    assert_eq!((survivors[0].channel, &survivors[1..]), (limited, &[running(channel, pid, 0)][..]));
    assert!(survivors[0].ended.as_ref().is_some_and(|exited| exited.timed_out), "{survivors:?}");
}

/// The end of a stream on which a host has greeted as it should, and the end for the agent.
fn greeted() -> (UnixStream, UnixStream) {
    let (mut ours, theirs) = UnixStream::pair().expect("a socket pair");
    ours.write_all(&frame_of(&ToGuest::Hello(hello()))).expect("taken");
    (ours, theirs)
}

/// Whether the agent has closed its end, and has not said a word on it.
fn is_unheard(mut stream: UnixStream) -> bool {
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    // It is reset by who closes it without having read what came.
    matches!(stream.read(&mut [0; 16]).map_err(|error| error.kind()), Ok(0) | Err(ErrorKind::ConnectionReset))
}

#[test]
fn messages_without_one_stream_are_ignored_and_what_they_bring_is_closed() {
    let (mut guest, porter) = Guest::with_door();
    let (channel, pid) = guest.started(words(&["sleep", "1000"]));
    guest.lose_host();
    for count in [2, 3, 8] {
        let (ours, theirs): (Vec<_>, Vec<_>) = (0..count).map(|_| greeted()).unzip();
        porter.knock(b"s", &theirs.iter().map(AsFd::as_fd).collect::<Vec<_>>());
        drop(theirs);
        assert!(ours.into_iter().all(is_unheard), "{count} at once");
    }
    for text in [&b""[..], b"s", &[b's'; 1000]] {
        porter.knock(text, &[]);
    }
    // What is one descriptor, but no stream that anybody could speak on.
    let (reader, writer) = pipe().expect("a pipe");
    porter.knock(b"", &[writer.as_fd()]);
    drop(writer);
    assert!(at_end(reader));
    for path in ["/dev/null", "/", "/proc/self/exe"] {
        porter.knock(b"s", &[File::open(path).expect("there").as_fd()]);
    }
    porter.knock(b"", &[]);
    assert_eq!(guest.find_host(&porter).survivors, [running(channel, pid, 0)]);
}

#[test]
fn whatever_the_message_says_and_however_often_it_comes() {
    let (mut guest, porter) = Guest::with_door();
    let (channel, pid) = guest.started(words(&["sleep", "1000"]));
    for text in [&b""[..], b"stream", &[0xff; 5000]] {
        guest.lose_host();
        let (ours, theirs) = UnixStream::pair().expect("a socket pair");
        porter.knock(text, &[theirs.as_fd()]);
        drop(theirs);
        guest.talk_over(ours);
        // All in one go, and in pieces of a byte.
        let mut frames = frame_of(&ToGuest::Hello(hello()));
        frames.unsplit(frame_of(&ToGuest::Ping(7)));
        frames.chunks(if text.is_empty() { 1 } else { 999 }).for_each(|piece| guest.send_bytes(piece));
        let Some((0, ToHost::Ready(ready))) = guest.next() else { panic!("not ready") };
        assert_eq!((ready.last_channel, ready.survivors), (channel, vec![running(channel, pid, 0)]));
        assert_eq!(guest.next(), Some((0, ToHost::Pong(7))));
    }
}

#[test]
fn a_door_that_closes_while_nobody_is_there_is_the_end() {
    let (mut guest, porter) = Guest::with_door();
    let (_, pid) = guest.started(shell("trap '' TERM HUP; setsid sleep 1000 & wait"));
    guest.lose_host();
    assert_eq!(guest.find_host(&porter).survivors.len(), 1);
    guest.lose_host();
    drop(porter);
    assert_eq!(guest.end().code(), Some(0));
    until_gone(&[pid]);
}

#[test]
fn without_a_door_any_more_the_end_of_the_stream_is_the_end() {
    let (mut guest, porter) = Guest::with_door();
    let (_, pid) = guest.started(words(&["sleep", "1000"]));
    drop(porter);
    // A child that another test is just forking may have our end of it for a moment longer.
    until("the agent has shut its door", || sockets_of(guest.pid()).is_none_or(|number| number == 1));
    assert_eq!(guest.run(words(&["echo", "fine"])).text(), "fine\n", "the host is still there");
    guest.send_bytes(&[5, 0, 0, 0, Kind::Stdin as u8]);
    guest.hush();
    assert_eq!(guest.fault(), ("the stream ends within a frame".into(), Some(5)));
    until_gone(&[pid]);
}

#[test]
fn a_breach_of_the_protocol_is_the_end_with_a_door_as_well() {
    let (mut guest, porter) = Guest::with_door();
    let (_, pid) = guest.started(words(&["sleep", "1000"]));
    guest.change_host(&porter);
    guest.send_bytes(&[0xff; HEADER_LEN]);
    assert_eq!(guest.fault().1, Some(5));
    until_gone(&[pid]);
    let (mut guest, _porter) = Guest::with_door();
    guest.send(0, &ToGuest::Hello(hello()));
    assert_eq!(guest.fault(), ("a second Hello".into(), Some(5)));
}

#[test]
fn an_agent_that_nobody_has_greeted_has_nothing_to_wait_for() {
    let (porter, door) = Porter::new();
    let mut guest = Guest::spawn(at_door("\"$0\"", door));
    let _newcomer = porter.bring();
    guest.hush();
    assert_eq!(guest.end().code(), Some(3));
}

#[test]
fn what_is_no_door_is_told() {
    let complaint = |command: &mut std::process::Command| {
        let output = command.output().expect("it runs");
        (output.status.code(), String::from_utf8(output.stderr).expect("text"))
    };
    let (code, reason) = complaint(program().arg("--door"));
    assert_eq!(code, Some(2));
    assert_eq!(reason, "agentkernel-guest: door: Bad file descriptor (os error 9)\n");
    let mut shell = crate::launch::command(Path::new("/bin/sh"));
    shell.args(["-c", "exec \"$0\" --door 3</dev/null", env!("CARGO_BIN_EXE_agentkernel-guest")]);
    assert!(complaint(&mut shell).1.contains("Socket operation on non-socket"));
    let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
    let mut shell = crate::launch::command(Path::new("/bin/sh"));
    shell.args(["-c", "exec \"$0\" --door 3<&0", env!("CARGO_BIN_EXE_agentkernel-guest")]);
    let (_, reason) = complaint(shell.stdin(OwnedFd::from(ours)));
    assert_eq!(reason, "agentkernel-guest: door: it is no AF_UNIX socket of type SOCK_SEQPACKET\n");
    for twice in [["--door", "--door"], ["--stdio", "--stdio"]] {
        assert!(complaint(program().args(twice)).1.contains("usage"));
    }
}
