//! The posture of a live sandbox: what it must be, decided with the bundle, and what the host reads.

mod descriptors;
mod gvisor;
mod mounts;
mod planned;
mod process;

use std::path::Path;

use agentkernel_cgroup::{CgroupPlan, DeviceRule, Group, Hierarchy};
use agentkernel_core::{Control, Limit, Posture, SandboxSpec};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::bundle::{self, PlanFacts};
use crate::engine::Engine;
use crate::kernel_file;
use crate::mountinfo::MountLine;
use crate::plan::{Plan, Privilege};
use crate::seccomp::SeccompFilters;
use planned::PlannedMounts;

/// What the posture of one sandbox must be. Kept in its record, so that another program can check.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expected {
    /// `uid_map` and `gid_map`, as `INSIDE OUTSIDE COUNT`, seen from the host.
    uid_map: String,
    gid_map: String,
    /// Ids of the sandbox's user on the host.
    host_uid: u32,
    host_gid: u32,
    /// Permitted, effective and bounding capabilities; the other two sets are empty.
    capabilities: u64,
    /// Soft and hard limits, as `/proc/PID/limits` names them.
    rlimits: Vec<(String, u64, u64)>,
    mounts: PlannedMounts,
    /// What the guest agent was started with, separated by spaces.
    arguments: String,
    /// The rules of its control group, where there are some for devices.
    devices: Vec<String>,
    pub(crate) cgroup: Option<CgroupPlan>,
    /// Made by an ordinary user: his supplementary groups cannot be dropped (CVE-2014-8989), and the
    /// descriptors of the undumpable guest agent cannot be read by him.
    rootless: bool,
    /// Made by a runtime of the host.
    engine: Option<Engine>,
    /// The sentry has been told to leave all files to its gofer.
    no_directfs: bool,
}

impl Expected {
    /// The posture that belongs to a description and its plan.
    #[must_use]
    pub fn of(spec: &SandboxSpec, facts: &PlanFacts, plan: &Plan) -> Self {
        let (uids, gids) = facts.privilege.id_maps();
        let host = facts.privilege;
        let host_gid = match host {
            Privilege::Root { first_id } => first_id + spec.user().gid,
            Privilege::Rootless { gid, .. } => gid,
        };
        Self {
            uid_map: uids.to_string(),
            gid_map: gids.to_string(),
            host_uid: host.host_uid(spec.user().uid),
            host_gid,
            capabilities: bundle::capabilities(spec, host).bits(),
            rlimits: rlimits(spec, facts),
            mounts: PlannedMounts::of(plan),
            arguments: words(&plan.config["process"]["args"]),
            devices: devices(&plan.resources()["devices"]),
            cgroup: plan.cgroup.clone(),
            rootless: matches!(host, Privilege::Rootless { .. }),
            engine: facts.runtime.as_ref().map(|runtime| runtime.engine),
            no_directfs: facts
                .runtime
                .as_ref()
                .is_some_and(|runtime| runtime.flags.iter().any(|flag| flag == "--directfs=false")),
        }
    }

    /// Reads the posture of the sandbox whose first process is `init`; `siblings` are the first
    /// processes of other live sandboxes.
    #[must_use]
    pub fn check(&self, init: i32, siblings: &[i32]) -> Posture {
        let look = || {
            let group = self.cgroup.as_ref().map(|plan| Hierarchy::detect().group(&plan.path));
            let processes = process::of_sandbox(init, siblings, group.as_ref());
            self.read(init, siblings, &processes, group, false)
        };
        let posture = look();
        // Processes are listed, and then read one by one. A process of root's was seen once in a live sandbox of crun's,
        // on a busy host: what a runtime leaves for a moment is gone when one looks again, and what is to be found is not.
        if posture.holds() { posture } else { look() }
    }

    /// The same for a sandbox that has just been made, and has no process but its first. A new namespace that is
    /// not the host's is nobody's.
    #[must_use]
    pub(crate) fn check_at_start(&self, init: i32, group: Option<Group>) -> Posture {
        self.read(init, &[], &[init], group, true)
    }

