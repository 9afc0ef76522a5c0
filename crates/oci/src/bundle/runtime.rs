//! What a bundle says differently where a container runtime carries it out.

use agentkernel_cgroup::INNER;
use agentkernel_core::{Error, ErrorKind, Result, User};
use serde_json::{Value, json};

use super::PlanFacts;
use crate::engine::{AGENT, Engine, Runtime};
use crate::plan::Privilege;
use crate::seccomp;

/// Host threads that gVisor may have for each process inside, and for itself; a sentry that gets no thread panics. Measured:
/// about 2 and 40 with systrap; 8 and 35 with ptrace, on two processors. Each is doubled.
const SYSTRAP_THREADS: (u64, u64) = (4, 128);
const PTRACE_THREADS: (u64, u64) = (16, 256);

/// What the guest agent keeps where it is another user than its commands: becoming their users without a right, not even
/// to gain one, and ending them. Root of the sandbox's own ids and kernel, on the host it is nobody.
const AGENT_CAPABILITIES: [&str; 4] = ["CAP_KILL", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID"];

/// Only root can have the ids, mounts and groups that are given to a runtime.
pub(super) fn refuse_without_root(facts: &PlanFacts) -> Result<()> {
    match (&facts.runtime, facts.privilege) {
        (Some(runtime), Privilege::Rootless { .. }) => {
            let why = "only root can make such a sandbox";
            Err(Error::new(ErrorKind::ControlRefused, "start the sandbox", why)
                .on(runtime.engine.kind())
                .hint("run as root, or with --backend oci, which needs no root"))
        }
        _ => Ok(()),
    }
}

/// Host processes and threads that so many processes inside need.
pub(super) fn host_pids(runtime: Option<&Runtime>, pids: u64) -> u64 {
    match runtime {
        Some(runtime) if runtime.engine.has_own_kernel() => {
            let is_systrap = runtime.platform.as_deref() == Some("systrap");
            let (each, own) = if is_systrap { SYSTRAP_THREADS } else { PTRACE_THREADS };
            pids * each + own
        }
        _ => pids,
    }
}

/// Whether what is made in a mount is made by the sandbox's root, and then given to whoever makes it.
pub(super) fn makes_files_as_root(runtime: Option<&Runtime>) -> bool {
    runtime.is_some_and(|runtime| runtime.engine == Engine::Gvisor)
}

fn unknown(engine: Engine) -> seccomp::Unknown {
    match engine {
        Engine::Runc | Engine::Crun => seccomp::Unknown::Errno,
        Engine::Gvisor => seccomp::Unknown::Trace,
    }
}

/// Makes the agent another user than its commands. The limit of processes is one of each user's, so that they have one
/// less.
fn set_the_agent_apart(process: &mut Value) {
    process["user"] = json!({"uid": 0, "gid": 0});
    let sets = ["bounding", "permitted", "effective"];
    process["capabilities"] =
        sets.map(|set| (set.to_owned(), json!(AGENT_CAPABILITIES))).into_iter().collect();
    for limit in process["rlimits"].as_array_mut().into_iter().flatten() {
        if limit["type"] == "RLIMIT_NPROC"
            && let Some(pids) = limit["soft"].as_u64()
        {
            let left = pids.saturating_sub(1).max(1);
            (limit["soft"], limit["hard"]) = (json!(left), json!(left));
        }
    }
}

/// Changes a configuration that is carried out here into one for this runtime.
pub(super) fn adapt(config: &mut Value, runtime: &Runtime, user: User) {
    if runtime.engine.hides_nothing() && user != User::ROOT {
        set_the_agent_apart(&mut config["process"]);
    }
    let args: Vec<&str> = [AGENT].iter().chain(runtime.engine.agent_words()).copied().collect();
    config["process"]["args"] = json!(args);
    let linux = &mut config["linux"];
    linux["seccomp"] = seccomp::profile(unknown(runtime.engine));
    if runtime.engine.makes_group()
        && let Some(group) = linux["cgroupsPath"].as_str()
    {
        linux["cgroupsPath"] = json!(format!("{group}/{INNER}"));
    }
    if let Some(linux) = linux.as_object_mut() {
        // Our group around its own has all the limits, and can be given others.
        linux.remove("resources");
    }
    if let Some(paths) = linux["readonlyPaths"].as_array_mut() {
        // Runtimes would mount it over itself, once more with all that is in it.
        paths.retain(|path| path != "/dev");
    }
    for mount in config["mounts"].as_array_mut().into_iter().flatten() {
        // gVisor would refuse to write to a device then; its /dev is its own, and only root's to change.
        if runtime.engine != Engine::Gvisor
            && mount["destination"] == "/dev"
            && let Some(options) = mount["options"].as_array_mut()
        {
            options.push(json!("ro"));
        }
    }
    if runtime.engine == Engine::Gvisor
        && let Some(namespaces) = config["linux"]["namespaces"].as_array_mut()
    {
        // Its kernel has none of these.
        namespaces.retain(|namespace| namespace["type"] != "cgroup");
    }
}
