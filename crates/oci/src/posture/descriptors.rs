//! What the guest agent has open: its stream, its door, and what it has made itself.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use agentkernel_core::{Control, HostSocket};
use rustix::fs::{AtFlags, CWD, StatxFlags, getxattr, statx};

use crate::facts::kernel_version;
use crate::mountinfo::MountLine;
use crate::sys;

/// What may be open beside what is said in full: pipes and terminals of its commands.
const ALWAYS: &str = "a stream and a door at most, child signals, pipes and terminals of its commands, sockets it serves, /dev/null";
/// Before there are commands.
const AT_START: &str = "a stream, a door at most, child signals, /dev/null";

/// Since this kernel a stream is told from other sockets of its family (`unix_stream_proto`).
const TELLS_STREAMS: (u32, u32) = (5, 15);

/// One open descriptor, or how many there are of a kind.
type Kinds = BTreeMap<String, usize>;

/// How often they are read before what is wrong is believed, and how long to wait in between: a millisecond more each
/// time, up to this. The agent moves its own when it begins, which takes it less than one, and a list of them is not of
/// one moment; what is wrong stays wrong.
const READS: i64 = 20;
const BETWEEN_READS_MS_MAX: i64 = 5;

/// Reads the descriptors of a process until they are right, or long enough.
pub(super) fn control(init: i32, lines: &[MountLine<'_>], at_start: bool) -> Control {
    for read in 1..READS {
        let control = read_once(init, lines, at_start);
        if control.held {
            return control;
        }
        sys::pause(read.min(BETWEEN_READS_MS_MAX));
    }
    read_once(init, lines, at_start)
}

/// Nothing of the host is among them: files only if they are on these mounts of
/// the sandbox, sockets only as many as the agent is given.
fn read_once(init: i32, lines: &[MountLine<'_>], at_start: bool) -> Control {
    let wanted = if at_start { AT_START } else { ALWAYS };
    let kinds = match kinds(init, lines, at_start) {
        Ok(kinds) => kinds,
        Err(error) => return Control::judged("descriptors", wanted, format!("unreadable: {error}"), false),
    };
    let count = |kind: &str| kinds.get(kind).copied().unwrap_or(0);
    let release = rustix::system::uname();
    let tells =
        kernel_version(&release.release().to_string_lossy()).is_some_and(|version| version >= TELLS_STREAMS);
    let beyond = kinds.iter().find(|(kind, number)| **number > most(kind, at_start, tells));
    let streams = count(STREAM) + count(OTHER_SOCKET);
    let is_whole = !at_start || streams > 0;
    let shown: Vec<String> = kinds.iter().map(|(kind, number)| format!("{number} × {kind}")).collect();
    Control::judged("descriptors", wanted, shown.join(", "), beyond.is_none() && is_whole)
}

const STREAM: &str = "UNIX-STREAM";
const OTHER_SOCKET: &str = "UNIX";
const NULL: &str = "/dev/null";
const TERMINAL: &str = "terminal";
const PIPE: &str = "pipe";
const SERVED: &str = "socket it serves";
const SIGNALS: &str = "anon_inode:[signalfd]";

/// How many there may be of a kind, on a kernel that tells streams or does not. The kernel does not say of a socket that
/// is no stream whether it is of datagrams or, like the door, of packets in order.
fn most(kind: &str, at_start: bool, tells: bool) -> usize {
    match kind {
        OTHER_SOCKET if !tells => 2,
        STREAM | OTHER_SOCKET | SIGNALS => 1,
        NULL => 3,
        PIPE | TERMINAL | SERVED if !at_start => usize::MAX,
        _ => 0,
    }
}

/// Copies of one socket are one.
fn kinds(init: i32, lines: &[MountLine<'_>], at_start: bool) -> io::Result<Kinds> {
    let mut kinds = Kinds::new();
    let mut sockets = Vec::new();
    let served = if at_start { Vec::new() } else { served(&super::read(init, "net/unix")) };
    for entry in fs::read_dir(format!("/proc/{init}/fd"))? {
        let path = entry?.path();
        let target = match fs::read_link(&path) {
            Ok(target) => target.to_string_lossy().into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // closed meanwhile
            Err(error) => return Err(error),
        };
        if target.starts_with("socket:") {
            if sockets.contains(&target) {
                continue;
            }
            sockets.push(target.clone());
            if served.contains(&target) {
                *kinds.entry(SERVED.to_owned()).or_default() += 1;
                continue;
            }
        }
        *kinds.entry(kind(&path, target, lines)).or_default() += 1;
    }
    Ok(kinds)
}

/// The sockets on which somebody listens for a socket of the host, as descriptors show them. What is listed was made in
/// the sandbox's own network namespace: no socket of the host is among it.
fn served(unix: &str) -> Vec<String> {
    const LISTENS: &str = "00010000"; // SO_ACCEPTCON, linux/net.h
    let folder = format!("{}/", HostSocket::FOLDER);
    let lines = unix.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| {
            words.get(3) == Some(&LISTENS) && words.get(7).is_some_and(|path| path.starts_with(&folder))
        })
        .filter_map(|words| Some(format!("socket:[{}]", words.get(6)?)))
        .collect()
}

fn kind(path: &Path, target: String, lines: &[MountLine<'_>]) -> String {
    if target.starts_with("socket:") {
        return protocol(path).unwrap_or(target);
    }
    if target.starts_with("pipe:") {
        return PIPE.to_owned();
    }
    if !target.starts_with('/') {
        return target;
    }
    // A path says nothing: the host's /dev/null is called so too.
    let mount = mount_of(path).and_then(|id| lines.iter().find(|line| line.id == id));
    match mount {
        Some(line) if line.place == NULL => NULL.to_owned(),
        Some(line) if line.place == "/dev/pts" && line.kind == "devpts" => TERMINAL.to_owned(),
        _ => target,
    }
}

/// The name of a socket's protocol, which the kernel tells whoever may follow the descriptor, in whatever network
/// namespace it was made.
fn protocol(path: &Path) -> Option<String> {
    let mut name = [0; 64];
    let length = getxattr(path, "system.sockprotoname", &mut name[..]).ok()?;
    Some(String::from_utf8_lossy(&name[..length]).trim_end_matches('\0').to_owned())
}

/// The mount by which a file was opened. Nobody else is asked for it: no server of a file system that may hang.
fn mount_of(descriptor: &Path) -> Option<u64> {
    let facts = statx(CWD, descriptor, AtFlags::STATX_DONT_SYNC, StatxFlags::MNT_ID).ok()?;
    Some(facts.stx_mnt_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_listens_in_the_folder_of_sockets_is_served() {
        let unix = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff: 00000002 00000000 00010000 0001 01 123 /dev/shm/.agentkernel/llm\n\
            ffff: 00000003 00000000 00000000 0001 03 124 /dev/shm/.agentkernel/llm\n\
            ffff: 00000002 00000000 00010000 0001 01 125 /run/docker.sock\n\
            ffff: 00000002 00000000 00010000 0001 01 126\n";
        assert_eq!(served(unix), ["socket:[123]"]);
    }
}
