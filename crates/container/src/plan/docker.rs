//! A container in the words of Docker.

use agentkernel_core::{Access, SandboxSpec};
use agentkernel_hardening::limits::{rlimits, tmpfs_inodes};
use agentkernel_hardening::seccomp::{self, Unknown};
use serde_json::{Value, json};

use super::{AGENT_WORDS, Facts, Plan, binds, labels, masked_paths, read_only_paths, shm_bytes, size};
use crate::inside::{AGENT, WORKSPACE, places_in_memory};

pub(super) fn plan(spec: &SandboxSpec, facts: &Facts) -> Plan {
    let user = spec.user();
    let host = host_config(spec, facts);
    let body = json!({
        "Image": facts.image,
        "Entrypoint": [AGENT],
        "Cmd": AGENT_WORDS,
        "User": format!("{}:{}", user.uid, user.gid),
        "Hostname": spec.hostname().as_str(),
        "WorkingDir": "/",
        "Env": [],
        "Labels": labels(facts),
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
        "HostConfig": host,
    });
    Plan { told: body["HostConfig"].clone(), body }
}

fn host_config(spec: &SandboxSpec, facts: &Facts) -> Value {
    let filter = format!("seccomp={}", seccomp::profile(Unknown::ErrnoByName));
    let mut config = json!({
        "AutoRemove": true,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges", filter],
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
        "ShmSize": shm_bytes(spec.limits()),
        "Tmpfs": tmpfs(spec),
        "Mounts": mounts(spec, facts),
        "Ulimits": ulimits(spec),
        "PidsLimit": spec.limits().pids.value().map_or(-1, i64::from),
        "OomKillDisable": false,
    });
    for (name, value) in size(spec.limits()) {
        config[name] = json!(value);
    }
    config
}

fn tmpfs(spec: &SandboxSpec) -> Value {
    let (user, disk) = (spec.user(), spec.limits().disk.get());
    // What is not said here is forbidden by engines: `exec` is.
    let common = format!("rw,exec,nosuid,nodev,size={disk},nr_inodes={}", tmpfs_inodes(disk));
    let options = |place| match place {
        WORKSPACE => format!("{common},mode=755,uid={},gid={}", user.uid, user.gid),
        _ => format!("{common},mode=1777"),
    };
    places_in_memory(spec).into_iter().map(|place| (place.to_owned(), json!(options(place)))).collect()
}

/// Without what is mounted below it on the host, which Docker would leave writable.
fn mounts(spec: &SandboxSpec, facts: &Facts) -> Vec<Value> {
    let bind = |(source, target, access): (std::path::PathBuf, std::path::PathBuf, Access)| {
        json!({
            "Type": "bind",
            "Source": source.to_string_lossy(),
            "Target": target.to_string_lossy(),
            "ReadOnly": access == Access::ReadOnly,
            "BindOptions": {"Propagation": "rprivate", "NonRecursive": true},
        })
    };
    binds(spec, facts).map(bind).collect()
}

fn ulimits(spec: &SandboxSpec) -> Vec<Value> {
    let one = |(name, soft, hard): (&str, u64, u64)| json!({"Name": name, "Soft": soft, "Hard": hard});
    rlimits(spec.limits()).map(one).into()
}
