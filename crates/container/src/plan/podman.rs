//! A container in the words of Podman's own API: the one that it shares with Docker cannot say that nothing but what is
//! named here is to be writable, nor what is to be hidden.

use agentkernel_cgroup::{CPU_PERIOD_US, cpu_quota_us};
use agentkernel_core::{Access, ByteSize, Limit, Limits, SandboxSpec};
use agentkernel_hardening::limits::rlimits;
use serde_json::{Value, json};

use super::{AGENT_WORDS, Facts, Plan, binds, labels, masked_paths, shm_bytes};
use crate::inside::{AGENT, places_in_memory};

pub(super) fn plan(spec: &SandboxSpec, facts: &Facts) -> Plan {
    let user = spec.user();
    let mut body = json!({
        "image": facts.image,
        "entrypoint": [AGENT],
        "command": AGENT_WORDS,
        "user": format!("{}:{}", user.uid, user.gid),
        "hostname": spec.hostname().as_str(),
        "work_dir": "/",
        "env": {},
        // Proxies of the engine's own environment are not the sandbox's.
        "httpproxy": false,
        "labels": labels(facts),
        "terminal": false,
        // The end of our stream is the end of its stdin, and so of the agent.
        "stdin": true,
        "remove": true,
        "log_configuration": {"driver": "none"},
        "healthconfig": {"Test": ["NONE"]},
        "image_volume_mode": "ignore",
        "init": false,
        "systemd": "false",
    });
    for (name, value) in controls(spec, facts) {
        body[name] = value;
    }
    Plan { body, told: told(spec) }
}

/// What keeps it from the host.
fn controls(spec: &SandboxSpec, facts: &Facts) -> Vec<(&'static str, Value)> {
    let limits = spec.limits();
    let mut resources = sizes(limits);
    resources["pids"] = json!({"limit": limits.pids.value().map_or(-1, i64::from)});
    let namespaces = ["ipcns", "pidns", "utsns", "cgroupns"].map(|name| (name, json!({"nsmode": "private"})));
    let others = [
        ("cap_drop", json!(["ALL"])),
        ("no_new_privileges", json!(true)),
        ("privileged", json!(false)),
        ("seccomp_profile_path", json!(facts.filter.to_string_lossy())),
        ("mask", json!(masked_paths())),
        ("read_only_filesystem", json!(true)),
        ("netns", json!({"nsmode": "none"})),
        // Neither the host's name servers nor its names.
        ("use_image_hosts", json!(true)),
        ("use_image_resolve_conf", json!(true)),
        ("mounts", json!(mounts(spec, facts))),
        ("shm_size", json!(shm_bytes(limits))),
        ("r_limits", json!(r_limits(spec, facts))),
        ("resource_limits", resources),
    ];
    namespaces.into_iter().chain(others).collect()
}

/// It does not tell of limits that were changed; those are read from the host.
fn told(spec: &SandboxSpec) -> Value {
    json!({
        "AutoRemove": true,
        "Privileged": false,
        "ReadonlyRootfs": true,
        "NetworkMode": "none",
        "PidMode": "private",
        "UTSMode": "private",
        "LogConfig": {"Type": "none"},
        "SecurityOpt": ["no-new-privileges"],
        "ShmSize": shm_bytes(spec.limits()),
    })
}

/// Memory and processors.
pub(super) fn sizes(limits: &Limits) -> Value {
    let mut sizes = json!({});
    if let Some(memory) = limits.memory.value().map(ByteSize::get) {
        // Memory and swap are counted together: equal means no swap.
        sizes["memory"] = json!({"limit": memory, "swap": memory});
    }
    if let Limit::At(cpus) = limits.cpus {
        let quota = cpu_quota_us(cpus.as_milli().into());
        sizes["cpu"] = json!({"quota": quota, "period": CPU_PERIOD_US});
    }
    sizes
}

/// A place of its own cannot have an owner here, so that the workspace is everybody's who is in the sandbox.
fn mounts(spec: &SandboxSpec, facts: &Facts) -> Vec<Value> {
    let size = format!("size={}", spec.limits().disk.get());
    let tmpfs = |place: &str| {
        let options = ["rw", "exec", "nosuid", "nodev", "mode=1777", "notmpcopyup", &size];
        json!({"destination": place, "type": "tmpfs", "source": "tmpfs", "options": options})
    };
    let bind = |(source, target, access): (std::path::PathBuf, std::path::PathBuf, Access)| {
        let access = if access == Access::ReadOnly { "ro" } else { "rw" };
        json!({
            "destination": target.to_string_lossy(),
            "type": "bind",
            "source": source.to_string_lossy(),
            "options": [access, "bind", "rprivate", "nosuid", "nodev"],
        })
    };
    places_in_memory(spec).into_iter().map(tmpfs).chain(binds(spec, facts).map(bind)).collect()
}

/// One for processes, too, for without it Podman asks for more than a user may have who is not quite root.
fn r_limits(spec: &SandboxSpec, facts: &Facts) -> Vec<Value> {
    let processes = ("nproc", facts.processes_max, facts.processes_max);
    let all = rlimits(spec.limits()).into_iter().chain([processes]);
    all.map(|(name, soft, hard)| json!({"type": name, "soft": soft, "hard": hard})).collect()
}
