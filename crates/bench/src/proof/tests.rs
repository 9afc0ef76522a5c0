//! A proof that cannot fail proves nothing: each control is taken away once.

use serde_json::json;

use super::*;

fn target(has_own_kernel: bool) -> Target {
    Target {
        name: "target".into(),
        program: "/bin/false".into(),
        version: "1".into(),
        sha256: String::new(),
        flags: Vec::new(),
        has_own_kernel,
    }
}

fn limits() -> GroupLimits {
    GroupLimits {
        memory_bytes: 1 << 29,
        cpu_quota_us: 100_000,
        cpu_period_us: 100_000,
        pids: 640,
        swap: true,
    }
}

fn inside() -> Value {
    let none = "0000000000000000";
    json!({
        "kernel": "Linux version 6.1", "uid": "65532 65532 65532 65532", "gid": "65532 65532 65532 65532",
        "cap_inheritable": none, "cap_permitted": none, "cap_effective": none, "cap_bounding": none,
        "cap_ambient": none, "seccomp": "2", "no_new_privs": 1, "interfaces": ["lo"], "root_write": "read-only",
    })
}

fn host() -> HostView {
    let process = ProcessView {
        pid: 7,
        name: "work".into(),
        program: workload::PLACE.into(),
        network: "net:[2]".into(),
        cap_effective: "0000000000000000".into(),
        seccomp: "2".into(),
        no_new_privs: "1".into(),
    };
    let limits = [
        ("memory.limit_in_bytes", "536870912"),
        ("memory.memsw.limit_in_bytes", "536870912"),
        ("cpu.cfs_quota_us", "100000"),
        ("cpu.cfs_period_us", "100000"),
        ("pids.max", "640"),
    ];
    HostView {
        kernel: "Linux version 6.1".into(),
        network: "net:[1]".into(),
        processes: vec![process],
        limits: limits.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    }
}

fn broken(target: &Target, inside: &Value, host: &HostView) -> Vec<String> {
    judge(target, &limits(), inside, host)
        .into_iter()
        .filter(|check| !check.holds)
        .map(|check| check.name)
        .collect()
}

#[test]
fn what_is_as_the_bundle_says_is_believed() {
    assert_eq!(broken(&target(false), &inside(), &host()), [""; 0]);
    let mut v2 = host();
    v2.limits = [
        ("memory.max", "536870912"),
        ("memory.swap.max", "0"),
        ("cpu.max", "100000 100000"),
        ("pids.max", "640"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(broken(&target(false), &inside(), &v2), [""; 0]);
    v2.limits.insert("memory.swap.max".into(), "max".into());
    assert_eq!(broken(&target(false), &inside(), &v2), ["memory.swap.max"]);
}

#[test]
fn a_kernel_of_its_own_is_not_the_hosts_and_the_work_is_no_process_of_the_host() {
    assert_eq!(
        broken(&target(true), &inside(), &host()),
        ["kernel inside", "host processes that are the work"]
    );
    let (mut other, mut sentry) = (inside(), host());
    other["kernel"] = json!("Linux version 4.4.0 #1 SMP Sun Jan 10 15:06:54 PST 2016");
    sentry.processes[0].program = "/usr/bin/runsc".into();
    assert_eq!(broken(&target(true), &other, &sentry), [""; 0]);
    assert_eq!(
        broken(&target(false), &other, &sentry),
        ["kernel inside", "host processes that are the work"]
    );
}

#[test]
fn each_thing_inside_that_is_wrong_or_untold_is_named() {
    let wrong = [
        ("uid", json!("0 0 0 0"), "user ids inside"),
        ("gid", json!(null), "group ids inside"),
        ("seccomp", json!("0"), "seccomp mode inside"),
        ("no_new_privs", json!(0), "no_new_privs inside"),
        ("root_write", json!("written"), "writing to the root folder"),
        ("cap_effective", json!("0000000000000001"), "effective capabilities inside"),
        ("cap_bounding", json!(null), "bounding capabilities inside"),
        ("cap_ambient", json!("0000000000000400"), "ambient capabilities inside"),
        ("interfaces", json!(["lo", "eth0"]), "network interfaces inside"),
        ("interfaces", json!(null), "network interfaces inside"),
    ];
    for (field, value, name) in wrong {
        let mut inside = inside();
        inside[field] = value;
        assert_eq!(broken(&target(false), &inside, &host()), [name], "{field}");
    }
}

#[test]
fn each_thing_on_the_host_that_is_wrong_or_missing_is_named() {
    let mut shared = host();
    shared.processes[0].network = shared.network.clone();
    assert_eq!(broken(&target(false), &inside(), &shared), ["network namespaces of its processes"]);
    for name in host().limits.keys() {
        let mut without = host();
        without.limits.remove(name);
        assert_eq!(broken(&target(false), &inside(), &without), [name.as_str()]);
        let mut higher = host();
        higher.limits.insert(name.clone(), "9223372036854771712".into());
        assert_eq!(broken(&target(false), &inside(), &higher), [name.as_str()]);
    }
    let mut nobody = host();
    nobody.processes.clear();
    assert_eq!(broken(&target(false), &inside(), &nobody).len(), 2);
}
