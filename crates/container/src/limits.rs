//! Which limits an engine can enforce on this host, and the refusal of those that it cannot.

use std::os::unix::fs::MetadataExt as _;

use agentkernel_core::{BackendKind, Result, SandboxSpec};
use serde_json::Value;

use crate::api::Engine;
use crate::trouble::Trouble;

/// A limit by its name, with what Docker's API calls the ability and what the kernel calls the controller.
const ALL: [(&str, &str, &str); 3] =
    [("memory", "MemoryLimit", "memory"), ("cpus", "CpuCfsQuota", "cpu"), ("pids", "PidsLimit", "pids")];

/// Limits that an engine cannot enforce, as it says itself.
pub(crate) async fn missing(engine: &Engine, info: &Value) -> Result<Vec<&'static str>, Trouble> {
    if engine.kind() != BackendKind::Podman {
        return Ok(missing_of(info));
    }
    if info["Rootless"] == true {
        // In the answer that is like Docker's it tells what the kernel could, and ignores what its user may not.
        return Ok(missing_of_user(&engine.own_info().await?["host"]));
    }
    Ok(missing_of_podman(info))
}

/// The same of what it has told.
fn missing_of(info: &Value) -> Vec<&'static str> {
    let missing = |(name, field, _)| (info[field] == false).then_some(name);
    ALL.into_iter().filter_map(missing).collect()
}

/// The same of root's Podman.
fn missing_of_podman(info: &Value) -> Vec<&'static str> {
    let mut missing = missing_of(info);
    if info["CgroupVersion"] == "2" {
        // It looks for files that only v1 has, and says no on every host with v2. That a limit is there is read back of
        // each container's group all the same.
        missing.retain(|name| *name != "cpus");
    }
    missing
}

/// The same of an ordinary user's Podman, of what its own API tells of the host. The user's systemd makes its groups: without one
/// it makes none, and says nothing.
fn missing_of_user(host: &Value) -> Vec<&'static str> {
    let makes_groups = host["cgroupVersion"] == "v2" && host["cgroupManager"] == "systemd";
    let delegated = host["cgroupControllers"].as_array().filter(|_| makes_groups);
    let is_delegated = |controller| delegated.is_some_and(|all| all.iter().any(|one| one == controller));
    let missing = |(name, _, controller)| (!is_delegated(controller)).then_some(name);
    ALL.into_iter().filter_map(missing).collect()
}

/// Whether an engine may be an ordinary user's, which is cheaper to know than what it can do: his socket is his.
pub(crate) fn may_be_rootless(engine: &Engine) -> bool {
    std::fs::metadata(&engine.known.socket).map_or(true, |socket| socket.uid() != 0)
}

/// Refuses what was asked for and is missing.
pub(crate) fn refuse(missing: &[&'static str], spec: &SandboxSpec) -> Result<()> {
    spec.limits().refuse_unenforced(
        missing,
        "the engine of this user may make no control group with this limit, and would ignore it",
        "use the engine of root, or cgroup v2 with these controllers delegated to the user and a systemd of the user",
    )
}

#[cfg(test)]
mod tests {
    use agentkernel_core::{ErrorKind, Limit, Limits, Profile, SandboxName};
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_engine_says_that_it_cannot_is_missing() {
        let info = json!({"MemoryLimit": true, "CpuCfsQuota": false, "PidsLimit": false});
        assert_eq!(missing_of(&info), ["cpus", "pids"]);
        assert_eq!(missing_of(&json!({"MemoryLimit": true})), [] as [&str; 0]);
    }

    #[test]
    fn podman_is_not_believed_that_no_host_with_v2_can_limit_processors() {
        // As Podman 4.3 answers there.
        let info = |version: &str| json!({"MemoryLimit": true, "CpuCfsQuota": false, "PidsLimit": true, "CgroupVersion": version});
        assert_eq!(missing_of_podman(&info("2")), [] as [&str; 0]);
        assert_eq!(missing_of_podman(&info("1")), ["cpus"]);
        assert_eq!(missing_of_podman(&json!({"PidsLimit": false, "CgroupVersion": "2"})), ["pids"]);
    }

    #[test]
    fn an_ordinary_users_podman_has_what_is_delegated_to_his_systemd_and_nothing_on_v1() {
        let told = |version: &str, manager: &str, all: Value| {
            missing_of_user(
                &json!({"cgroupVersion": version, "cgroupManager": manager, "cgroupControllers": all}),
            )
        };
        let missing = |version: &str, all: Value| told(version, "systemd", all);
        assert_eq!(missing("v2", json!(["cpu", "memory", "pids"])), [] as [&str; 0]);
        assert_eq!(missing("v2", json!(["memory", "pids"])), ["cpus"]);
        assert_eq!(missing("v1", json!(["cpu", "memory", "pids"])), ["memory", "cpus", "pids"]);
        assert_eq!(missing("v2", Value::Null), ["memory", "cpus", "pids"]);
        assert_eq!(told("v2", "cgroupfs", json!(["cpu", "memory", "pids"])), ["memory", "cpus", "pids"]);
    }

    #[test]
    fn only_what_was_asked_for_is_refused_and_by_its_name() {
        let spec = |limits: Limits| {
            let name = SandboxName::from_random(1);
            SandboxSpec::builder(name, Profile::Restrictive).limits(limits).build().expect("valid")
        };
        let limits = *spec(Limits { memory: Limit::Unlimited, ..Limits::of(Profile::Restrictive) }).limits();
        let refused = refuse(&["memory", "cpus"], &spec(limits)).expect_err("refused");
        assert_eq!((refused.kind, &*refused.subject), (ErrorKind::ControlRefused, "cpus"));
        assert!(refused.hint.is_some_and(|hint| hint.ends_with(": --cpus unlimited")));
        assert_eq!(refuse(&["memory"], &spec(limits)), Ok(()));
        assert_eq!(refuse(&[], &spec(limits)), Ok(()));
    }
}
