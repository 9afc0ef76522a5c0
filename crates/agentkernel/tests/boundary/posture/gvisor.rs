//! The posture of gVisor: each of its controls has been seen to fail, those among them that only gVisor has.

use agentkernel_oci::engine::Engine;
use agentkernel_oci::plan::{Launch, Plan, Step};
use serde_json::json;

use super::changes::{bind_of_usr, group, usr_for_writing};
use super::table::{Away, EXCEPTIONS, Row, plan, row, shared};
use super::{handed_out, unreported, unseen};
use crate::support::fixture_with;

const TABLE: &[&[Row]] = &[PROCESSES, KERNEL, NAMESPACES, LIMITS];

/// Whoever has no filter of system calls gets none by being put somewhere.
const NO_FILTER: &[&str] = &["seccomp.mode"];

const PROCESSES: &[Row] = &[
    row("seccomp.mode", "a process without a filter", Away::BesideIt("setpriv", NOBODY)),
    row("no_new_privs", "a process that may gain rights", Away::BesideIt("setpriv", WITH_NEW_PRIVILEGES))
        .with(NO_FILTER),
    row("user.ids", "a process of one of the host's users", Away::BesideIt("setpriv", SOMEBODY))
        .with(NO_FILTER),
    row("capabilities.sentry", "a process with a right", Away::BesideIt("setpriv", WITH_A_RIGHT))
        .with(NO_FILTER),
    row("capabilities.gofer", "root, as a gofer", Away::BesideIt("runsc-gofer", SLEEP)).with(OF_ROOT),
    row("gvisor.gofer", "a second one", Away::BesideIt("runsc-gofer", SLEEP)).with(OF_ROOT),
];

const SLEEP: &[&str] = &["sleep", "1000"];
const NOBODY: &[&str] =
    &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "sleep", "1000"];
const WITH_NEW_PRIVILEGES: &[&str] =
    &["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "sleep", "1000"];
const SOMEBODY: &[&str] =
    &["setpriv", "--reuid=1000", "--regid=65534", "--clear-groups", "--no-new-privs", "sleep", "1000"];
const WITH_A_RIGHT: &[&str] = &[
    "setpriv",
    "--reuid=65534",
    "--regid=65534",
    "--clear-groups",
    "--no-new-privs",
    "--inh-caps=+net_admin",
    "--ambient-caps=+net_admin",
    "sleep",
    "1000",
];

/// What is told of a process of root's that calls itself a gofer, the one whose mounts are looked at among it.
const OF_ROOT: &[&str] =
    &["gvisor.gofer", "capabilities.gofer", "user.ids", "no_new_privs", "seccomp.mode", "mounts.gofer"];

const KERNEL: &[Row] = &[
    plan("gvisor.flags", "without the bundle's filter", |plan| drop_word(plan, "--oci-seccomp")),
    row(
        "root.sentry",
        "writable",
        Away::CalledFromTheHost("libc.mount(b'none', b'/', None, 0x1020, None)"), // MS_REMOUNT | MS_BIND
    ),
    row(
        "root.sentry",
        "one mount more",
        Away::CalledFromTheHost("libc.mount(b'none', b'/', b'tmpfs', 1, None)"), // MS_RDONLY
    ),
    plan("mounts.gofer", "/usr for writing", usr_for_writing),
    plan("mounts.gofer", "another folder in the place of /usr", |plan| {
        *bind_of_usr(plan).0 = "/usr/lib".into();
    })
    .or_refused(&["guest agent", "start the container"]),
    plan("mounts.gofer", "one of the host's folders more", |plan| {
        let options = *bind_of_usr(plan).1;
        plan.stage.push(Step::Bind { path: "rootfs/mnt/more".into(), source: "/usr/lib".into(), options });
    }),
    plan("mounts.gofer", "one of the bundle's mounts more", |plan| {
        let more = json!({
            "destination": "/workspace/more", "type": "bind", "source": "/tmp/rootfs/usr",
            "options": ["rbind", "nosuid", "nodev", "ro"],
        });
        plan.config["mounts"].as_array_mut().expect("a list").push(more);
    }),
    plan("mounts.gofer", "a root for writing", |plan| plan.config["root"]["readonly"] = json!(false)),
];

const NAMESPACES: &[Row] = &[
    // Its runtime makes a namespace in any case: no bundle can keep it from that.
    row(
        "network.interfaces",
        "a pair more",
        Away::FromTheHost("--net", &["ip", "link", "add", "more", "type", "veth"]),
    ),
    shared("namespace.user", "user"),
    shared("namespace.mnt", "mnt"),
    shared("namespace.ipc", "ipc"),
    shared("namespace.uts", "uts"),
    shared("namespace.net", "net"),
];

const LIMITS: &[Row] = &[
    plan("limit.memory_bytes", "more in group and plan", |plan| {
        for (_, limit) in plan.around["memory"].as_object_mut().expect("limits") {
            *limit = json!(600 << 20);
        }
        group(plan).memory_bytes = Some(600 << 20);
    }),
    plan("limit.cpu_milli", "more in group and plan", |plan| {
        plan.around["cpu"]["quota"] = json!(150_000);
        group(plan).cpu_milli = Some(1500);
    }),
    plan("limit.pids", "more in group and plan", |plan| {
        plan.around["pids"]["limit"] = json!(9000);
        group(plan).pids = Some(9000);
    }),
    row("cgroup.members", "its first process is moved out", Away::MovedOutOfItsGroup),
    row("cgroup", "there is none", Away::GroupIsMissing).with(OF_NO_GROUP),
    plan("devices.rules", "one more", |plan| {
        let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm"});
        match &mut plan.around["devices"] {
            serde_json::Value::Array(rules) => rules.push(rule),
            none => *none = json!([rule]),
        }
    })
    .or_refused(&["rules for devices"]),
];

/// Without a group nobody knows whose processes there are.
const OF_NO_GROUP: &[&str] = &[
    "devices.rules",
    "gvisor.gofer",
    "user.ids",
    "capabilities.sentry",
    "capabilities.gofer",
    "no_new_privs",
    "seccomp.mode",
];

fn drop_word(plan: &mut Plan, word: &str) {
    let Launch::Program(launcher) = &mut plan.launch else { panic!("a runtime makes it") };
    launcher.words.retain(|said| said != word);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_control_of_gvisor_has_its_negative_control() {
    let Some(fixture) = fixture_with(Engine::Gvisor).await else { return };
    assert_eq!(unseen(fixture, TABLE, EXCEPTIONS).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_missing_control_of_gvisor_is_reported_by_its_name() {
    let complaints = unreported(TABLE, async || fixture_with(Engine::Gvisor).await).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn gvisor_without_a_control_is_refused_by_its_name_and_leaves_nothing() {
    let complaints = handed_out(TABLE, async || fixture_with(Engine::Gvisor).await).await;
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
