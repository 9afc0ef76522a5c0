//! Files through which the kernel is steered (/proc/sys, /sys, cgroups) and those that tell too much of it.

use std::fs::{self, File};
use std::io::Read;
use std::ops::ControlFlow;
use std::path::Path;

use crate::attempt::{Answer, Attempt, Control, Errno, Outcome, errno_of};
use crate::attempts::writes::open_for_writing;
use crate::walk::{Limits, Walked, walk};

/// Read-only or not there.
const REFUSED: &[Errno] = &[libc::EROFS, libc::ENOENT, libc::ENOTDIR];

const fn write(id: &'static str, what: &'static str, run: Run) -> Attempt {
    Attempt::new(id, Control::Host, what, run).refused(REFUSED)
}

const fn masked(id: &'static str, what: &'static str, run: Run) -> Attempt {
    Attempt::new(id, Control::Host, what, run).refused(&[libc::ENOENT, libc::EIO])
}

type Run = fn(&crate::situation::Situation) -> Outcome;

// Files are opened for writing and nothing is written: a read-only mount and the permissions refuse there.
pub const ATTEMPTS: &[Attempt] = &[
    write("proc-core-pattern", "choose the program that the host runs on a crash", |_| {
        writable("/proc/sys/kernel/core_pattern")
    }),
    write("proc-modprobe", "choose the program that the host runs to load a module", |_| {
        writable("/proc/sys/kernel/modprobe")
    }),
    write("proc-sys-vm", "change how the host gives out memory", |_| {
        writable("/proc/sys/vm/overcommit_memory")
    }),
    write("proc-sys-write", "open any file below /proc/sys for writing", |_| any_writable("/proc/sys")),
    // Not on the host, lest a mistake here be its end.
    Attempt::new("proc-sysrq", Control::Sandbox, "open /proc/sysrq-trigger for writing", |_| {
        writable("/proc/sysrq-trigger")
    })
    .refused(REFUSED),
    write("proc-irq-write", "open any file below /proc/irq for writing", |_| any_writable("/proc/irq")),
    write("sys-write", "open any file below /sys for writing", |_| any_writable("/sys")),
    write("uevent-helper", "choose the program that the host runs on a device event", |_| {
        writable("/sys/kernel/uevent_helper")
    }),
    write("cgroup-release-agent", "choose the program that the host runs when a cgroup empties", |_| {
        release_agents()
    }),
    masked("masked-kcore", "read the kernel's memory from /proc/kcore", |_| file("/proc/kcore")),
    masked("masked-keys", "read /proc/keys", |_| file("/proc/keys")),
    masked("masked-timer-list", "read /proc/timer_list", |_| file("/proc/timer_list")),
    masked("masked-sched-debug", "read /proc/sched_debug", |_| file("/proc/sched_debug")),
    masked("masked-latency-stats", "read /proc/latency_stats", |_| file("/proc/latency_stats")),
    masked("masked-kallsyms", "read addresses of the kernel from /proc/kallsyms", |_| kallsyms()),
    masked("masked-acpi", "list /proc/acpi", |_| directory("/proc/acpi")),
    masked("masked-scsi", "list /proc/scsi", |_| directory("/proc/scsi")),
    masked("masked-asound", "list /proc/asound", |_| directory("/proc/asound")),
    masked("masked-firmware", "list /sys/firmware", |_| directory("/sys/firmware")),
    masked("masked-powercap", "list /sys/devices/virtual/powercap", |_| {
        directory("/sys/devices/virtual/powercap")
    }),
];

fn writable(path: &str) -> Outcome {
    open_for_writing(Path::new(path)).into()
}

/// More than a machine with many devices has; the walk's time limit comes first.
const KERNEL_TREE: Limits = Limits { depth: 64, entries: 500_000 };

fn any_writable(root: &str) -> Outcome {
    let mut opened = None;
    let walked = walk(&[root], KERNEL_TREE, |path, metadata| {
        if metadata.is_file() && open_for_writing(path).is_ok() {
            opened = Some(path.display().to_string());
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    match (walked, opened) {
        (_, Some(path)) => Outcome::open(format!("opened {path} for writing")),
        (Walked::All(0), None) => Outcome::blocked(libc::ENOENT, format!("nothing below {root}")),
        (Walked::All(seen), None) => Outcome::blocked(libc::EACCES, format!("none of {seen} entries")),
        (_, None) => Outcome::error(format!("not all of {root} was seen")),
    }
}

fn release_agents() -> Outcome {
    let mounts = match fs::read_to_string("/proc/self/mountinfo") {
        Ok(mounts) => mounts,
        Err(error) => return Outcome::error(format!("/proc/self/mountinfo: {error}")),
    };
    let is_v1 = |line: &&str| line.split_once(" - ").is_some_and(|(_, kind)| kind.starts_with("cgroup "));
    let points = mounts.lines().filter(is_v1).filter_map(|line| line.split(' ').nth(4));
    let try_one = |point: &str| {
        let path = format!("{point}/release_agent");
        let answer = open_for_writing(Path::new(&path));
        (path, answer)
    };
    let answers: Vec<_> = points.map(try_one).collect();
    if answers.is_empty() {
        return Outcome::blocked(libc::ENOENT, "no cgroup of version 1 is mounted");
    }
    Outcome::Answers(answers)
}

/// How much of a file is looked at: enough to pass the zero addresses at the start of kallsyms.
const READ_MAX: u64 = 1 << 20;

fn content(path: &str) -> Result<Vec<u8>, Errno> {
    let file = File::open(path).map_err(|error| errno_of(&error))?;
    let mut bytes = Vec::new();
    match file.take(READ_MAX).read_to_end(&mut bytes) {
        Err(error) if bytes.is_empty() => Err(errno_of(&error)),
        _ => Ok(bytes),
    }
}

fn file(path: &str) -> Outcome {
    match content(path) {
        Ok(bytes) if bytes.is_empty() => Outcome::blocked(0, format!("{path} is empty")),
        Ok(bytes) => Outcome::open(format!("{path}: {} bytes read", bytes.len())),
        Err(errno) => Answer::Err(errno).into(),
    }
}

fn kallsyms() -> Outcome {
    let bytes = match content("/proc/kallsyms") {
        Ok(bytes) => bytes,
        Err(errno) => return Answer::Err(errno).into(),
    };
    let text = String::from_utf8_lossy(&bytes);
    let addresses = text.lines().filter_map(|line| line.split(' ').next());
    let is_shown = |address: &&str| address.bytes().any(|digit| digit != b'0');
    match addresses.filter(is_shown).count() {
        0 => Outcome::blocked(0, "no address is shown"),
        count => Outcome::open(format!("{count} addresses are shown")),
    }
}

fn directory(path: &str) -> Outcome {
    match fs::read_dir(path).map(|entries| entries.flatten().count()) {
        Ok(0) => Outcome::blocked(0, format!("{path} is empty")),
        Ok(count) => Outcome::open(format!("{path} has {count} entries")),
        Err(error) => Answer::Err(errno_of(&error)).into(),
    }
}
