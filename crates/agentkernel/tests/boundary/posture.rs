//! The posture of a live sandbox, and the proof that it is not blind: each control is taken away once,
//! and must be the one that is reported.

use std::sync::Arc;

use agentkernel_core::{Backend as _, ErrorKind};
use agentkernel_oci::plan::{Plan, SeccompPlan};
use serde_json::{Value, json};

use crate::support::{fixture, spec};

#[tokio::test]
async fn every_control_of_a_live_sandbox_holds() {
    let Some(fixture) = fixture().await else { return };
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let posture = sandbox.posture().await.expect("readable");
    assert!(posture.controls.len() >= 30, "{} controls", posture.controls.len());
    assert!(posture.holds(), "{:#?}", posture.broken().collect::<Vec<_>>());
    sandbox.stop().await.expect("stops");
}

type Weaken = Arc<dyn Fn(&mut Plan) + Send + Sync>;

/// A plan that lacks one control, and the control that must be reported.
fn weakenings() -> Vec<(&'static str, Weaken)> {
    let mut all: Vec<(&'static str, Weaken)> = vec![
        ("seccomp.mode", weaken(|plan| plan.seccomp = SeccompPlan::Off)),
        (
            "no_new_privs",
            weaken(|plan| {
                plan.seccomp = SeccompPlan::Off; // loading a filter sets it again
                plan.config["process"]["noNewPrivileges"] = json!(false);
            }),
        ),
        (
            "capabilities.bounding",
            weaken(|plan| {
                plan.config["process"]["capabilities"]["bounding"] = json!(["CAP_NET_ADMIN"]);
            }),
        ),
        ("user.uid", weaken(|plan| plan.config["process"]["user"]["uid"] = json!(1000))),
        ("user.gid", weaken(|plan| plan.config["process"]["user"]["gid"] = json!(1000))),
        ("user.groups", weaken(|plan| plan.config["process"]["user"]["additionalGids"] = json!([7]))),
        ("user.uid_map", weaken(|plan| plan.config["linux"]["uidMappings"][0]["size"] = json!(65_535))),
        ("user.gid_map", weaken(|plan| plan.config["linux"]["gidMappings"][0]["size"] = json!(65_535))),
        ("root", weaken(|plan| plan.config["root"]["readonly"] = json!(false))),
        ("paths.masked", weaken(|plan| plan.config["linux"]["maskedPaths"] = json!([]))),
        ("mounts.writable", weaken(|plan| drop_mount_option(plan, "/tmp", "nosuid"))),
        ("mounts.writable", weaken(|plan| drop_mount_option(plan, "/dev/shm", "nodev"))),
    ];
    for (kind, control) in [
        ("network", "namespace.net"),
        ("network", "network.interfaces"),
        ("ipc", "namespace.ipc"),
        ("uts", "namespace.uts"),
        ("cgroup", "namespace.cgroup"),
    ] {
        all.push((control, weaken(move |plan| drop_namespace(plan, kind))));
    }
    for (rlimit, control) in [
        ("RLIMIT_NOFILE", "rlimit.open_files"),
        ("RLIMIT_MEMLOCK", "rlimit.locked_memory"),
        ("RLIMIT_FSIZE", "rlimit.file_size"),
        ("RLIMIT_NPROC", "rlimit.processes"),
    ] {
        all.push((control, weaken(move |plan| drop_rlimit(plan, rlimit))));
    }
    all
}

fn weaken(change: impl Fn(&mut Plan) + Send + Sync + 'static) -> Weaken {
    Arc::new(change)
}

fn retain(list: &mut Value, keep: impl Fn(&Value) -> bool) {
    list.as_array_mut().expect("a list").retain(|entry| keep(entry));
}

fn drop_namespace(plan: &mut Plan, kind: &str) {
    retain(&mut plan.config["linux"]["namespaces"], |entry| entry["type"] != kind);
    if kind == "uts" {
        plan.config.as_object_mut().expect("an object").remove("hostname");
    }
}

fn drop_rlimit(plan: &mut Plan, kind: &str) {
    retain(&mut plan.config["process"]["rlimits"], |entry| entry["type"] != kind);
}

fn drop_mount_option(plan: &mut Plan, place: &str, option: &str) {
    let mounts = plan.config["mounts"].as_array_mut().expect("a list");
    let mount = mounts.iter_mut().find(|mount| mount["destination"] == place).expect("mounted");
    retain(&mut mount["options"], |entry| entry != option);
}

#[tokio::test]
async fn each_missing_control_is_reported_by_its_name() {
    for (control, change) in weakenings() {
        let Some(fixture) = fixture().await else { return };
        let fixture = fixture.weakened(move |plan| change(plan));
        let sandbox =
            fixture.backend.boot(&spec()).await.unwrap_or_else(|error| panic!("{control}: {error}")).sandbox;
        let posture = sandbox.posture().await.expect("readable");
        let broken: Vec<&str> = posture.broken().map(|control| control.name.as_str()).collect();
        assert!(broken.contains(&control), "without {control}, {broken:?} was reported");
        sandbox.stop().await.expect("stops");
    }
}

#[tokio::test]
async fn a_limit_that_does_not_read_back_refuses_the_start() {
    for limit in ["memory", "cpu", "pids"] {
        let Some(fixture) = fixture().await else { return };
        let fixture = fixture.weakened(move |plan| {
            plan.config["linux"]["resources"].as_object_mut().expect("an object").remove(limit);
        });
        let error =
            fixture.backend.boot(&spec()).await.err().unwrap_or_else(|| panic!("started without {limit}"));
        assert_eq!(error.kind, ErrorKind::ControlRefused, "{error}");
        let name = if limit == "cpu" { "cpus" } else { limit };
        assert!(error.why.contains(&format!("'{name}'")), "{error}");
    }
}
