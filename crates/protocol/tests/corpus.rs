//! The fuzzers' seeds: kept beside them, replayed here in every test run, with whatever they found.
//!
//! To write them anew after a change of the wire format:
//! `cargo test -p agentkernel-protocol --test corpus -- --ignored`

#[path = "../../../fuzz/check.rs"]
mod check;

use std::collections::BTreeMap;
use std::fs::{create_dir_all, read, read_dir, write};
use std::path::PathBuf;

use agentkernel_protocol::{
    Accept, Direction, Encodable, Exec, Exited, FileRequest, HEADER_LEN, Hello, Kind, MAX_PAYLOAD, Mount,
    PROTOCOL_VERSION, Ready, Refused, Signal, Stage, Start, Status, StdinMode, Stream, Survivor, Task,
    ToGuest, ToHost, Token, Usage, UserIds, WindowSize, encode,
};
use bytes::{Bytes, BytesMut};

type Seeds = BTreeMap<&'static str, Vec<u8>>;

/// Frames, after the byte that says in which pieces the fuzzer's bytes arrive.
fn seed(pieces: u8, frames: &[BytesMut]) -> Vec<u8> {
    [&[pieces][..], &frames.concat()].concat()
}

fn frame(channel: u32, message: &impl Encodable) -> BytesMut {
    let mut frame = BytesMut::new();
    encode(channel, message, &mut frame).expect("a message that fits");
    frame
}

fn one(message: &impl Encodable) -> Vec<u8> {
    seed(255, &[frame(1, message)])
}

fn header(len: u32, kind: u8) -> Vec<u8> {
    [&[3][..], &len.to_le_bytes(), &[kind], &[1, 0, 0, 0]].concat()
}

/// What is wrong with a frame of either side, with a kind of that side.
fn broken(kind: Kind, other_side: Kind) -> Seeds {
    let cap = u32::try_from(MAX_PAYLOAD).expect("it fits");
    let mut endless = header(3, kind as u8);
    endless.extend_from_slice(&[0xff; 3]);
    Seeds::from([
        ("broken_cap_and_one", header(cap + 1, kind as u8)),
        ("broken_cut_header", header(0, kind as u8)[..HEADER_LEN].to_vec()),
        ("broken_cut_payload", header(cap, kind as u8)),
        ("broken_empty_body", header(0, kind as u8)),
        ("broken_endless_number", endless),
        ("broken_length", header(u32::MAX, kind as u8)),
        ("broken_kind_0", header(0, 0)),
        ("broken_kind_255", header(0, 255)),
        ("broken_side", header(0, other_side as u8)),
        ("nothing", Vec::new()),
    ])
}

fn start(task: Task) -> ToGuest {
    let user = Some(UserIds { uid: 1000, gid: 1000 });
    ToGuest::Start(Box::new(Start { task, user, timeout_ms: Some(1000), output_window: 1 << 20 }))
}

fn file_seeds() -> Seeds {
    let path = || b"/tmp/file".to_vec();
    let file = |request| one(&start(Task::File(request)));
    Seeds::from([
        ("start_read", file(FileRequest::Read { path: path(), offset: 5, length: Some(9) })),
        ("start_write", file(FileRequest::Write { path: path(), mode: 0o644 })),
        ("start_stat", file(FileRequest::Stat { path: path(), follow: true })),
        ("start_list", file(FileRequest::List { path: path() })),
        ("start_make_dir", file(FileRequest::MakeDir { path: path(), mode: 0o755, parents: true })),
        ("start_remove", file(FileRequest::Remove { path: path(), recursive: true })),
        ("start_rename", file(FileRequest::Rename { from: path(), to: path() })),
        ("start_tar_out", file(FileRequest::TarOut { path: path() })),
        ("start_tar_in", file(FileRequest::TarIn { path: path() })),
    ])
}

fn to_guest_seeds() -> Seeds {
    let exec = || Exec {
        argv: vec![b"sh".to_vec(), b"-c".to_vec(), b"exit 3".to_vec()],
        env: vec![(b"PATH".to_vec(), b"/bin".to_vec())],
        cwd: b"/".to_vec(),
        stdin: StdinMode::Pipe,
        terminal: Some(WindowSize { rows: 24, cols: 80 }),
    };
    let mount = || Mount {
        source: "proc".into(),
        target: "/proc".into(),
        fstype: "proc".into(),
        flags: 14,
        data: String::new(),
    };
    let hello = || {
        let token = Token([7; 32]);
        ToGuest::Hello(Hello {
            protocol: PROTOCOL_VERSION,
            build: "dev".into(),
            token,
            mounts: vec![mount()],
            output_window: 1 << 20,
        })
    };
    let mut seeds = broken(Kind::Start, Kind::Ready);
    seeds.extend(file_seeds());
    seeds.extend([
        ("hello", one(&hello())),
        ("start_exec", one(&start(Task::Exec(exec())))),
        ("start_accept", one(&start(Task::Accept(Accept { path: b"/dev/shm/a".to_vec() })))),
        ("stdin", one(&ToGuest::Stdin(Bytes::from_static(b"hello")))),
        ("stdin_end", one(&ToGuest::StdinEnd)),
        ("credit", one(&ToGuest::Credit(Stream::Stderr, 65_536))),
        ("signal", one(&ToGuest::Signal(Signal { number: 64, group: true }))),
        ("signal_0", one(&ToGuest::Signal(Signal { number: 0, group: false }))),
        ("resize", one(&ToGuest::Resize(WindowSize { rows: 1, cols: 65_535 }))),
        ("ping", one(&ToGuest::Ping(u64::MAX))),
        ("shutdown", one(&ToGuest::Shutdown)),
        ("hold", one(&ToGuest::Hold)),
        ("renew", one(&ToGuest::Renew("clock\t1\t2\n".into()))),
    ]);
    let whole = seed(
        7,
        &[
            frame(0, &hello()),
            frame(1, &start(Task::Exec(exec()))),
            frame(1, &ToGuest::Stdin(Bytes::from_static(b"hello"))),
            frame(1, &ToGuest::StdinEnd),
            frame(1, &ToGuest::Credit(Stream::Stdout, 5)),
            frame(0, &ToGuest::Shutdown),
        ],
    );
    seeds.insert("a_whole_conversation", whole);
    seeds
}

