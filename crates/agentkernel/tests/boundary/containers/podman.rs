//! The attack probe in a container of Podman's, and in ones that were weakened on purpose.

use agentkernel_core::{Backend as _, CauseOfDeath, Command, ErrorKind};
use serde_json::{Value, json};

use super::docker::ALLOWED_OPEN_IN_ENGINES;
use super::fixture::podman_fixture;
use super::weaken::{Weakness, each_is_missed};
use crate::attacks::{ALLOWED_OPEN, no_attack_works};
use crate::support::spec;

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_in_a_container_of_podman() {
    let Some(fixture) = podman_fixture().await else { return };
    let allowed = [ALLOWED_OPEN, ALLOWED_OPEN_IN_ENGINES].concat();
    no_attack_works(&fixture.backend, &allowed).await;
}

const WEAKNESSES: &[Weakness] = &[
    (
        "no system call filter",
        |plan| plan["seccomp_profile_path"] = json!("unconfined"),
        &["keyctl", "unshare-user", "clone3", "personality", "tiocsti", "io-uring-setup"],
        &["seccomp.mode"],
    ),
    (
        "new privileges",
        |plan| {
            plan["no_new_privileges"] = json!(false);
            plan["seccomp_profile_path"] = json!("unconfined");
        },
        &["no-new-privs-off"],
        &["no_new_privs", "engine.SecurityOpt"],
    ),
    (
        "the host's network",
        |plan| plan["netns"]["nsmode"] = json!("host"),
        &["host-port", "host-abstract"],
        &["namespace.net", "engine.NetworkMode"],
    ),
    (
        "a writable root",
        |plan| plan["read_only_filesystem"] = json!(false),
        &["root-not-read-only"],
        &["mounts.writable", "engine.ReadonlyRootfs"],
    ),
    (
        "root with capabilities",
        |plan| {
            plan["user"] = json!("0:0");
            plan["cap_drop"] = json!([]);
        },
        &["is-root", "cap-permitted", "cap-effective", "cap-bounding"],
        &["user.uid", "user.gid", "capabilities.bounding", "capabilities.effective"],
    ),
    ("all processes of the host", |plan| plan["pidns"]["nsmode"] = json!("host"), &[], &["namespace.pid"]),
    (
        "the host's message queues",
        |plan| {
            plan["ipcns"]["nsmode"] = json!("host");
            plan.as_object_mut().expect("an object").remove("shm_size");
        },
        &[],
        &["namespace.ipc"],
    ),
    (
        "the host's name",
        |plan| {
            plan["utsns"]["nsmode"] = json!("host");
            plan.as_object_mut().expect("an object").remove("hostname");
        },
        &["hostname"],
        &["namespace.uts"],
    ),
    ("the host's groups", |plan| plan["cgroupns"]["nsmode"] = json!("host"), &[], &["namespace.cgroup"]),
    (
        "no limit of memory",
        |plan| plan["resource_limits"]["memory"] = Value::Null,
        &[],
        &["limit.memory_bytes"],
    ),
    (
        "no limit of processors",
        |plan| plan["resource_limits"]["cpu"] = Value::Null,
        &[],
        &["limit.cpu_milli"],
    ),
    (
        "no limit of processes",
        |plan| plan["resource_limits"]["pids"] = json!({"limit": -1}),
        &[],
        &["limit.pids"],
    ),
    ("less hidden", |plan| plan["mask"] = json!([]), &[], &["mounts.hidden"]),
    (
        "a place without a limit",
        |plan| plan["mounts"][0]["options"] = json!(["rw", "exec", "nosuid", "nodev", "mode=1777"]),
        &[],
        &["mount./tmp"],
    ),
    (
        "a larger file",
        |plan| {
            let limits = plan["r_limits"].as_array_mut().expect("a list");
            limits.retain(|limit| limit["type"] != "fsize");
        },
        &["rlimit-fsize"],
        &["rlimit.fsize"],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn each_control_of_podman_is_missed_by_the_posture_and_by_the_attack_it_stops() {
    let Some(fixture) = podman_fixture().await else { return };
    each_is_missed(|| fixture.another(), WEAKNESSES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_podman_that_is_killed_under_a_command_ends_the_sandbox_and_says_so() {
    let Some(mut fixture) = podman_fixture().await else { return };
    let sandbox = fixture.backend.boot(&spec()).await.expect("boots").sandbox;
    let mut command = sandbox.exec(&Command::new(["sleep", "1000"])).await.expect("it starts");
    fixture.engine.kill();
    let ended = sandbox.ended().await;
    assert_eq!((ended.cause, &*ended.detail), (CauseOfDeath::BoundaryCrashed, "the engine went away"));
    assert_eq!(command.next().await.expect_err("it is gone").kind, ErrorKind::SandboxGone);
    drop(command);
    assert_eq!(sandbox.stop().await.expect_err("nobody removes it").kind, ErrorKind::Cleanup);
    // Its containers are not its children: each is removed by its own end.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !fixture.engine.client(&["ps", "--all", "--quiet"]).is_empty() {
        assert!(std::time::Instant::now() < deadline, "a container is left");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_podman_that_is_not_ours_is_never_touched() {
    let Some(fixture) = podman_fixture().await else { return };
    let engine = &fixture.engine;
    let image = engine.client(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let spec = spec();
    let theirs = format!("agentkernel-{}", spec.name());
    let words =
        ["create", "--name", &theirs, "--network", "none", "--ulimit", "nproc=1024:1024", &image, "x"];
    let _id = engine.client(&words);
    let error = fixture.backend.boot(&spec).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::NameTaken);
    assert!(error.to_string().contains(&theirs) && error.to_string().contains("not ours"), "{error}");
    assert_eq!(engine.client(&["ps", "--all", "--format", "{{.Names}}"]), theirs);
}
