//! What a container is asked to be, in words of the `container` program: a pure function of its description.

mod refusals;

use std::path::{Path, PathBuf};

use agentkernel_core::{Access, ByteSize, ImageName, Limits, Result, SandboxSpec};
use agentkernel_hardening::limits::rlimits;
use serde_json::{Value, json};

pub use super::argv::{
    Argv, ContainerName, call, caller, delete, inspect, inspect_image, list, report, start, stats, status,
    stop, version,
};
use super::version::SHM_SIZE;
pub use super::version::Version;
use crate::inside::{AGENT, AGENT_FOLDER, places_in_memory};

use refusals::{Checked, check};

/// What a plan depends on besides the description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Of the program.
    pub version: Version,
    /// The folder of the host that holds the agent and its filters, and nothing else.
    pub agent_folder: PathBuf,
    /// Labels, by which the container is known to be ours: of letters, digits, `.` and `-`.
    pub labels: Vec<(String, String)>,
}

/// A container to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What it is called.
    pub name: ContainerName,
    /// The image that the program must have.
    pub image: ImageName,
    /// What makes it.
    pub create: Argv,
    /// What the program must say that it has done: `configuration` of the container, as it is inspected, and as
    /// the posture puts it in order.
    pub told: Value,
}

/// Decides everything about one container, or refuses with the name of what cannot be enforced.
pub fn container(spec: &SandboxSpec, facts: &Facts) -> Result<Plan> {
    let checked = check(spec, facts)?;
    let create = create(spec, facts, &checked);
    let told = told(spec, facts, &checked);
    let Checked { name, image, .. } = checked;
    Ok(Plan { name, image: image.clone(), create, told })
}

/// The words of the agent. The filters are beside it.
fn agent_words(spec: &SandboxSpec) -> [String; 4] {
    let filters = format!("{AGENT_FOLDER}/{}", super::agent::FILTERS);
    ["await".into(), super::argv::CALL.into(), caller(spec).uid.to_string(), filters]
}

fn create(spec: &SandboxSpec, facts: &Facts, checked: &Checked<'_>) -> Argv {
    let user = spec.user();
    let mut words = Argv::of(["create", "--name", checked.name.as_str(), "--rm"]);
    let mut option = |name: &str, value: String| words.0.extend([name.to_owned(), value]);
    for (name, value) in &facts.labels {
        option("--label", format!("{name}={value}"));
    }
    option("--network", "none".into());
    option("--cap-drop", "ALL".into());
    option("--uid", user.uid.to_string());
    option("--gid", user.gid.to_string());
    option("--workdir", "/".into());
    option("--cpus", checked.cpus.to_string());
    option("--memory", format!("{}M", checked.memory_mib));
    for (name, soft, hard) in process_limits(spec.limits()) {
        option("--ulimit", format!("{name}={soft}:{hard}"));
    }
    if facts.version >= SHM_SIZE.since {
        option("--shm-size", format!("{}M", checked.shm_mib));
    }
    for place in places_in_memory(spec) {
        option("--mount", format!("type=tmpfs,size={}M,mode=1777,destination={place}", checked.disk_mib));
    }
    for (source, target, access) in binds(spec, facts) {
        // Before the paths, of which none can then take it in.
        let access = if access == Access::ReadOnly { ",readonly" } else { "" };
        option("--mount", format!("type=bind{access},source={source},destination={target}"));
    }
    option("--entrypoint", AGENT.into());
    // Neither can be taken for the value of an option, nor for one: the image's name is a checked one.
    words.0.extend(["--read-only", "--no-dns", checked.image.as_str()].map(str::to_owned));
    words.0.extend(agent_words(spec));
    words
}

/// The machine is the sandbox's alone, so that its user's processes are all that are counted.
fn process_limits(limits: &Limits) -> Vec<(&'static str, u64, u64)> {
    let processes = limits.pids.value().map(|pids| ("nproc", pids.into(), pids.into()));
    rlimits(limits).into_iter().chain(processes).collect()
}

/// Places of the host in the container; their paths were checked.
fn binds(spec: &SandboxSpec, facts: &Facts) -> Vec<(String, String, Access)> {
    // The program tells paths without a doubled slash, or one at the end.
    let text = |path: &Path| path.components().collect::<PathBuf>().display().to_string();
    let agent = (text(&facts.agent_folder), AGENT_FOLDER.to_owned(), Access::ReadOnly);
    let named =
        spec.mounts().iter().map(|mount| (text(mount.source()), text(mount.target()), mount.access()));
    std::iter::once(agent).chain(named).collect()
}

/// Every field of its configuration that keeps it from the host, whether it was asked for or must stay as it is.
fn told(spec: &SandboxSpec, facts: &Facts, checked: &Checked<'_>) -> Value {
    let (user, limits) = (spec.user(), spec.limits());
    let rlimit = |(name, soft, hard): (&str, u64, u64)| json!({"limit": format!("RLIMIT_{}", name.to_uppercase()), "soft": soft, "hard": hard});
    let mut told = json!({
        "readOnly": true,
        "capDrop": ["ALL"],
        "capAdd": [],
        "networks": [],
        "dns": null,
        "publishedPorts": [],
        "publishedSockets": [],
        "ssh": false,
        "rosetta": false,
        "virtualization": false,
        "useInit": false,
        "runtimeHandler": "container-runtime-linux",
        "resources": {"cpus": checked.cpus, "memoryInBytes": ByteSize::mib(checked.memory_mib).get()},
        "initProcess": {
            "executable": AGENT,
            "arguments": agent_words(spec),
            "workingDirectory": "/",
            "terminal": false,
            "user": {"id": {"uid": user.uid, "gid": user.gid}},
            "supplementalGroups": [],
            "rlimits": process_limits(limits).into_iter().map(rlimit).collect::<Vec<_>>(),
        },
        "mounts": told_mounts(spec, facts, checked),
    });
    if facts.version >= SHM_SIZE.since {
        told["shmSize"] = json!(ByteSize::mib(checked.shm_mib).get());
    }
    super::posture::in_order(&told)
}

fn told_mounts(spec: &SandboxSpec, facts: &Facts, checked: &Checked<'_>) -> Vec<Value> {
    let size = format!("size={}", ByteSize::mib(checked.disk_mib).get());
    // Its parser gives a place in memory that is asked for in this way no source; one of `--tmpfs` is called so.
    let tmpfs = |place: &str| json!({"type": {"tmpfs": {}}, "source": "", "destination": place, "options": ["mode=1777", size]});
    let bind = |(source, target, access): (String, String, Access)| {
        let options: &[&str] = if access == Access::ReadOnly { &["ro"] } else { &[] };
        json!({"type": {"virtiofs": {}}, "source": source, "destination": target, "options": options})
    };
    let places = places_in_memory(spec).into_iter().map(tmpfs);
    places.chain(binds(spec, facts).into_iter().map(bind)).collect()
}

#[cfg(test)]
mod tests;
