//! Files of the host: directly, through other processes' roots, and through descriptors.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::attempt::{Answer, Attempt, Control, Errno, Outcome, errno_of};
use crate::processes;
use crate::situation::Situation;
use crate::sys;

/// The path does not exist in the sandbox, or the way to it ends at something that is no directory.
const NO_SUCH_PATH: &[Errno] = &[libc::ENOENT, libc::ENOTDIR, libc::ELOOP, libc::ESRCH];

/// A socket at the path cannot be opened as a file, but it is there.
const IS_A_SOCKET: &[Errno] = &[libc::ENXIO];

/// How many ways in are tried.
const WAYS_MAX: usize = 2_000;

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new("host-path-direct", Control::Host, "read a host file by its own path", |situation| {
        read_by(situation, &[String::new()])
    })
    .granted(IS_A_SOCKET)
    .refused(NO_SUCH_PATH),
    Attempt::new(
        "host-path-working-directory",
        Control::Host,
        "read a host file by climbing from the working directory, as after a start in /proc/self/fd/N",
        |situation| read_by(situation, &[format!("./{CLIMB}")]),
    )
    .granted(IS_A_SOCKET)
    .refused(NO_SUCH_PATH),
    Attempt::new(
        "host-path-own-fds",
        Control::Namespaces,
        "read a host file by climbing from every inherited descriptor",
        own_descriptors,
    )
    .granted(IS_A_SOCKET)
    .refused(NO_SUCH_PATH),
    Attempt::new(
        "host-path-proc-1-root",
        Control::Namespaces,
        "read a host file through /proc/1/root",
        |situation| read_by(situation, &["/proc/1/root".to_owned()]),
    )
    .granted(IS_A_SOCKET)
    .refused(NO_SUCH_PATH),
    Attempt::new(
        "host-path-proc-roots",
        Control::Namespaces,
        "read a host file through /proc/*/root and by climbing from /proc/*/cwd",
        through_processes,
    )
    .granted(IS_A_SOCKET)
    .refused(NO_SUCH_PATH),
    Attempt::new(
        "host-path-proc-fds",
        Control::Namespaces,
        "read a host file by climbing from the descriptors of every visible process",
        descriptors_of_others,
    )
    .granted(IS_A_SOCKET)
    .refused(NO_SUCH_PATH),
    Attempt::new(
        "inherited-fds",
        Control::Namespaces,
        "use a descriptor above 2 that was left open",
        inherited,
    ),
];

/// Enough steps up to reach the root of any directory.
const CLIMB: &str = "../../../../../../../../../../../../../../../../../../../..";

fn read_by(situation: &Situation, prefixes: &[String]) -> Outcome {
    if situation.host_paths.is_empty() {
        return Outcome::error("needs --host-path");
    }
    let join = |prefix: &String, path: &Path| PathBuf::from(format!("{prefix}{}", path.display()));
    let ways = situation.host_paths.iter().flat_map(|path| prefixes.iter().map(move |way| join(way, path)));
    Outcome::Answers(ways.map(|way| (way.display().to_string(), read(situation, &way))).collect())
}

/// Opens a file for reading without waiting for anybody, and says what could be read.
pub fn read(situation: &Situation, path: &Path) -> Answer {
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let mut file = options.open(path).map_err(|error| errno_of(&error))?;
    let mut bytes = vec![0; 64 * 1024];
    // Being able to open it is the hole: a directory or an empty file reads nothing.
    let count = file.read(&mut bytes).unwrap_or(0);
    let canary = if situation.canary_in(&bytes[..count]) { ", with a canary" } else { "" };
    Ok(format!("opened, {count} bytes read{canary}"))
}

fn own_descriptors(situation: &Situation) -> Outcome {
    if situation.inherited.is_empty() {
        return Outcome::blocked(libc::EBADF, "no descriptor above 2 was inherited");
    }
    let ways: Vec<String> =
        situation.inherited.iter().map(|fd| format!("/proc/self/fd/{fd}/{CLIMB}")).collect();
    read_by(situation, &ways)
}

fn through_processes(situation: &Situation) -> Outcome {
    let ways = |process: &processes::Process| {
        [format!("/proc/{}/root", process.pid), format!("/proc/{}/cwd/{CLIMB}", process.pid)]
    };
    match processes::visible() {
        Ok(all) => read_by(situation, &all.iter().flat_map(ways).take(WAYS_MAX).collect::<Vec<_>>()),
        Err(errno) => Outcome::error(format!("/proc cannot be listed: errno {errno}")),
    }
}

fn descriptors_of_others(situation: &Situation) -> Outcome {
    let all = match processes::visible() {
        Ok(all) => all,
        Err(errno) => return Outcome::error(format!("/proc cannot be listed: errno {errno}")),
    };
    let is_other = |pid: &i32| *pid != situation.pid && *pid != sys::own_pid();
    let others: Vec<i32> = all.iter().map(|one| one.pid).filter(is_other).collect();
    let mut ways = Vec::new();
    for pid in &others {
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        ways.extend(entries.flatten().map(|entry| format!("{}/{CLIMB}", entry.path().display())));
    }
    ways.truncate(WAYS_MAX);
    if ways.is_empty() {
        let detail = format!("the descriptors of none of {} other processes can be listed", others.len());
        return Outcome::blocked(libc::EACCES, detail);
    }
    read_by(situation, &ways)
}

fn inherited(situation: &Situation) -> Outcome {
    if situation.inherited.is_empty() {
        return Outcome::blocked(libc::EBADF, "no descriptor above 2 was inherited");
    }
    let target = |fd: &i32| {
        let link = fs::read_link(format!("/proc/self/fd/{fd}"));
        let target = link.map_or_else(|_| "?".to_owned(), |path| path.display().to_string());
        (format!("descriptor {fd}"), Ok(target))
    };
    Outcome::Answers(situation.inherited.iter().map(target).collect())
}
