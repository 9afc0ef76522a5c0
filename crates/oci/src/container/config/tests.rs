//! What is understood of a bundle, and what is refused.

use serde_json::json;

use super::*;

fn bundle() -> Value {
    json!({
        "ociVersion": "1.0.2",
        "hostname": "x",
        "root": {"path": "rootfs", "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": 1, "gid": 1},
            "args": ["a"],
            "env": [],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": {
                "bounding": ["CAP_CHOWN"], "permitted": [], "effective": [], "inheritable": [], "ambient": []
            },
            "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/mnt", "type": "bind", "source": "/tmp/mounts/0", "options": ["rbind", "ro"]},
        ],
        "linux": {
            "namespaces": [{"type": "mount"}, {"type": "uts"}],
            "maskedPaths": [],
            "readonlyPaths": [],
            "rootfsPropagation": "private",
            "cgroupsPath": "/agentkernel-x",
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        },
    })
}

#[test]
fn a_bundle_of_ours_is_understood() {
    let config = Config::read(&bundle()).expect("understood");
    assert!(config.has(NamespaceKind::Uts) && !config.has(NamespaceKind::User));
    assert_eq!(config.process.capabilities.bounding.bits(), 1);
}

#[test]
fn what_is_not_carried_out_is_refused_by_name() {
    let changes: [(&str, Value); 21] = [
        ("/hooks", json!({})),
        ("/annotations", json!({"dev.gvisor.flag.host-uds": "all"})),
        ("/process/apparmorProfile", json!("unconfined")),
        ("/process/env", json!(["LD_PRELOAD=/x"])),
        ("/process/rlimits/0/type", json!("RLIMIT_RTPRIO")),
        ("/process/capabilities/bounding", json!(["CAP_NONSENSE"])),
        ("/linux/rootfsPropagation", json!("shared")),
        ("/mounts/0/type", json!("cgroup")),
        ("/mounts/0/source", json!("/srv")),
        ("/mounts/0/options", json!(["nosuid", "hidepid=2"])),
        ("/mounts/1/options", json!(["rbind", "suid"])),
        ("/mounts/1/options", json!(["bind"])),
        ("/ociVersion", json!("2.0.0")),
        ("/process/terminal", json!(true)),
        ("/process/cwd", json!("/tmp")),
        ("/linux/maskedPaths", json!(["proc/kcore"])),
        ("/linux/readonlyPaths", json!(["proc/sys"])),
        ("/linux/resources/devices", json!([{"allow": true, "type": "c", "access": "rwx"}])),
        ("/linux/resources/devices", json!([{"allow": true, "type": "c", "access": ""}])),
        ("/linux/resources/memory", json!({"limit": 4096, "reservation": 4096})),
        ("/linux/resources/blockIO", json!({"weight": 10})),
    ];
    for (pointer, value) in changes {
        let mut changed = bundle();
        let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
        changed.pointer_mut(parent).expect("there")[name] = value;
        assert!(Config::read(&changed).is_err(), "{pointer} was accepted");
    }
}

#[test]
fn the_hosts_mounts_and_name_are_never_touched() {
    let mut without = bundle();
    without["linux"]["namespaces"] = json!([{"type": "uts"}]);
    assert!(Config::read(&without).expect_err("refused").contains("mount namespace"));
    without["linux"]["namespaces"] = json!([{"type": "mount"}]);
    assert!(Config::read(&without).expect_err("refused").contains("uts namespace"));
}

#[test]
fn a_new_host_name_is_given_or_the_hosts_would_be_seen() {
    let mut without = bundle();
    without.as_object_mut().expect("an object").remove("hostname");
    assert!(Config::read(&without).expect_err("refused").contains("hostname"));
    without["linux"]["namespaces"] = json!([{"type": "mount"}]);
    assert!(Config::read(&without).is_ok(), "it keeps what it has, and that is told by the posture");
}

#[test]
fn a_bundle_of_another_plan_is_refused() {
    let plan = |config: Value| Plan {
        name: "ak-1".into(),
        hostname: "x".into(),
        privilege: crate::plan::Privilege::Root { first_id: 1 },
        stage: Vec::new(),
        config,
        cgroup: Some(agentkernel_cgroup::CgroupPlan {
            path: "/agentkernel-x".into(),
            memory_bytes: None,
            cpu_milli: None,
            pids: None,
        }),
        around: Value::Null,
        launch: crate::plan::Launch::Embedded,
        lifetime_ms: None,
        seccomp: crate::plan::SeccompPlan::Full,
    };
    assert!(Config::of(&plan(bundle())).is_ok());
    for (pointer, value) in [
        ("/hostname", json!("another")),
        ("/linux/cgroupsPath", json!("/agentkernel-y")),
        ("/linux/cgroupsPath", Value::Null),
        ("/linux/resources", Value::Null),
    ] {
        let mut changed = bundle();
        *changed.pointer_mut(pointer).expect("there") = value;
        assert!(Config::of(&plan(changed)).is_err(), "{pointer} was accepted");
    }
}
