//! Other processes: those that should not be visible, and what can be read of them.

use std::fs::{self, File};
use std::io::Read;

use crate::attempt::{Answer, Attempt, Control, Errno, Outcome, errno_of};
use crate::attempts::leaks::NEEDS_CANARY;
use crate::processes;
use crate::situation::{Situation, contains};

/// Not visible at all.
const NOT_VISIBLE: &[Errno] = &[libc::ENOENT, libc::ESRCH];

type Run = fn(&Situation) -> Outcome;

const fn of_pid_1(id: &'static str, what: &'static str, run: Run) -> Attempt {
    Attempt::new(id, Control::Namespaces, what, run).refused(NOT_VISIBLE)
}

pub const ATTEMPTS: &[Attempt] = &[
    Attempt::new(
        "processes-foreign",
        Control::Namespaces,
        "see a process beyond PID 1, the kernel's and the own tree",
        foreign,
    ),
    Attempt::new(
        "proc-environ-canary",
        Control::Namespaces,
        "find a canary in the environment of any process",
        |situation| canary_in_each(situation, "environ"),
    ),
    Attempt::new(
        "proc-cmdline-canary",
        Control::Namespaces,
        "find a canary in any command line but one with --canary in it",
        |situation| canary_in_each(situation, "cmdline"),
    ),
    of_pid_1("pid1-exe", "read the program of PID 1", |situation| readable(situation, "exe")),
    of_pid_1("pid1-environ", "read the environment of PID 1", |situation| readable(situation, "environ")),
    of_pid_1("pid1-mem", "open the memory of PID 1", |situation| openable(situation, "mem")),
    of_pid_1("pid1-maps", "read the memory map of PID 1", |situation| readable(situation, "maps")),
    of_pid_1("pid1-fd", "list the descriptors of PID 1", |situation| listable(situation, "fd")),
    of_pid_1("pid1-root", "list the root of PID 1", |situation| listable(situation, "root")),
];

fn foreign(situation: &Situation) -> Outcome {
    match processes::foreign(situation) {
        Ok(found) if found.is_empty() => Outcome::blocked(0, "no foreign process is visible"),
        Ok(found) => {
            let named = found.iter().take(8).map(|one| format!("{} {}", one.pid, one.name));
            Outcome::open(format!("{} processes: {}", found.len(), named.collect::<Vec<_>>().join(", ")))
        }
        Err(errno) => Outcome::error(format!("/proc cannot be listed: errno {errno}")),
    }
}

/// The largest file of a process that is looked at.
const READ_MAX: u64 = 1 << 20;

fn canary_in_each(situation: &Situation, file: &str) -> Outcome {
    if situation.canaries.is_empty() {
        return Outcome::error(NEEDS_CANARY);
    }
    let all = match processes::visible() {
        Ok(all) => all,
        Err(errno) => return Outcome::error(format!("/proc cannot be listed: errno {errno}")),
    };
    let mut refused = None;
    for process in &all {
        match content(&format!("/proc/{}/{file}", process.pid)) {
            Ok(bytes) if situation.canary_in(&bytes) && !names_the_option(&bytes) => {
                return Outcome::open(format!("{file} of {} {}", process.pid, process.name));
            }
            Ok(_) => {}
            Err(errno) => refused = Some(errno),
        }
    }
    Outcome::blocked(refused.unwrap_or(0), format!("no canary in {file} of {} processes", all.len()))
}

/// The probe, and the shell that starts it, are told the canaries on their command lines.
fn names_the_option(bytes: &[u8]) -> bool {
    contains(bytes, b"--canary")
}

fn content(path: &str) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| errno_of(&error))?;
    file.take(READ_MAX).read_to_end(&mut bytes).map_err(|error| errno_of(&error))?;
    Ok(bytes)
}

/// Why an attack on PID 1 proves nothing here, if so.
pub fn pid_1_is_the_probe(situation: &Situation) -> Option<Outcome> {
    (situation.pid == 1).then(|| Outcome::error("the probe itself is PID 1"))
}

fn readable(situation: &Situation, file: &str) -> Outcome {
    let read = || content(&format!("/proc/1/{file}")).map(|bytes| format!("{} bytes read", bytes.len()));
    pid_1_is_the_probe(situation).unwrap_or_else(|| read().into())
}

fn openable(situation: &Situation, file: &str) -> Outcome {
    let open = || File::open(format!("/proc/1/{file}")).map(|_| "opened for reading".to_owned());
    pid_1_is_the_probe(situation).unwrap_or_else(|| open().map_err(|error| errno_of(&error)).into())
}

fn listable(situation: &Situation, directory: &str) -> Outcome {
    let list = || -> Answer {
        let entries = fs::read_dir(format!("/proc/1/{directory}")).map_err(|error| errno_of(&error))?;
        Ok(format!("{} entries", entries.flatten().count()))
    };
    pid_1_is_the_probe(situation).unwrap_or_else(|| list().into())
}