    fn read(
        &self,
        init: i32,
        siblings: &[i32],
        processes: &[i32],
        group: Option<Group>,
        at_start: bool,
    ) -> Posture {
        if self.engine.is_some_and(Engine::has_own_kernel) {
            let mut processes = group.as_ref().map(Group::processes).unwrap_or_default();
            if !processes.contains(&init) {
                processes.push(init); // where it should not be
            }
            let mut controls = gvisor::controls(self, init, siblings, &processes);
            controls.extend(self.limits(&processes, group));
            return Posture { controls };
        }
        let mut controls = Vec::new();
        let threads = process::threads(processes);
        controls.extend(process::identity(self, init, &threads));
        controls.extend(process::privileges(self, &threads));
        controls.extend(process::namespaces(init, siblings));
        controls.extend(process::limits(self, init));
        let mountinfo = read(init, "mountinfo");
        let mounts = MountLine::all(&mountinfo);
        controls.extend(mounts::controls(self, init, &mounts, at_start));
        controls.push(process::network_is_empty(init));
        controls.push(process::arguments(self, init));
        let limits = self.limits(processes, group);
        if !self.rootless {
            // Last of all: at the start the agent is still moving its own.
            controls.push(descriptors::control(init, &mounts, at_start));
        }
        controls.extend(limits);
        Posture { controls }
    }

    /// What the control group allows, and who is in it.
    fn limits(&self, processes: &[i32], group: Option<Group>) -> Vec<Control> {
        match (&self.cgroup, group) {
            (Some(plan), Some(group)) => {
                let mut controls = cgroup(plan, &group, processes);
                controls.extend(device_rules(&self.devices, &group));
                controls
            }
            _ => vec![Control::judged("cgroup", "given up by name", "none", true)],
        }
    }
}

/// `/proc/PID/limits` names of the bundle's rlimits.
fn rlimits(spec: &SandboxSpec, facts: &PlanFacts) -> Vec<(String, u64, u64)> {
    let name = |kind: &str| match kind {
        "RLIMIT_NOFILE" => "Max open files",
        "RLIMIT_CORE" => "Max core file size",
        "RLIMIT_MEMLOCK" => "Max locked memory",
        "RLIMIT_FSIZE" => "Max file size",
        "RLIMIT_NPROC" => "Max processes",
        "RLIMIT_SIGPENDING" => "Max pending signals",
        other => unreachable!("the bundle sets no {other}"),
    };
    debug_assert!(spec.limits().pids != Limit::At(0));
    bundle::rlimit_values(spec, facts)
        .into_iter()
        .map(|(kind, soft, hard)| (name(kind).to_owned(), soft, hard))
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
        let on_host = agentkernel_cgroup::has_swap();
        let none = actual.swap_bytes == Some(0) || !on_host;
        let shown = format!("limit {}, swap on the host: {on_host}", show(actual.swap_bytes));
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

/// Which devices may be used, in the words of the kernel; nothing where it has none for that.
fn device_rules(planned: &[String], group: &Group) -> Option<Control> {
    group.rules_devices().then(|| {
        let actual = group.devices().map_or_else(|error| error.to_string(), |lines| lines.join(", "));
        Control::exact("devices.rules", planned.join(", "), actual)
    })
}

fn devices(rules: &Value) -> Vec<String> {
    let rules: Vec<DeviceRule> = serde_json::from_value(rules.clone()).unwrap_or_default();
    let mut lines: Vec<String> = rules.iter().filter(|rule| rule.allow).map(DeviceRule::line).collect();
    lines.sort_unstable();
    lines
}

fn words(list: &Value) -> String {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
}

/// A line of a file of /proc, or the reason why there is none: that never equals an expectation.
fn read(init: i32, file: &str) -> String {
    read_lossy(&Path::new("/proc").join(init.to_string()).join(file))
}

/// Paths in it may be of any bytes.
fn read_lossy(path: &Path) -> String {
    kernel_file::read(path).map_or_else(
        |error| format!("unreadable: {error}"),
        |bytes| String::from_utf8_lossy(&bytes).into_owned(),
    )
}

impl Expected {
    /// Number of seccomp filters that every process has: runtimes make one of what are two here.
    fn filters(&self) -> usize {
        if self.engine.is_some() { 1 } else { SeccompFilters::COUNT }
    }
}
