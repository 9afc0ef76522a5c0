//! Controls that are read from the processes of a sandbox.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs;

use agentkernel_cgroup::Group;
use agentkernel_core::Control;

use super::{Expected, read};
use crate::kernel_file;

/// Every process of the sandbox: those in its control group, and those in its PID namespace. One that is not its
/// own is reported as that, and says nothing of whose processes are in it.
pub(super) fn of_sandbox(init: i32, siblings: &[i32], group: Option<&Group>) -> Vec<i32> {
    let mut pids = in_pid_namespace_of(init, siblings);
    pids.push(init);
    pids.extend(group.map(Group::processes).unwrap_or_default());
    pids.sort_unstable();
    pids.dedup();
    pids
}

fn in_pid_namespace_of(init: i32, siblings: &[i32]) -> Vec<i32> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(wanted) = namespace(init) else { return Vec::new() };
    let is_hosts = fs::read_link("/proc/self/ns/pid").is_ok_and(|own| own == wanted);
    if is_hosts || siblings.iter().any(|sibling| namespace(*sibling).as_ref() == Some(&wanted)) {
        return Vec::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| namespace(*pid).as_ref() == Some(&wanted))
        .collect()
}

/// One thread: its process and the fields of its status file.
pub(super) struct Thread {
    pub(super) pid: i32,
    fields: BTreeMap<String, String>,
}

impl Thread {
    pub(super) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("missing", String::as_str)
    }
}

/// Every thread of every process; a process that ended meanwhile has none.
pub(super) fn threads(processes: &[i32]) -> Vec<Thread> {
    let mut all = Vec::new();
    for pid in processes {
        for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            if let Ok(text) = kernel_file::read_text(thread.path().join("status")) {
                all.push(Thread { pid: *pid, fields: fields(&text) });
            }
        }
    }
    all
}

/// `Name:\tvalue` lines.
fn fields(text: &str) -> BTreeMap<String, String> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}

/// The same field over all threads: the expected value if all agree, else the first that does not.
pub(super) fn over_all<T: Borrow<Thread>>(name: &str, field: &str, expected: &str, threads: &[T]) -> Control {
    match threads.iter().map(Borrow::borrow).find(|thread| thread.field(field) != expected) {
        Some(thread) => {
            let actual = format!("{} (process {})", thread.field(field), thread.pid);
            Control::exact(name, expected, actual)
        }
        None if threads.is_empty() => Control::exact(name, expected, "no process to read"),
        None => Control::exact(name, expected, expected),
    }
}

pub(super) fn identity(expected: &Expected, init: i32, threads: &[Thread]) -> Vec<Control> {
    let map = |file: &str| read(init, file).split_whitespace().collect::<Vec<_>>().join(" ");
    let four = |id: u32| format!("{id} {id} {id} {id}");
    let mut controls = vec![
        Control::exact("user.uid_map", &*expected.uid_map, map("uid_map")),
        Control::exact("user.gid_map", &*expected.gid_map, map("gid_map")),
    ];
    if expected.capabilities == 0 {
        // With CAP_SETUID inside, processes may take any id of the block.
        controls.push(over_all("user.uid", "Uid", &four(expected.host_uid), threads));
        controls.push(over_all("user.gid", "Gid", &four(expected.host_gid), threads));
    }
    if !expected.rootless && expected.capabilities == 0 {
        controls.push(over_all("user.groups", "Groups", "", threads));
    }
    controls
}

pub(super) fn privileges(expected: &Expected, threads: &[Thread]) -> Vec<Control> {
    let granted = format!("{:016x}", expected.capabilities);
    let none = format!("{:016x}", 0);
    vec![
        over_all("capabilities.bounding", "CapBnd", &granted, threads),
        at_most("capabilities.permitted", "CapPrm", expected.capabilities, threads),
        at_most("capabilities.effective", "CapEff", expected.capabilities, threads),
        over_all("capabilities.inheritable", "CapInh", &none, threads),
        over_all("capabilities.ambient", "CapAmb", &none, threads),
        over_all("no_new_privs", "NoNewPrivs", "1", threads),
        over_all("seccomp.mode", "Seccomp", "2", threads),
        filters(expected.filters(), threads),
    ]
}

