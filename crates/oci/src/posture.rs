//! The posture of a live sandbox: what it must be, decided with the bundle, and what the host reads.

mod mounts;
mod process;

use std::fs;
use std::path::Path;

use agentkernel_core::{Access, Control, Limit, Posture, SandboxSpec};
use serde::{Deserialize, Serialize};

use crate::bundle::{self, PlanFacts};
use crate::cgroup::{Group, Hierarchy};
use crate::plan::{CgroupPlan, Privilege};
use crate::seccomp::SeccompFilters;

/// What the posture of one sandbox must be. Kept in its record, so that another program can check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// `uid_map` and `gid_map`, as `INSIDE OUTSIDE COUNT`, seen from the host.
    uid_map: String,
    gid_map: String,
    /// Ids of the sandbox's user on the host.
    host_uid: u32,
    host_gid: u32,
    /// Permitted, effective and bounding capabilities; the other two sets are empty.
    capabilities: u64,
    /// Hard limits, as `/proc/PID/limits` names them.
    rlimits: Vec<(String, u64)>,
    /// Places that may be mounted writable.
    writable: Vec<String>,
    pub(crate) cgroup: Option<CgroupPlan>,
    /// Made by an ordinary user: his supplementary groups cannot be dropped (CVE-2014-8989), and the
    /// descriptors of the undumpable guest agent cannot be read by him.
    rootless: bool,
}

impl Expected {
    /// The posture that belongs to a description.
    #[must_use]
    pub fn of(spec: &SandboxSpec, facts: &PlanFacts, cgroup: Option<CgroupPlan>) -> Self {
        let (uids, gids) = facts.privilege.id_maps();
        let host = facts.privilege;
        let host_gid = match host {
            Privilege::Root { first_id } => first_id + spec.user().gid,
            Privilege::Rootless { gid, .. } => gid,
        };
        let mounts = spec.mounts().iter().filter(|mount| mount.access() == Access::ReadWrite);
        let mut writable: Vec<String> = bundle::WRITABLE.iter().map(|place| (*place).to_owned()).collect();
        writable.extend(mounts.map(|mount| mount.target().to_string_lossy().into_owned()));
        Self {
            uid_map: uids.to_string(),
            gid_map: gids.to_string(),
            host_uid: host.host_uid(spec.user().uid),
            host_gid,
            capabilities: bundle::capabilities(spec, host).bits(),
            rlimits: rlimits(spec, facts),
            writable,
            cgroup,
            rootless: matches!(host, Privilege::Rootless { .. }),
        }
    }

    /// Reads the posture of the sandbox whose first process is `init`; `siblings` are the first
    /// processes of other live sandboxes.
    #[must_use]
    pub fn check(&self, init: i32, siblings: &[i32]) -> Posture {
        let group = self.cgroup.as_ref().map(|plan| Hierarchy::detect().group(&plan.path));
        let processes = process::of_sandbox(init, siblings, group.as_ref());
        self.read(init, siblings, &processes, group)
    }

    /// The same for a sandbox that has just been made, and has no process but its first. A new namespace that is
    /// not the host's is nobody's.
    #[must_use]
    pub fn check_at_start(&self, init: i32) -> Posture {
        let group = self.cgroup.as_ref().map(|plan| Hierarchy::detect().group(&plan.path));
        self.read(init, &[], &[init], group)
    }

    fn read(&self, init: i32, siblings: &[i32], processes: &[i32], group: Option<Group>) -> Posture {
        let mut controls = Vec::new();
        let threads = process::threads(processes);
        controls.extend(process::identity(self, init, &threads));
        controls.extend(process::privileges(self, &threads));
        controls.extend(process::namespaces(init, siblings));
        controls.extend(process::limits(self, init));
        controls.extend(mounts::controls(self, &read(init, "mountinfo")));
        controls.push(process::network_is_empty(init));
        if !self.rootless {
            controls.push(process::descriptors(init));
        }
        match (&self.cgroup, group) {
            (Some(plan), Some(group)) => controls.extend(cgroup(plan, &group, processes)),
            _ => controls.push(Control::judged("cgroup", "given up by name", "none", true)),
        }
        Posture { controls }
    }
}

/// `/proc/PID/limits` names of the bundle's rlimits.
fn rlimits(spec: &SandboxSpec, facts: &PlanFacts) -> Vec<(String, u64)> {
    let name = |kind: &str| match kind {
        "RLIMIT_NOFILE" => "Max open files",
        "RLIMIT_CORE" => "Max core file size",
        "RLIMIT_MEMLOCK" => "Max locked memory",
        "RLIMIT_FSIZE" => "Max file size",
        "RLIMIT_NPROC" => "Max processes",
        other => unreachable!("the bundle sets no {other}"),
    };
    debug_assert!(spec.limits().pids != Limit::At(0));
    bundle::rlimit_values(spec, facts)
        .into_iter()
        .map(|(kind, _soft, hard)| (name(kind).to_owned(), hard))
        .collect()
}

fn cgroup(plan: &CgroupPlan, group: &Group, processes: &[i32]) -> Vec<Control> {
    let actual = match group.read_back() {
        Ok(actual) => actual,
        Err(error) => {
            return vec![Control::judged("cgroup", "readable", error.to_string(), false)];
        }
    };
    let show = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
    let page = |bytes: Option<u64>| show(bytes.map(|bytes| bytes / 4096 * 4096));
    let mut controls = vec![
        Control::exact("limit.memory_bytes", page(plan.memory_bytes), page(actual.memory_bytes)),
        Control::exact("limit.cpu_milli", show(plan.cpu_milli), show(actual.cpu_milli)),
        Control::exact("limit.pids", show(plan.pids), show(actual.pids)),
    ];
    if plan.memory_bytes.is_some() {
        let none = actual.swap_bytes == Some(0) || !crate::cgroup::has_swap();
        let shown =
            format!("limit {}, swap on the host: {}", show(actual.swap_bytes), crate::cgroup::has_swap());
        controls.push(Control::judged("limit.swap", "none to be had", shown, none));
    }
    let outside: Vec<_> = processes.iter().filter(|pid| !group.holds(**pid, &plan.path)).collect();
    controls.push(Control::exact(
        "cgroup.members",
        "every process, in every tree",
        if outside.is_empty() {
            "every process, in every tree".to_owned()
        } else {
            format!("not {outside:?}")
        },
    ));
    controls
}

/// A line of a file of /proc, or the reason why there is none: that never equals an expectation.
fn read(init: i32, file: &str) -> String {
    let path = Path::new("/proc").join(init.to_string()).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| format!("unreadable: {error}"))
}

/// Number of seccomp filters that every process has.
const FILTERS: usize = SeccompFilters::COUNT;
