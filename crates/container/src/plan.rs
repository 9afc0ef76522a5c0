//! What a container is asked to be, in the words of the engines' API: a pure function of its description.

mod docker;
mod podman;
mod refusals;

use std::path::{Path, PathBuf};

use agentkernel_cgroup::{CPU_PERIOD_US, cpu_quota_us};
use agentkernel_core::{Access, BackendKind, ByteSize, Limit, Limits, Result, SandboxSpec};
use agentkernel_hardening::limits::SHM_BYTES;
use agentkernel_hardening::lists;
use serde_json::{Value, json};

pub use crate::image::HostFolders;
use refusals::refuse_what_cannot_be_enforced;
pub(crate) use refusals::runs_no_module;

/// What a plan depends on besides the description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Whose words the plan is in.
    pub kind: BackendKind,
    /// Name of the image that holds the agent.
    pub image: String,
    /// What is mounted of the host; nothing for an image of its own.
    pub host: HostFolders,
    /// Labels, by which the container is known to be ours.
    pub labels: Vec<(String, String)>,
    /// Where the system call filter is as a file, for an engine that wants one.
    pub filter: PathBuf,
    /// The most processes that a user can have here, for an engine that would ask for more.
    pub processes_max: u64,
}

/// A container to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What the engine is asked for.
    pub body: Value,
    /// What it must say that it has done: `HostConfig` of the container, as it is inspected.
    pub told: Value,
}

/// Decides everything about one container, or refuses with the name of what cannot be enforced.
pub fn container(spec: &SandboxSpec, facts: &Facts) -> Result<Plan> {
    refuse_what_cannot_be_enforced(spec)?;
    Ok(match facts.kind {
        BackendKind::Podman => podman::plan(spec, facts),
        _ => docker::plan(spec, facts),
    })
}

/// What changes the limits of a live container, in the words of its engine.
pub(crate) fn update(kind: BackendKind, limits: &Limits) -> Value {
    match kind {
        BackendKind::Podman => podman::sizes(limits),
        _ => size(limits).into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect(),
    }
}

/// The words that the agent is started with.
const AGENT_WORDS: [&str; 1] = ["--stdio"];

/// The limits that can be changed later: name and value, 0 for none.
pub(crate) fn size(limits: &Limits) -> [(&'static str, u64); 4] {
    let memory = limits.memory.value().map_or(0, ByteSize::get);
    let quota = match limits.cpus {
        Limit::At(cpus) => cpu_quota_us(cpus.as_milli().into()),
        Limit::Unlimited => 0,
    };
    let period = if quota == 0 { 0 } else { CPU_PERIOD_US };
    // Memory and swap are counted together: equal means no swap.
    [("Memory", memory), ("MemorySwap", memory), ("CpuPeriod", period), ("CpuQuota", quota)]
}

/// Engines show all of `/sys`, and message queues, which no other sandbox of ours has.
pub(crate) fn masked_paths() -> Vec<&'static str> {
    lists::MASKED_PATHS.iter().copied().chain(["/sys", "/dev/mqueue"]).collect()
}

/// Without `/dev`, which is root's here, and would be mounted over itself with all that is in it.
pub(crate) fn read_only_paths() -> Vec<&'static str> {
    lists::READ_ONLY_PATHS.iter().copied().filter(|path| *path != "/dev").collect()
}

/// Its labels, as one object.
fn labels(facts: &Facts) -> Value {
    facts.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
}

/// Size of `/dev/shm`, bytes.
pub(crate) fn shm_bytes(limits: &Limits) -> u64 {
    SHM_BYTES.min(limits.disk.get())
}

/// Places of the host in the container: source, target, and what may be done.
fn binds<'a>(
    spec: &'a SandboxSpec,
    facts: &'a Facts,
) -> impl Iterator<Item = (PathBuf, PathBuf, Access)> + 'a {
    let host = facts.host.places().filter(|_| facts.host != HostFolders::default());
    let host = host.map(|place| (place.clone(), place, Access::ReadOnly));
    let owned = |path: &Path| path.to_owned();
    let named = spec.mounts().iter();
    host.chain(named.map(move |mount| (owned(mount.source()), owned(mount.target()), mount.access())))
}

#[cfg(test)]
mod tests;
