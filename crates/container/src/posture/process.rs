//! Controls that are read from the processes of a container.

use std::collections::BTreeMap;
use std::fs;

use agentkernel_core::{Control, Limits, SandboxSpec};
use agentkernel_hardening::limits;

use crate::inside::AGENT;

/// Every process of its PID namespace, as far as we may look.
pub(super) fn of_container(init: i32) -> Vec<i32> {
    let namespace = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(init);
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut pids: Vec<i32> = entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid == init || wanted.is_some() && namespace(*pid) == wanted)
        .collect();
    pids.sort_unstable();
    pids
}

/// One thread: its process and the fields of its status file.
pub(super) struct Thread {
    pid: i32,
    fields: BTreeMap<String, String>,
}

impl Thread {
    fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("missing", String::as_str)
    }
}

/// Every thread of every process; a process that ended meanwhile has none.
pub(super) fn threads(processes: &[i32]) -> Vec<Thread> {
    let tasks = processes.iter().flat_map(|pid| {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        tasks.map(move |task| (*pid, task.path().join("status")))
    });
    tasks
        .filter_map(|(pid, status)| Some(Thread { pid, fields: fields(&fs::read_to_string(status).ok()?) }))
        .collect()
}

/// `Name:\tvalue` lines.
fn fields(text: &str) -> BTreeMap<String, String> {
    let words = |value: &str| value.split_whitespace().collect::<Vec<_>>().join(" ");
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines.map(|(name, value)| (name.to_owned(), words(value))).collect()
}

/// The same field over all threads: the expected value if all agree, else the first that does not.
fn over_all(name: &str, field: &str, expected: &str, threads: &[Thread]) -> Control {
    let actual = match threads.iter().find(|thread| thread.field(field) != expected) {
        Some(thread) => format!("{} (process {})", thread.field(field), thread.pid),
        None if threads.is_empty() => "no process to read".into(),
        None => expected.into(),
    };
    Control::exact(name, expected, actual)
}

/// Ids as the host has them, whatever user namespace they are in.
pub(super) fn identity(spec: &SandboxSpec, init: i32, threads: &[Thread]) -> Vec<Control> {
    let four = |id: &str| format!("{id} {id} {id} {id}");
    let uid = on_the_host(spec.user().uid, &read(init, "uid_map"));
    let gid = on_the_host(spec.user().gid, &read(init, "gid_map"));
    // Engines list the primary group once more, or do not.
    let groups = threads.iter().find(|thread| !["", &*gid].contains(&thread.field("Groups")));
    let shown = groups.map_or_else(|| "no other".to_owned(), |thread| thread.field("Groups").to_owned());
    vec![
        over_all("user.uid", "Uid", &four(&uid), threads),
        over_all("user.gid", "Gid", &four(&gid), threads),
        Control::judged("user.groups", "no other", shown, groups.is_none() && !threads.is_empty()),
    ]
}

/// What an id inside is outside, by lines of the first id inside, the first outside, and how many there are.
fn on_the_host(id: u32, map: &str) -> String {
    let outside = |line: &str| {
        let mut numbers = line.split_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = (numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?);
        id.checked_sub(inside).filter(|nth| *nth < count).and_then(|nth| outside.checked_add(nth))
    };
    map.lines().find_map(outside).map_or_else(|| format!("{id}, which is nobody"), |id| id.to_string())
}

/// An empty set of capabilities, as `/proc/PID/status` has it.
const NO_CAPABILITIES: &str = "0000000000000000";

/// Controls of a process's privileges: their names, their fields in `/proc/PID/status`, and what these must say.
pub(crate) const PRIVILEGES: [(&str, &str, &str); 7] = [
    ("capabilities.bounding", "CapBnd", NO_CAPABILITIES),
    ("capabilities.permitted", "CapPrm", NO_CAPABILITIES),
    ("capabilities.effective", "CapEff", NO_CAPABILITIES),
    ("capabilities.inheritable", "CapInh", NO_CAPABILITIES),
    ("capabilities.ambient", "CapAmb", NO_CAPABILITIES),
    ("no_new_privs", "NoNewPrivs", "1"),
    ("seccomp.mode", "Seccomp", "2"),
];

