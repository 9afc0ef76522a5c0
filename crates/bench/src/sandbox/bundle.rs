//! The bundle that every target gets: the one of our own sandboxes for a runtime, byte for byte the same for all.

use std::path::Path;

use agentkernel_core::{ByteSize, CpuCount, Error, ErrorKind, Image, Limit, Limits, Profile, Result};
use agentkernel_core::{SandboxName, SandboxSpec};
use agentkernel_oci::bundle::{PlanFacts, plan};
use agentkernel_oci::engine::Runtime;
use agentkernel_oci::{HostFacts, IdBlock};
use serde::Serialize;
use serde_json::{Value, json};

use crate::workload::Work;

/// The root folder in the bundle's folder.
pub const ROOTFS: &str = "rootfs";

/// What the sandboxes may use, if not the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// Memory.
    pub memory: Option<ByteSize>,
    /// Processor time.
    pub cpus: Option<CpuCount>,
}

/// A bundle without its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    config: Value,
    /// The path of its control group.
    pub group: String,
    /// What the group is to allow.
    pub limits: GroupLimits,
}

/// What a control group is to allow, as it is to be read back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct GroupLimits {
    /// Bytes of memory; of swap there is none.
    pub memory_bytes: u64,
    /// Microseconds of processor time in each period.
    pub cpu_quota_us: u64,
    /// The period.
    pub cpu_period_us: u64,
    /// Processes and threads of the host.
    pub pids: u64,
    /// Whether the host has swap to be limited.
    pub swap: bool,
}

impl Bundle {
    /// The bundle for this host. `strictest` is the target for which it says most: the others can do it as well.
    pub fn new(host: &HostFacts, block: &IdBlock, size: Size, strictest: &Runtime) -> Result<Self> {
        let limits = Limits::of(Profile::Restrictive);
        let limits = Limits {
            memory: size.memory.map_or(limits.memory, Limit::At),
            cpus: size.cpus.map_or(limits.cpus, Limit::At),
            ..limits
        };
        let name: SandboxName = "bench"
            .parse()
            .map_err(|why: String| Error::new(ErrorKind::Internal, "name the sandbox", why))?;
        let spec = SandboxSpec::builder(name, Profile::Restrictive)
            .image(Image::Rootfs(Path::new("/").to_owned())) // not looked at: the root folder is staged here
            .limits(limits)
            .build()?;
        let facts =
            PlanFacts { runtime: Some(strictest.clone()), ..host.for_plan(&spec, Some(block.first_id)) };
        let plan = plan(&spec, &facts)?;
        let group = facts.cgroup.ok_or_else(no_groups)?;
        let mut config = plan.config;
        config["root"]["path"] = json!(ROOTFS);
        config["linux"]["resources"] = plan.around;
        config["linux"]["cgroupsPath"] = json!(group);
        // What runs here is a command, and not the guest agent, which is another user under gVisor.
        config["process"]["user"] = json!({"uid": spec.user().uid, "gid": spec.user().gid});
        config["process"]["capabilities"] = json!({});
        // It is left out for gVisor, whose kernel has none and ignores it; the others are not to be weaker for that.
        if let Some(namespaces) = config["linux"]["namespaces"].as_array_mut()
            && namespaces.iter().all(|namespace| namespace["type"] != "cgroup")
        {
            namespaces.push(json!({"type": "cgroup"}));
        }
        let limits = group_limits(&config["linux"]["resources"], host.swap).ok_or_else(no_groups)?;
        Ok(Self { config, group, limits })
    }

    /// A bundle that no real runtime could start.
    #[must_use]
    pub fn empty() -> Self {
        Self { config: json!({"process": {}}), group: String::new(), limits: GroupLimits::default() }
    }

    /// `config.json` with this work.
    #[must_use]
    pub fn with(&self, work: &Work) -> Vec<u8> {
        let mut config = self.config.clone();
        config["process"]["args"] = json!(work.words);
        config.to_string().into_bytes()
    }
}

fn no_groups() -> Error {
    let why = "control groups with memory, cpu and pids cannot be made here";
    Error::new(ErrorKind::Unavailable, "plan the bundle", why)
        .hint("run as root, on a host where /sys/fs/cgroup is mounted and writable")
}

fn group_limits(resources: &Value, swap: bool) -> Option<GroupLimits> {
    Some(GroupLimits {
        memory_bytes: resources["memory"]["limit"].as_u64()?,
        cpu_quota_us: resources["cpu"]["quota"].as_u64()?,
        cpu_period_us: resources["cpu"]["period"].as_u64()?,
        pids: resources["pids"]["limit"].as_u64()?,
        swap,
    })
}
