//! Any message there can be.

use agentkernel_protocol::{
    Accept, Exec, Exited, FileInfo, FileKind, FileRequest, Hello, Mount, Ready, Refused, STDIN_WINDOW,
    Signal, Stage, Start, Status, StdinMode, Stream, Survivor, Task, ToGuest, ToHost, Token, Usage, UserIds,
    WindowSize,
};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn word() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..20)
}

fn size() -> impl Strategy<Value = WindowSize> {
    any::<(u16, u16)>().prop_map(|(rows, cols)| WindowSize { rows, cols })
}

fn token() -> impl Strategy<Value = Token> {
    any::<[u8; 32]>().prop_map(Token)
}

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)]
}

fn raw() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..1000).prop_map(Bytes::from)
}

fn hello() -> impl Strategy<Value = Hello> {
    let mount = (".*", ".*", ".*", any::<u64>(), ".*");
    let mount =
        mount.prop_map(|(source, target, fstype, flags, data)| Mount { source, target, fstype, flags, data });
    let parts = (any::<u32>(), ".*", token(), vec(mount, 0..4), any::<u32>());
    parts.prop_map(|(protocol, build, token, mounts, output_window)| Hello {
        protocol,
        build,
        token,
        mounts,
        output_window,
    })
}

fn file_request() -> impl Strategy<Value = FileRequest> {
    use FileRequest::{List, MakeDir, Read, Remove, Rename, Stat, TarIn, TarOut, Write};
    prop_oneof![
        (word(), any::<u64>(), option::of(any::<u64>())).prop_map(|(path, offset, length)| Read {
            path,
            offset,
            length
        }),
        (word(), any::<u32>()).prop_map(|(path, mode)| Write { path, mode }),
        (word(), any::<bool>()).prop_map(|(path, follow)| Stat { path, follow }),
        word().prop_map(|path| List { path }),
        (word(), any::<u32>(), any::<bool>()).prop_map(|(path, mode, parents)| MakeDir {
            path,
            mode,
            parents
        }),
        (word(), any::<bool>()).prop_map(|(path, recursive)| Remove { path, recursive }),
        (word(), word()).prop_map(|(from, to)| Rename { from, to }),
        word().prop_map(|path| TarOut { path }),
        word().prop_map(|path| TarIn { path }),
    ]
}

fn exec() -> impl Strategy<Value = Exec> {
    let stdin = prop_oneof![Just(StdinMode::Null), Just(StdinMode::Pipe)];
    let parts = (vec(word(), 0..5), vec((word(), word()), 0..5), word(), stdin, option::of(size()));
    parts.prop_map(|(argv, env, cwd, stdin, terminal)| Exec { argv, env, cwd, stdin, terminal })
}

fn start() -> impl Strategy<Value = Start> {
    let accept = word().prop_map(|path| Task::Accept(Accept { path }));
    let task = prop_oneof![exec().prop_map(Task::Exec), file_request().prop_map(Task::File), accept];
    let user = any::<(u32, u32)>().prop_map(|(uid, gid)| UserIds { uid, gid });
    let parts = (task, option::of(user), option::of(any::<u64>()), any::<u32>());
    parts.prop_map(|(task, user, timeout_ms, output_window)| Start { task, user, timeout_ms, output_window })
}

/// Any message of the host.
pub fn to_guest() -> impl Strategy<Value = ToGuest> {
    prop_oneof![
        hello().prop_map(ToGuest::Hello),
        start().prop_map(|start| ToGuest::Start(Box::new(start))),
        raw().prop_map(ToGuest::Stdin),
        Just(ToGuest::StdinEnd),
        (stream(), any::<u32>()).prop_map(|(stream, bytes)| ToGuest::Credit(stream, bytes)),
        (1..=64_u8, any::<bool>()).prop_map(|(number, group)| ToGuest::Signal(Signal { number, group })),
        size().prop_map(ToGuest::Resize),
        any::<u64>().prop_map(ToGuest::Ping),
        Just(ToGuest::Shutdown),
        Just(ToGuest::Hold),
        ".*".prop_map(ToGuest::Renew),
    ]
}

fn exited() -> impl Strategy<Value = Exited> {
    let status = prop_oneof![any::<u8>().prop_map(Status::Code), (1..=64_u8).prop_map(Status::Signal)];
    let usage = any::<[u64; 4]>().prop_map(|[user_us, system_us, max_rss_kib, wall_ns]| Usage {
        user_us,
        system_us,
        max_rss_kib,
        wall_ns,
    });
    (status, any::<bool>(), usage).prop_map(|(status, timed_out, usage)| Exited { status, timed_out, usage })
}

/// Survivors on channels that are not taken twice, and the highest channel there was.
fn survivors() -> impl Strategy<Value = (u32, Vec<Survivor>)> {
    let one = (1..1000_u32, any::<(u32, bool, u64)>(), option::of(0..=STDIN_WINDOW), option::of(exited()));
    (vec(one, 0..6), 0..1000_u32).prop_map(|(all, more)| {
        let mut channel = 0;
        let place = |(step, (pid, has_terminal, lost_bytes), stdin_free, ended)| {
            channel += step;
            Survivor { channel, pid, has_terminal, stdin_free, lost_bytes, ended }
        };
        let survivors: Vec<_> = all.into_iter().map(place).collect();
        (channel + more, survivors)
    })
}

fn ready() -> impl Strategy<Value = Ready> {
    let parts = (any::<u32>(), ".*", token(), any::<[u64; 2]>(), any::<u32>(), survivors());
    parts.prop_map(|(protocol, build, token, [started_ns, ready_ns], pid, (last_channel, survivors))| Ready {
        protocol,
        build,
        token,
        started_ns,
        ready_ns,
        pid,
        last_channel,
        survivors,
    })
}

/// Any message of the guest.
pub fn to_host() -> impl Strategy<Value = ToHost> {
    let stage = prop_oneof![
        Just(Stage::Prepare),
        Just(Stage::User),
        Just(Stage::WorkingDirectory),
        Just(Stage::Lookup),
        Just(Stage::Exec),
    ];
    let refused = (stage, any::<i32>(), ".*");
    let refused = refused.prop_map(|(stage, errno, subject)| Refused { stage, errno, subject });
    prop_oneof![
        ready().prop_map(ToHost::Ready),
        any::<u32>().prop_map(ToHost::Started),
        refused.prop_map(ToHost::Refused),
        raw().prop_map(ToHost::Stdout),
        raw().prop_map(ToHost::Stderr),
        exited().prop_map(ToHost::Exited),
        any::<u32>().prop_map(ToHost::StdinCredit),
        any::<u64>().prop_map(ToHost::Pong),
        ".*".prop_map(ToHost::Fault),
        proptest::option::of(".*").prop_map(ToHost::Held),
        ".*".prop_map(ToHost::Renewed),
    ]
}

/// Any facts of a file.
pub fn file_info() -> impl Strategy<Value = FileInfo> {
    let kind = prop_oneof![
        Just(FileKind::File),
        Just(FileKind::Dir),
        Just(FileKind::Symlink),
        Just(FileKind::Other)
    ];
    let numbers = (any::<u64>(), any::<[u32; 3]>(), any::<i64>());
    let parts = (word(), kind, numbers, option::of(word()));
    parts.prop_map(|(name, kind, (size, [mode, uid, gid], modified_ns), target)| FileInfo {
        name,
        kind,
        size,
        mode,
        uid,
        gid,
        modified_ns,
        target,
    })
}
