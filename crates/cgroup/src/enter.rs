//! Making a group, and the quick way into it.
//!
//! Whoever writes another process's PID to `cgroup.procs` waits until no process on the host can be in the middle of
//! a fork or an exit: an RCU grace period, 8 to 21 ms measured where all of a cold start takes 5. There are two ways
//! around it. A single thread that moves itself, by writing 0 to a v1 group's `tasks`, need not wait (0.3 ms measured;
//! `cgroup_procs_write_start` in kernel/cgroup/cgroup.c says why); and a process can be cloned into a v2 group.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::door::GroupDoor;
use crate::group::Group;
use crate::hierarchy::NEEDED;
use crate::plan::{CPU_PERIOD_US, CgroupPlan, cpu_quota_us};
use crate::read_back::has_swap;

/// One of `linux.resources.devices`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceRule {
    /// Whether it allows, or denies.
    pub allow: bool,
    /// Without one, all devices are meant.
    #[serde(rename = "type")]
    kind: Option<char>,
    major: Option<u32>,
    minor: Option<u32>,
    access: String,
}

impl DeviceRule {
    /// Refuses one of which the kernel would read a part.
    pub fn check(&self) -> Result<(), String> {
        let is_whole = !self.access.is_empty() && self.access.chars().all(|one| "rwm".contains(one));
        if is_whole { Ok(()) } else { Err(format!("{:?} is no access to a device", self.access)) }
    }

    /// As a group of v1 takes it, and lists it.
    pub fn line(&self) -> String {
        let any = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        match self.kind {
            None => "a".to_owned(),
            Some(kind) => format!("{kind} {}:{} {}", any(self.major), any(self.minor), self.access),
        }
    }
}

/// What runtimes allow besides: to make nodes of any device, which is nothing without a capability, and tunnels.
const WISHES: [&str; 3] = ["b *:* m", "c *:* m", "c 10:200 rwm"];

impl Group {
    /// Makes the group with the limits of an OCI configuration's `linux.resources`.
    pub fn create(&self, resources: &Value) -> io::Result<()> {
        match self {
            Self::V1 { folders, .. } => {
                for folder in folders.values() {
                    match fs::create_dir(folder) {
                        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                            return Err(named(folder, &error));
                        }
                        _ => {} // made, or the same folder serves two controllers
                    }
                }
                self.limit_v1(resources)
            }
            Self::V2(folder) => {
                let parent = folder.parent().unwrap_or(folder);
                let given = parent.join("cgroup.subtree_control");
                let has = fs::read_to_string(&given).map_err(|error| named(&given, &error))?;
                let has: Vec<&str> = has.split_whitespace().collect();
                if NEEDED.iter().any(|name| !has.contains(name)) {
                    fs::write(&given, "+memory +cpu +pids").map_err(|error| named(&given, &error))?;
                }
                fs::create_dir(folder).map_err(|error| named(folder, &error))?;
                self.limit_v2(resources)
            }
        }
    }

    /// Gives a group that is in use other limits of memory and processors.
    pub fn resize(&self, plan: &CgroupPlan) -> io::Result<()> {
        let none = match self {
            Self::V1 { .. } => "-1",
            Self::V2(_) => "max",
        };
        let memory: Value = plan.memory_bytes.map_or_else(|| none.into(), Value::from);
        let quota = plan.cpu_milli.map(|milli| i64::try_from(cpu_quota_us(milli)).unwrap_or(i64::MAX));
        let quota: Value = quota.map_or_else(|| none.into(), Value::from);
        let mut resources =
            json!({"memory": {"limit": memory}, "cpu": {"quota": quota, "period": CPU_PERIOD_US}});
        if has_swap() {
            resources["memory"]["swap"] = memory;
        }
        match self {
            Self::V1 { .. } => self.limit_memory_and_cpu_v1(&resources),
            Self::V2(_) => self.limit_v2(&resources),
        }
    }

    fn limit_memory_and_cpu_v1(&self, resources: &Value) -> io::Result<()> {
        let (limit, both) = (&resources["memory"]["limit"], &resources["memory"]["swap"]);
        // Memory alone may never be more than memory and swap: which comes first depends on the old values.
        let (alone, together) = ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes");
        self.write("memory", alone, limit).or_else(|_| self.write("memory", together, both))?;
        self.write("memory", together, both)?;
        self.write("memory", alone, limit)?;
        self.write("cpu", "cpu.cfs_period_us", &resources["cpu"]["period"])?;
        self.write("cpu", "cpu.cfs_quota_us", &resources["cpu"]["quota"])
    }

    fn limit_v1(&self, resources: &Value) -> io::Result<()> {
        self.limit_memory_and_cpu_v1(resources)?;
        self.write("pids", "pids.max", &resources["pids"]["limit"])?;
        self.limit_devices(&resources["devices"])
    }

    fn limit_devices(&self, rules: &Value) -> io::Result<()> {
        if rules.is_null() {
            return Ok(());
        }
        if !self.rules_devices() {
            return Err(io::Error::other("there are no rules for devices in this host's control groups"));
        }
        let rules: Vec<DeviceRule> = serde_json::from_value(rules.clone())?;
        rules.chunk_by(|one, next| one.allow == next.allow).try_for_each(|alike| {
            let file = if alike[0].allow { "devices.allow" } else { "devices.deny" };
            self.write_each("devices", file, alike.iter().map(DeviceRule::line))
        })
    }

    fn limit_v2(&self, resources: &Value) -> io::Result<()> {
        let memory = &resources["memory"];
        self.write("memory", "memory.max", &memory["limit"])?;
        if !memory["swap"].is_null() {
            self.write("memory", "memory.swap.max", &swap_alone(memory)?)?;
        }
        let cpu = &resources["cpu"];
        if !cpu.is_null() {
            self.write("cpu", "cpu.max", &format!("{} {}", cpu["quota"], cpu["period"]).into())?;
        }
        self.write("pids", "pids.max", &resources["pids"]["limit"])?;
        self.limit_devices(&resources["devices"])
    }

    /// Runtimes give their own group these rules as well, and can only have them while the group around it does.
    pub fn allow_what_runtimes_want(&self) -> io::Result<()> {
        self.each_wish("devices.allow")
    }

    /// Takes them away again, from what is inside as well.
    pub fn deny_what_runtimes_want(&self) -> io::Result<()> {
        self.each_wish("devices.deny")
    }

    fn each_wish(&self, file: &str) -> io::Result<()> {
        if !self.rules_devices() {
            return Ok(());
        }
        self.write_each("devices", file, WISHES.iter().map(|wish| (*wish).to_owned()))
    }

    /// Writes a limit; one that was not asked for stays as the kernel has it.
    fn write(&self, controller: &str, name: &str, value: &Value) -> io::Result<()> {
        let text = match value {
            Value::Null => return Ok(()),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        self.write_each(controller, name, std::iter::once(text))
    }

    /// Writes one after the other to the same file: the kernel takes each write for a whole value.
    fn write_each(
        &self,
        controller: &str,
        name: &str,
        mut values: impl Iterator<Item = String>,
    ) -> io::Result<()> {
        let path = self.file(controller, name);
        // Not created: a missing file is a missing controller, and that is an error.
        let file = OpenOptions::new().write(true).open(&path);
        file.and_then(|mut file| values.try_for_each(|value| file.write_all(value.as_bytes())))
            .map_err(|error| named(&path, &error))
    }

    /// The files by which a process of one thread gets into it: it writes 0 to each. On v2 it waits there for the rest of
    /// the host.
    #[must_use]
    pub fn entrances(&self) -> Vec<PathBuf> {
        match self {
            Self::V1 { folders, .. } => {
                // Controllers that are mounted together share a folder.
                let folders: BTreeSet<&PathBuf> = folders.values().collect();
                folders.into_iter().map(|folder| folder.join("tasks")).collect()
            }
            Self::V2(folder) => vec![folder.join("cgroup.procs")],
        }
    }

    /// Opens the way into the group for a process that is about to be made.
    pub fn door(&self) -> io::Result<GroupDoor> {
        match self {
            Self::V1 { .. } => {
                let open = |path: PathBuf| {
                    OpenOptions::new().write(true).open(&path).map_err(|error| named(&path, &error))
                };
                self.entrances().into_iter().map(open).collect::<io::Result<_>>().map(GroupDoor::Tasks)
            }
            Self::V2(folder) => {
                let open = File::open(folder).map_err(|error| named(folder, &error))?;
                Ok(GroupDoor::Folder(open.into()))
            }
        }
    }
}