/// Ours, and those that a process inside has added for itself.
fn filters(wanted: usize, threads: &[Thread]) -> Control {
    let count = |thread: &Thread| thread.field("Seccomp_filters").parse::<usize>().unwrap_or(0);
    let fewest = threads.iter().min_by_key(|thread| count(thread));
    let shown = fewest.map_or_else(
        || "no process to read".to_owned(),
        |thread| format!("{} (process {})", count(thread), thread.pid),
    );
    let held = fewest.is_some_and(|thread| count(thread) >= wanted);
    Control::judged("seccomp.filters", format!("{wanted} or more"), shown, held)
}

/// A set that may be smaller than granted (root inside may give some up), but not larger.
fn at_most(name: &str, field: &str, granted: u64, threads: &[Thread]) -> Control {
    let beyond = threads.iter().find_map(|thread| {
        let set = u64::from_str_radix(thread.field(field), 16).unwrap_or(u64::MAX);
        (set & !granted != 0).then(|| format!("{} (process {})", thread.field(field), thread.pid))
    });
    let granted = format!("{granted:016x}");
    let shown = beyond.clone().unwrap_or_else(|| granted.clone());
    Control::judged(name, granted, shown, beyond.is_none() && !threads.is_empty())
}

/// Each namespace is neither the host's nor a sibling's.
pub(super) fn namespaces(init: i32, siblings: &[i32]) -> Vec<Control> {
    namespaces_of(&["user", "pid", "mnt", "ipc", "uts", "net", "cgroup"], init, siblings)
}

/// Each of these namespaces is.
pub(super) fn namespaces_of(kinds: &[&str], init: i32, siblings: &[i32]) -> Vec<Control> {
    let link = |pid: &str, kind: &str| {
        fs::read_link(format!("/proc/{pid}/ns/{kind}")).map(|link| link.display().to_string())
    };
    kinds
        .iter()
        .map(|kind| {
            let actual = link(&init.to_string(), kind);
            let mut others = vec![link("self", kind).unwrap_or_default()];
            others.extend(siblings.iter().filter_map(|pid| link(&pid.to_string(), kind).ok()));
            let held = actual.as_ref().is_ok_and(|actual| !others.contains(actual));
            let shown = actual.unwrap_or_else(|error| format!("unreadable: {error}"));
            Control::judged(&format!("namespace.{kind}"), "of its own", shown, held)
        })
        .collect()
}

/// Rlimits of the first process, which all others inherit and none can raise.
pub(super) fn limits(expected: &Expected, init: i32) -> Vec<Control> {
    let text = read(init, "limits");
    let control = |(name, soft, hard): &(String, u64, u64)| {
        let line = text.lines().find_map(|line| line.strip_prefix(name.as_str())).unwrap_or("");
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or("missing").to_owned();
        let (actual_soft, actual) = (next(), next());
        let id = name.trim_start_matches("Max ").replace(' ', "_");
        // The guest agent serves many commands: it raises its own soft limit of open files, once it is there.
        let is_raised = id == "open_files";
        let shown = |soft: &str, hard: &str| {
            if is_raised || soft == hard {
                hard.to_owned()
            } else {
                format!("{soft}, may be raised to {hard}")
            }
        };
        let expected = shown(&soft.to_string(), &hard.to_string());
        Control::exact(&format!("rlimit.{id}"), expected, shown(&actual_soft, &actual))
    };
    expected.rlimits.iter().map(control).collect()
}

/// Interfaces of the sandbox's network namespace.
pub(super) fn network_is_empty(init: i32) -> Control {
    let text = read(init, "net/dev");
    let names: Vec<&str> =
        text.lines().skip(2).filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    Control::exact("network.interfaces", "lo", names.join(","))
}

/// The words that the guest agent was started with.
pub(super) fn arguments(expected: &Expected, init: i32) -> Control {
    let words = read(init, "cmdline").trim_end_matches('\0').replace('\0', " ");
    Control::exact("agent.arguments", &*expected.arguments, words)
}
