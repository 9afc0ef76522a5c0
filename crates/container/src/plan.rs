//! What a container is asked to be, in the words of the engines' API: a pure function of its description.

mod refusals;

use std::path::Path;

use agentkernel_core::{Access, ByteSize, Limit, Limits, Result, SandboxSpec};
use agentkernel_hardening::limits::{CPU_PERIOD_US, LOCKED_MEMORY_MAX, SHM_BYTES, SIGNALS_MAX, tmpfs_inodes};
use agentkernel_hardening::{lists, seccomp};
use serde_json::{Value, json};

pub use crate::image::HostFolders;
use crate::inside::{AGENT, WORKSPACE};
use refusals::refuse_what_cannot_be_enforced;

/// What a plan depends on besides the description.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Name of the image that holds the agent.
    pub image: String,
    /// What is mounted of the host; nothing for an image of its own.
    pub host: HostFolders,
    /// Labels, by which the container is known to be ours.
    pub labels: Vec<(String, String)>,
}

/// Decides everything about one container, or refuses with the name of what cannot be enforced.
pub fn container(spec: &SandboxSpec, facts: &Facts) -> Result<Value> {
    refuse_what_cannot_be_enforced(spec)?;
    let user = spec.user();
    let labels: serde_json::Map<_, _> =
        facts.labels.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    Ok(json!({
        "Image": facts.image,
        "Entrypoint": [AGENT],
        "Cmd": ["--stdio"],
        "User": format!("{}:{}", user.uid, user.gid),
        "Hostname": spec.hostname().as_str(),
        "WorkingDir": "/",
        "Env": [],
        "Labels": labels,
        "Tty": false,
        "OpenStdin": true,
        // The end of our stream is the end of its stdin, and so of the agent.
        "StdinOnce": true,
        "AttachStdin": true,
        "AttachStdout": true,
        "AttachStderr": true,
        // No stack of the network at all; the mode alone would still bring the host's name servers in.
        "NetworkDisabled": true,
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": host_config(spec, facts),
    }))
}

fn host_config(spec: &SandboxSpec, facts: &Facts) -> Value {
    let mut config = json!({
        "AutoRemove": true,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", format!("seccomp={}", seccomp::profile(seccomp::Unknown::ErrnoByName))],
        "Privileged": false,
        "ReadonlyRootfs": true,
        "NetworkMode": "none",
        "IpcMode": "private",
        "CgroupnsMode": "private",
        // The agent is the first process.
        "Init": false,
        // What the agent says is for us alone, and is on no disk.
        "LogConfig": {"Type": "none"},
        "RestartPolicy": {"Name": "no"},
        "MaskedPaths": masked_paths(),
        "ReadonlyPaths": read_only_paths(),
        "ShmSize": SHM_BYTES.min(spec.limits().disk.get()),
        "Tmpfs": tmpfs(spec),
        "Mounts": mounts(spec, facts),
        "Ulimits": ulimits(spec.limits()),
        "PidsLimit": spec.limits().pids.value().map_or(-1, i64::from),
        "OomKillDisable": false,
    });
    for (name, value) in size(spec.limits()) {
        config[name] = json!(value);
    }
    config
}

/// The limits that can be changed later: name and value, 0 for none.
pub(crate) fn size(limits: &Limits) -> [(&'static str, u64); 4] {
    let memory = limits.memory.value().map_or(0, ByteSize::get);
    let quota = match limits.cpus {
        Limit::At(cpus) => CPU_PERIOD_US * u64::from(cpus.as_milli()) / 1000,
        Limit::Unlimited => 0,
    };
    let period = if quota == 0 { 0 } else { CPU_PERIOD_US };
    // Memory and swap are counted together: equal means no swap.
    [("Memory", memory), ("MemorySwap", memory), ("CpuPeriod", period), ("CpuQuota", quota)]
}

/// Engines show all of `/sys`, and message queues, which no other sandbox of ours has.
fn masked_paths() -> Vec<&'static str> {
    lists::MASKED_PATHS.iter().copied().chain(["/sys", "/dev/mqueue"]).collect()
}

/// Without `/dev`, which is root's here, and would be mounted over itself with all that is in it.
fn read_only_paths() -> Vec<&'static str> {
    lists::READ_ONLY_PATHS.iter().copied().filter(|path| *path != "/dev").collect()
}

fn tmpfs(spec: &SandboxSpec) -> Value {
    let (user, disk) = (spec.user(), spec.limits().disk.get());
    // What is not said here is forbidden by engines: `exec` is.
    let common = format!("rw,exec,nosuid,nodev,size={disk},nr_inodes={}", tmpfs_inodes(disk));
    json!({
        "/tmp": format!("{common},mode=1777"),
        WORKSPACE: format!("{common},mode=755,uid={},gid={}", user.uid, user.gid),
    })
}

fn mounts(spec: &SandboxSpec, facts: &Facts) -> Vec<Value> {
    let host = facts.host.places().filter(|_| facts.host != HostFolders::default());
    let host = host.map(|place| bind(&place, &place, Access::ReadOnly));
    let named = spec.mounts().iter().map(|mount| bind(mount.source(), mount.target(), mount.access()));
    host.chain(named).collect()
}

/// Without what is mounted below it on the host, which engines would leave writable.
fn bind(source: &Path, target: &Path, access: Access) -> Value {
    json!({
        "Type": "bind",
        "Source": source.to_string_lossy(),
        "Target": target.to_string_lossy(),
        "ReadOnly": access == Access::ReadOnly,
        "BindOptions": {"Propagation": "rprivate", "NonRecursive": true},
    })
}

/// The rlimits of a sandbox's processes: name, soft, hard. None for processes: without a user namespace the kernel counts
/// those of all sandboxes of an engine together, so that one could take them from another. Each has its control group's.
pub(crate) fn rlimits(limits: &Limits) -> [(&'static str, u64, u64); 5] {
    let (files, disk) = (u64::from(limits.open_files), limits.disk.get());
    [
        ("nofile", files, files * 4),
        ("core", 0, 0),
        ("memlock", LOCKED_MEMORY_MAX, LOCKED_MEMORY_MAX),
        ("fsize", disk, disk),
        ("sigpending", SIGNALS_MAX, SIGNALS_MAX),
    ]
}

fn ulimits(limits: &Limits) -> Vec<Value> {
    let one = |(name, soft, hard): (&str, u64, u64)| json!({"Name": name, "Soft": soft, "Hard": hard});
    rlimits(limits).map(one).into()
}

#[cfg(test)]
mod tests;