fn ready(last_channel: u32, survivors: Vec<Survivor>) -> ToHost {
    let (build, token) = ("dev".into(), Token([7; 32]));
    ToHost::Ready(Ready {
        protocol: PROTOCOL_VERSION,
        build,
        token,
        started_ns: 1,
        ready_ns: 2,
        pid: 1,
        last_channel,
        survivors,
    })
}

/// What a guest says to a second host, and what it must not.
fn survivor_seeds() -> Seeds {
    let survivor = |channel, ended: Option<Status>| Survivor {
        channel,
        pid: 300,
        has_terminal: ended.is_none(),
        stdin_free: ended.is_none().then_some(1 << 20),
        lost_bytes: u64::MAX,
        ended: ended.map(|status| Exited { status, timed_out: true, usage: Usage::default() }),
    };
    let code = || Some(Status::Code(3));
    Seeds::from([
        ("ready_survivors", one(&ready(9, vec![survivor(1, None), survivor(7, code()), survivor(9, None)]))),
        ("ready_survivor_no_signal", one(&ready(1, vec![survivor(1, Some(Status::Signal(0)))]))),
        ("ready_survivor_twice", one(&ready(9, vec![survivor(1, None), survivor(1, None)]))),
        ("ready_survivor_unopened", one(&ready(1, vec![survivor(2, code())]))),
    ])
}

fn to_host_seeds() -> Seeds {
    let exited = |status| {
        let usage = Usage { user_us: 1, system_us: 2, max_rss_kib: 3, wall_ns: u64::MAX };
        ToHost::Exited(Exited { status, timed_out: true, usage })
    };
    let refused = |stage| one(&ToHost::Refused(Refused { stage, errno: -1, subject: "sh".into() }));
    let mut seeds = broken(Kind::Exited, Kind::Ping);
    seeds.extend(survivor_seeds());
    seeds.extend([
        ("ready", one(&ready(0, Vec::new()))),
        ("started", one(&ToHost::Started(300))),
        ("refused_prepare", refused(Stage::Prepare)),
        ("refused_user", refused(Stage::User)),
        ("refused_working_directory", refused(Stage::WorkingDirectory)),
        ("refused_lookup", refused(Stage::Lookup)),
        ("refused_exec", refused(Stage::Exec)),
        ("stdout", one(&ToHost::Stdout(Bytes::from_static(b"out")))),
        ("stderr", one(&ToHost::Stderr(Bytes::new()))),
        ("exited_code", one(&exited(Status::Code(255)))),
        ("exited_signal", one(&exited(Status::Signal(64)))),
        ("exited_no_signal", one(&exited(Status::Signal(65)))),
        ("stdin_credit", one(&ToHost::StdinCredit(65_536))),
        ("pong", one(&ToHost::Pong(0))),
        ("held", one(&ToHost::Held(None))),
        ("held_not", one(&ToHost::Held(Some("nobody can renew this".into())))),
        ("renewed", one(&ToHost::Renewed("renewed\t1".into()))),
        ("fault", one(&ToHost::Fault("the stream ends within a frame".into()))),
    ]);
    let whole = seed(
        7,
        &[
            frame(0, &ready(0, Vec::new())),
            frame(1, &ToHost::Started(2)),
            frame(1, &ToHost::Stdout(Bytes::from_static(b"out"))),
            frame(1, &ToHost::StdinCredit(5)),
            frame(1, &exited(Status::Code(0))),
        ],
    );
    seeds.insert("a_whole_conversation", whole);
    seeds
}

fn folder(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "../../fuzz/corpus", target].iter().collect()
}

fn replay(target: &str, seeds: &Seeds, check: impl Fn(&[u8])) {
    for (name, bytes) in seeds {
        let found = read(folder(target).join(name)).ok();
        assert!(found.as_ref() == Some(bytes), "{target}/{name} is missing or old: write the seeds anew");
    }
    for entry in read_dir(folder(target)).expect("a corpus") {
        check(&read(entry.expect("an entry").path()).expect("a file"));
    }
}

#[test]
fn what_the_host_may_send_is_replayed() {
    replay("decode_to_guest", &to_guest_seeds(), |bytes| {
        check::any_bytes::<ToGuest>(Direction::ToGuest, bytes);
    });
}

#[test]
fn what_the_guest_may_send_is_replayed() {
    replay("decode_to_host", &to_host_seeds(), |bytes| check::any_bytes::<ToHost>(Direction::ToHost, bytes));
}

#[test]
#[ignore = "writes the seeds"]
fn write_the_seeds() {
    for (target, seeds) in [("decode_to_guest", to_guest_seeds()), ("decode_to_host", to_host_seeds())] {
        create_dir_all(folder(target)).expect("a folder");
        for (name, bytes) in seeds {
            write(folder(target).join(name), bytes).expect("a seed");
        }
    }
}