pub(super) fn privileges(threads: &[Thread]) -> Vec<Control> {
    PRIVILEGES.map(|(name, field, expected)| over_all(name, field, expected, threads)).into()
}

/// Each namespace is not the host's; that of users is the engine's to decide.
pub(super) fn namespaces(init: i32) -> Vec<Control> {
    let link = |pid: &str, kind: &str| fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok();
    let is_new = |kind: &str| {
        let actual = link(&init.to_string(), kind);
        actual.is_some_and(|actual| link("self", kind).is_some_and(|hosts| hosts != actual))
    };
    let control = |kind: &&str| {
        let shown = if is_new(kind) { "not the host's" } else { "the host's" };
        Control::exact(&format!("namespace.{kind}"), "not the host's", shown)
    };
    let mut controls: Vec<_> = ["pid", "mnt", "ipc", "uts", "net", "cgroup"].iter().map(control).collect();
    let shown = if is_new("user") { "not the host's" } else { "the host's" };
    controls.push(Control::judged("namespace.user", "as the engine has it", shown, true));
    controls
}

/// Rlimits of the first process, which all others inherit and none can raise.
pub(super) fn rlimits(limits: &Limits, init: i32) -> Vec<Control> {
    let text = read(init, "limits");
    let control = |(name, soft, hard): (&str, u64, u64)| {
        let label = match name {
            "nofile" => "Max open files",
            "core" => "Max core file size",
            "memlock" => "Max locked memory",
            "fsize" => "Max file size",
            _ => "Max pending signals",
        };
        let line = text.lines().find_map(|line| line.strip_prefix(label)).unwrap_or("");
        let mut words = line.split_whitespace();
        let mut next = || words.next().unwrap_or("missing").to_owned();
        let (actual_soft, actual) = (next(), next());
        // The guest agent serves many commands: it raises its own soft limit of open files, once it is there.
        let is_raised = name == "nofile";
        let shown = |soft: &str, hard: &str| {
            if is_raised || soft == hard { hard.to_owned() } else { format!("{soft}, up to {hard}") }
        };
        let expected = shown(&soft.to_string(), &hard.to_string());
        Control::exact(&format!("rlimit.{name}"), expected, shown(&actual_soft, &actual))
    };
    limits::rlimits(limits).map(control).into()
}

/// Interfaces of the container's network namespace.
pub(super) fn network_is_empty(init: i32) -> Control {
    let text = read(init, "net/dev");
    let lines = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    let names: Vec<&str> = lines.map(|(name, _)| name.trim()).collect();
    Control::exact("network.interfaces", "lo", names.join(","))
}

/// The words that the guest agent was started with.
pub(super) fn arguments(init: i32) -> Control {
    Control::exact("agent.arguments", agents_words(), words_of(init))
}

fn agents_words() -> String {
    format!("{AGENT} --stdio")
}

fn words_of(pid: i32) -> String {
    read(pid, "cmdline").trim_end_matches('\0').replace('\0', " ")
}

/// Whether it is the guest agent as the first process of a PID namespace: an engine that runs elsewhere tells numbers of
/// processes elsewhere.
pub(super) fn is_agent(pid: i32) -> bool {
    let status = fields(&read(pid, "status"));
    let numbers: Vec<&str> = status.get("NSpid").map_or("", |text| text).split(' ').collect();
    numbers.len() > 1 && numbers.last() == Some(&"1") && words_of(pid) == agents_words()
}

/// A file of /proc, or the reason why there is none: that never equals an expectation.
pub(super) fn read(init: i32, file: &str) -> String {
    match fs::read(format!("/proc/{init}/{file}")) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) => format!("unreadable: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_up_in_the_map_of_its_namespace() {
        let map = "         0       1001          1\n         1     100000      65536\n";
        assert_eq!(on_the_host(65532, map), "165531");
        assert_eq!(on_the_host(0, map), "1001");
        assert_eq!(on_the_host(65532, "0 0 4294967295\n"), "65532");
        assert_eq!(on_the_host(70000, map), "70000, which is nobody");
        assert_eq!(on_the_host(65532, "unreadable: no"), "65532, which is nobody");
    }

    #[test]
    fn no_process_of_this_host_is_an_agent_for_its_number_alone() {
        let own = i32::try_from(std::process::id()).expect("a number");
        assert!(!is_agent(own) && !is_agent(0));
    }
}
