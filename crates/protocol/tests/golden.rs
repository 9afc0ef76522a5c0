//! The exact bytes of frames and records. The wire format is a promise: whoever changes one of these
//! must change `PROTOCOL_VERSION` as well.

use agentkernel_protocol::{
    Accept, Direction, Encodable, Exec, Exited, FileError, FileInfo, FileKind, FileRequest, Frame,
    HEADER_LEN, Hello, Kind, MAX_PAYLOAD, Mount, PROTOCOL_VERSION, Passing, Ready, Refused, Signal, Stage,
    Start, Status, StdinMode, Stream, Survivor, Task, ToGuest, ToHost, Token, Usage, UserIds, WindowSize,
    encode, encode_record,
};
use bytes::{Bytes, BytesMut};

/// Bytes as text: two digits each, what belongs together in one word.
fn bytes(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter(|digit| !digit.is_whitespace()).collect();
    let byte = |pair: &[char]| u8::from_str_radix(&pair.iter().collect::<String>(), 16).expect("two digits");
    digits.chunks(2).map(byte).collect()
}

fn is(channel: u32, message: &impl Encodable, expected: &str) {
    let mut frame = BytesMut::new();
    encode(channel, message, &mut frame).expect("a message that fits");
    assert_eq!(frame[..], bytes(expected), "{frame:02x?}");
}

fn start(task: Task, user: Option<UserIds>, timeout_ms: Option<u64>, output_window: u32) -> ToGuest {
    ToGuest::Start(Box::new(Start { task, user, timeout_ms, output_window }))
}

#[test]
fn these_are_the_numbers_of_version_four() {
    assert_eq!((PROTOCOL_VERSION, HEADER_LEN, MAX_PAYLOAD), (4, 9, 262_144));
    let kinds: Vec<_> = Kind::ALL.iter().map(|kind| (*kind as u8, kind.direction())).collect();
    let expected = (1..=11).map(|kind| (kind, Direction::ToGuest));
    let expected = expected.chain((65..=75).map(|kind| (kind, Direction::ToHost)));
    assert_eq!(kinds, expected.collect::<Vec<_>>());
}

#[test]
fn the_greeting_is_these_bytes() {
    let mount = Mount {
        source: "proc".into(),
        target: "/proc".into(),
        fstype: "proc".into(),
        flags: 14,
        data: String::new(),
    };
    let token = Token([0xab; 32]);
    let hello = Hello { protocol: 3, build: "b7".into(), token, mounts: vec![mount], output_window: 300 };
    let token_bytes = "ab".repeat(32);
    is(
        0,
        &ToGuest::Hello(hello),
        &format!(
            "39000000 01 00000000  03 026237 {token_bytes} 01 0470726f63 052f70726f63 0470726f63 0e 00 ac02"
        ),
    );
    let (build, survivors) = ("b7".into(), Vec::new());
    let ready =
        Ready { protocol: 3, build, token, started_ns: 1, ready_ns: 300, pid: 1, last_channel: 0, survivors };
    is(0, &ToHost::Ready(ready), &format!("2a000000 41 00000000  03 026237 {token_bytes} 01 ac02 01 00 00"));
}

#[test]
fn the_greeting_of_a_second_host_is_these_bytes() {
    let usage = Usage { user_us: 1, system_us: 2, max_rss_kib: 3, wall_ns: 300 };
    let ended = Exited { status: Status::Signal(9), timed_out: true, usage };
    let runs = Survivor {
        channel: 2,
        pid: 300,
        has_terminal: true,
        stdin_free: Some(1),
        lost_bytes: 65_536,
        ended: None,
    };
    let ended = Survivor {
        channel: 300,
        pid: 4,
        has_terminal: false,
        stdin_free: None,
        lost_bytes: 0,
        ended: Some(ended),
    };
    let ready = Ready {
        protocol: 3,
        build: String::new(),
        token: Token([0xab; 32]),
        started_ns: 1,
        ready_ns: 2,
        pid: 1,
        last_channel: 301,
        survivors: vec![runs, ended],
    };
    let survivors = "02  02 ac02 01 01 01 808004 00  ac02 04 00 00 00 01 01 09 01 01 02 03 ac02";
    let token = "ab".repeat(32);
    let body = format!("03 00 {token} 01 02 01 ad02 {survivors}");
    is(0, &ToHost::Ready(ready), &format!("41000000 41 00000000  {body}"));
}

