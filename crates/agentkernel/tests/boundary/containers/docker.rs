//! The attack probe in a container of Docker's, and in ones that were weakened on purpose.

use agentkernel_core::{Availability, Backend as _, ErrorKind};
use agentkernel_testkit::TestEngine;
use serde_json::{Value, json};

use super::fixture::{Fixture, backend, fixture};
use super::weaken::{Weakness, each_is_missed};
use crate::attacks::{ALLOWED_OPEN, no_attack_works};
use crate::support::{exec, spec};

/// Attempts that may say OPEN in containers of engines and nowhere else.
pub const ALLOWED_OPEN_IN_ENGINES: &[(&str, &str)] = &[(
    "rlimit-nproc",
    "without user namespaces the kernel counts the processes of all sandboxes together, so that such a limit would let one \
     take them from another; the control group's holds (limits.pids)",
)];

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_in_a_container_of_docker() {
    let Some(fixture) = fixture().await else { return };
    let allowed = [ALLOWED_OPEN, ALLOWED_OPEN_IN_ENGINES].concat();
    no_attack_works(&fixture.backend, &allowed).await;
}

const WEAKNESSES: &[Weakness] = &[
    (
        "no system call filter",
        |plan| plan["HostConfig"]["SecurityOpt"] = json!(["no-new-privileges", "seccomp=unconfined"]),
        &["keyctl", "unshare-user", "clone3", "personality", "tiocsti", "io-uring-setup"],
        &["seccomp.mode"],
    ),
    (
        "new privileges",
        |plan| plan["HostConfig"]["SecurityOpt"] = json!(["seccomp=unconfined"]),
        &["no-new-privs-off"],
        &["no_new_privs"],
    ),
    (
        "the host's network",
        |plan| {
            plan["HostConfig"]["NetworkMode"] = json!("host");
            plan["NetworkDisabled"] = json!(false);
        },
        &["host-port", "host-abstract"],
        &["namespace.net"],
    ),
    (
        "a writable root",
        |plan| plan["HostConfig"]["ReadonlyRootfs"] = json!(false),
        &["root-not-read-only"],
        &["mounts.writable"],
    ),
    (
        "root with capabilities",
        |plan| {
            plan["User"] = json!("0:0");
            plan["HostConfig"]["CapDrop"] = json!([]);
            plan["HostConfig"]["CapAdd"] = json!(["SYS_ADMIN"]);
        },
        &["is-root", "cap-permitted", "cap-effective", "cap-bounding"],
        &["user.uid", "user.gid", "capabilities.bounding", "capabilities.effective"],
    ),
    (
        "no limits of a process",
        |plan| plan["HostConfig"]["Ulimits"] = json!([]),
        &["rlimit-nofile", "rlimit-fsize"],
        &["rlimit.nofile", "rlimit.fsize", "rlimit.memlock", "rlimit.sigpending"],
    ),
    (
        "all processes of the host",
        |plan| plan["HostConfig"]["PidMode"] = json!("host"),
        &[],
        &["namespace.pid"],
    ),
    (
        "the host's message queues",
        |plan| plan["HostConfig"]["IpcMode"] = json!("host"),
        &[],
        &["namespace.ipc"],
    ),
    ("the host's name", |plan| set_uts(plan), &["hostname"], &["namespace.uts"]),
    (
        "the host's groups",
        |plan| plan["HostConfig"]["CgroupnsMode"] = json!("host"),
        &[],
        &["namespace.cgroup"],
    ),
    ("no limit of memory", |plan| set(plan, &["Memory", "MemorySwap"]), &[], &["limit.memory_bytes"]),
    ("no limit of processors", |plan| set(plan, &["CpuQuota"]), &[], &["limit.cpu_milli"]),
    ("no limit of processes", |plan| set(plan, &["PidsLimit"]), &[], &["limit.pids"]),
    ("nothing hidden", |plan| plan["HostConfig"]["MaskedPaths"] = json!([]), &[], &["mounts.hidden"]),
    ("writable settings", |plan| plan["HostConfig"]["ReadonlyPaths"] = json!([]), &[], &["mounts.hidden"]),
    (
        "a place without a limit",
        |plan| plan["HostConfig"]["Tmpfs"]["/tmp"] = json!("rw,exec,mode=1777"),
        &[],
        &["mount./tmp"],
    ),
];

/// To none.
fn set(plan: &mut Value, limits: &[&str]) {
    for limit in limits {
        plan["HostConfig"][*limit] = json!(0);
    }
}

fn set_uts(plan: &mut Value) {
    plan["HostConfig"]["UTSMode"] = json!("host");
    plan.as_object_mut().expect("an object").remove("Hostname");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_control_of_docker_is_missed_by_the_posture_and_by_the_attack_it_stops() {
    let Some(Fixture { engine, .. }) = fixture().await else { return };
    each_is_missed(|| backend(&engine), WEAKNESSES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_not_as_planned_is_taken_down_and_its_control_named() {
    let Some(Fixture { engine, .. }) = fixture().await else { return };
    let lax = backend(&engine).tampered(|plan| plan["HostConfig"]["ReadonlyRootfs"] = json!(false));
    let error = lax.boot(&spec()).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::ControlRefused);
    assert!(error.subject.contains("mounts.writable"), "{error}");
    assert_eq!(engine.client(&["ps", "--all", "--quiet"]), "", "nothing is left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_docker_with_user_namespaces_makes_sandboxes_whose_ids_are_not_the_hosts() {
    let Some(engine) = TestEngine::docker_with_user_namespaces() else { return };
    let backend = backend(&engine);
    // Its posture was read: it would not have come up.
    let sandbox = backend.boot(&spec()).await.expect("boots").sandbox;
    let said = exec(&*sandbox, &["sh", "-c", "id -u; cat /proc/self/uid_map; echo x >/workspace/x"]).await;
    assert_eq!(
        said.text().split_whitespace().collect::<Vec<_>>(),
        ["65532", "0", "600000", "65536"],
        "{said:?}"
    );
    let posture = sandbox.posture().await.expect("read");
    let shown = |name: &str| {
        let control = posture.controls.iter().find(|control| control.name == name).expect("a control");
        assert!(control.held, "{control:?}");
        control.actual.clone()
    };
    assert_eq!(
        (&*shown("namespace.user"), &*shown("user.uid")),
        ("not the host's", "665532 665532 665532 665532")
    );
    sandbox.stop().await.expect("stops");
    let Availability::Available { facts } = backend.probe().await else { panic!("it works") };
    let told = facts.iter().find(|(name, _)| name == "user namespaces").expect("a fact");
    assert_eq!(told.1, "one range of ids for all sandboxes");
    no_attack_works(&backend, &[ALLOWED_OPEN, ALLOWED_OPEN_IN_ENGINES].concat()).await;
}
