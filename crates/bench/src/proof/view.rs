//! A sandbox as the host sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::{Deserialize, Serialize};

/// Files of a control group that say what it allows, of either version.
const LIMIT_FILES: &[&str] = &[
    "memory.max",
    "memory.swap.max",
    "cpu.max",
    "pids.max",
    "memory.limit_in_bytes",
    "memory.memsw.limit_in_bytes",
    "cpu.cfs_quota_us",
    "cpu.cfs_period_us",
];

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// The host's own kernel.
    pub kernel: String,
    /// The host's own network namespace.
    pub network: String,
    /// Whoever is in the sandbox's control group.
    pub processes: Vec<ProcessView>,
    /// What that group allows, by file.
    pub limits: BTreeMap<String, String>,
}

/// One process. What cannot be read is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessView {
    /// Its number on the host.
    pub pid: u32,
    /// Its name.
    pub name: String,
    /// Where its program is, in its own root folder.
    pub program: String,
    /// Its network namespace.
    pub network: String,
    /// Its effective capabilities.
    pub cap_effective: String,
    /// Its seccomp mode.
    pub seccomp: String,
    /// Whether it can gain privileges by executing.
    pub no_new_privs: String,
}

impl HostView {
    /// Looks at these processes, and at the files of their group.
    #[must_use]
    pub fn of(processes: &BTreeSet<u32>, read: &dyn Fn(&str) -> Option<String>) -> Self {
        let limit = |name: &&str| Some(((*name).to_owned(), read(name)?));
        Self {
            kernel: fs::read_to_string("/proc/version").unwrap_or_default().trim().to_owned(),
            network: link("/proc/self/ns/net"),
            processes: processes.iter().map(|pid| ProcessView::of(*pid)).collect(),
            limits: LIMIT_FILES.iter().filter_map(limit).collect(),
        }
    }
}

impl ProcessView {
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_default().trim().to_owned()
        };
        Self {
            pid,
            name: field("Name"),
            program: link(&format!("/proc/{pid}/exe")),
            network: link(&format!("/proc/{pid}/ns/net")),
            cap_effective: field("CapEff"),
            seccomp: field("Seccomp"),
            no_new_privs: field("NoNewPrivs"),
        }
    }
}

fn link(path: &str) -> String {
    fs::read_link(path).map(|target| target.display().to_string()).unwrap_or_default()
}