/// OCI, like v1, counts memory and swap together; v2 each alone.
fn swap_alone(memory: &Value) -> io::Result<Value> {
    let (limit, both) = (&memory["limit"], &memory["swap"]);
    let apart = || both.as_u64()?.checked_sub(limit.as_u64()?).map(Value::from);
    // No limit on either is no number, and still leaves no swap.
    let apart = if limit == both { Some(0.into()) } else { apart() };
    apart.ok_or_else(|| {
        io::Error::other(format!("memory and swap together cannot be {both}, with memory {limit}"))
    })
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_controller_is_an_error_and_not_a_new_file() {
        let folder = tempfile::tempdir().expect("temp dir");
        let group = Group::V2(folder.path().to_owned());
        assert!(group.write("memory", "memory.max", &1.into()).is_err());
        assert!(!folder.path().join("memory.max").exists());
    }

    #[test]
    fn limits_are_written_as_a_unified_group_wants_them() {
        let folder = tempfile::tempdir().expect("temp dir");
        for name in ["memory.max", "memory.swap.max", "cpu.max", "pids.max"] {
            fs::write(folder.path().join(name), "").expect("made");
        }
        let group = Group::V2(folder.path().to_owned());
        let resources = serde_json::json!({
            "memory": {"limit": 4096, "swap": 4096},
            "cpu": {"quota": 150_000, "period": 100_000},
            "pids": {"limit": 7},
        });
        group.limit_v2(&resources).expect("written");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("read");
        assert_eq!(read("memory.max"), "4096");
        assert_eq!(read("memory.swap.max"), "0");
        assert_eq!(read("cpu.max"), "150000 100000");
        assert_eq!(read("pids.max"), "7");
    }

    #[test]
    fn swap_is_what_is_left_beyond_the_memory() {
        let swap = |limit: Value, swap: Value| swap_alone(&json!({"limit": limit, "swap": swap})).ok();
        assert_eq!(swap(4096.into(), 12288.into()), Some(8192.into()));
        assert_eq!(swap("max".into(), "max".into()), Some(0.into()));
        assert_eq!(swap(4096.into(), 0.into()), None);
    }

    #[test]
    fn rules_for_devices_are_refused_where_nobody_would_keep_them() {
        let folder = tempfile::tempdir().expect("temp dir");
        let group = Group::V2(folder.path().to_owned());
        let rules = json!([{"allow": false, "access": "rwm"}]);
        assert!(group.limit_devices(&rules).is_err());
        assert!(group.limit_devices(&Value::Null).is_ok());
    }
}