#[test]
fn a_start_is_these_bytes() {
    let exec = Exec {
        argv: vec![b"ls".to_vec(), b"-l".to_vec()],
        env: vec![(b"A".to_vec(), b"\xff".to_vec())],
        cwd: b"/".to_vec(),
        stdin: StdinMode::Pipe,
        terminal: Some(WindowSize { rows: 24, cols: 80 }),
    };
    is(
        1,
        &start(Task::Exec(exec), Some(UserIds { uid: 1000, gid: 0 }), Some(5000), 1 << 20),
        "1d000000 02 01000000  00 02 026c73 022d6c 01 0141 01ff 012f 01 01 18 50  01 e807 00  01 8827  808040",
    );
    let read = FileRequest::Read { path: b"/f".to_vec(), offset: 0, length: Some(1) };
    is(2, &start(Task::File(read), None, None, 0), "0b000000 02 02000000  01 00 022f66 00 01 01  00 00 00");
    let accept = Accept { path: b"/s".to_vec() };
    is(3, &start(Task::Accept(accept), None, None, 0), "07000000 02 03000000  02 022f73  00 00 00");
}

#[test]
fn the_frames_of_a_channel_are_these_bytes() {
    is(5, &ToGuest::Stdin(Bytes::from_static(b"hi")), "02000000 03 05000000  6869");
    is(5, &ToGuest::StdinEnd, "00000000 04 05000000");
    is(5, &ToGuest::Credit(Stream::Stderr, 300), "03000000 05 05000000  01 ac02");
    is(5, &ToGuest::Signal(Signal { number: 15, group: true }), "02000000 06 05000000  0f 01");
    is(5, &ToGuest::Resize(WindowSize { rows: 1, cols: 300 }), "03000000 07 05000000  01 ac02");
    is(0, &ToGuest::Ping(7), "01000000 08 00000000  07");
    is(0, &ToGuest::Shutdown, "00000000 09 00000000");
    is(5, &ToHost::Started(300), "02000000 42 05000000  ac02");
    let refused = Refused { stage: Stage::Lookup, errno: 2, subject: "x".into() };
    is(5, &ToHost::Refused(refused), "04000000 43 05000000  03 04 0178");
    is(5, &ToHost::Stdout(Bytes::from_static(b"\0")), "01000000 44 05000000  00");
    is(u32::MAX, &ToHost::Stderr(Bytes::new()), "00000000 45 ffffffff");
    let usage = Usage { user_us: 1, system_us: 2, max_rss_kib: 3, wall_ns: 300 };
    let exited = Exited { status: Status::Signal(9), timed_out: true, usage };
    is(5, &ToHost::Exited(exited), "08000000 46 05000000  01 09 01 01 02 03 ac02");
    is(5, &ToHost::StdinCredit(65536), "03000000 47 05000000  808004");
    is(0, &ToHost::Pong(u64::MAX), "0a000000 48 00000000  ffffffffffffffffff01");
    is(0, &ToHost::Fault("no".into()), "03000000 49 00000000  026e6f");
}

#[test]
fn holding_and_renewing_are_these_bytes() {
    is(0, &ToGuest::Hold, "00000000 0a 00000000");
    is(0, &ToGuest::Renew("a".into()), "02000000 0b 00000000  0161");
    is(0, &ToHost::Held(None), "01000000 4a 00000000  00");
    is(0, &ToHost::Held(Some("no".into())), "04000000 4a 00000000  01 026e6f");
    is(0, &ToHost::Renewed("a".into()), "02000000 4b 00000000  0161");
}

#[test]
fn frames_are_read_as_they_are_written() {
    let mut decoder = agentkernel_protocol::Decoder::new(Direction::ToHost);
    decoder.push(&bytes("02000000 44 05000000 6869 00000000 45"));
    let expected = Frame { kind: Kind::Stdout, channel: 5, payload: Bytes::from_static(b"hi") };
    assert_eq!(decoder.next_frame(), Ok(Some(expected)));
    assert_eq!((decoder.next_frame(), decoder.is_between_frames()), (Ok(None), false));
}

#[test]
fn records_are_these_bytes() {
    let info = FileInfo {
        name: b"f".to_vec(),
        kind: FileKind::Symlink,
        size: 1,
        mode: 0o777,
        uid: 0,
        gid: 300,
        modified_ns: -1,
        target: Some(b"t".to_vec()),
    };
    assert_eq!(encode_record(&Passing::Accepted), bytes("01000000  00"));
    assert_eq!(encode_record(&Passing::Said(300)), bytes("03000000  01 ac02"));
    assert_eq!(encode_record(&info), bytes("0d000000  0166 02 01 ff03 00 ac02 01 01 0174"));
    let error = FileError { errno: 28, message: "m".into() };
    assert_eq!(encode_record(&error), bytes("03000000  38 016d"));
}
