//! Controls taken away one at a time: the posture must miss them, and without the filters the attacks that they stop work.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use agentkernel_container::AppleBackend;
use agentkernel_core::{Backend as _, ErrorKind};
use serde_json::Value;

use super::super::apple_fixture::{AppleFixture, apple_fixture, apple_settings, apple_spec};
use crate::attacks::{Bait, attack};
use crate::probe;

/// A control taken away, and the controls of the posture that must not hold.
type Weakness = (&'static str, fn(&mut Vec<String>), &'static [&'static str]);

/// Takes an option with this value, or a flag, out of the words.
fn without(words: &mut Vec<String>, option: &str, value: Option<&str>) {
    let place = words.iter().enumerate().position(|(index, word)| {
        word == option && value.is_none_or(|value| words[index + 1].starts_with(value))
    });
    let place = place.unwrap_or_else(|| panic!("{option} {value:?} is not there: {words:?}"));
    words.drain(place..=place + usize::from(value.is_some()));
}

fn add(words: &mut Vec<String>, more: &[&str]) {
    words.splice(1..1, more.iter().map(|word| (*word).to_owned()));
}

fn replace(words: &mut [String], from: &str, to: &str) {
    let word = words.iter_mut().find(|word| word.contains(from)).expect("it is there");
    *word = word.replace(from, to);
}

const WEAKNESSES: &[Weakness] = &[
    ("a network", |words| without(words, "--network", Some("none")), &["engine.networks"]),
    ("name servers", |words| without(words, "--no-dns", None), &["engine.dns"]),
    (
        "a writable root",
        |words| without(words, "--read-only", None),
        &["engine.readOnly", "inside.mount./", "inside.mounts.writable"],
    ),
    (
        "capabilities",
        |words| without(words, "--cap-drop", Some("ALL")),
        &["engine.capDrop", "inside.capabilities.bounding"],
    ),
    ("one capability more", |words| add(words, &["--cap-add", "CAP_NET_RAW"]), &["engine.capAdd"]),
    (
        "root",
        |words| {
            without(words, "--uid", Some("65532"));
            without(words, "--gid", Some("65532"));
        },
        &["engine.initProcess", "inside.user.uid", "inside.user.gid"],
    ),
    (
        "no limit of files",
        |words| without(words, "--ulimit", Some("nofile=")),
        &["engine.initProcess", "inside.rlimit.nofile"],
    ),
    (
        "no limit of processes",
        |words| without(words, "--ulimit", Some("nproc=")),
        &["engine.initProcess", "inside.rlimit.nproc"],
    ),
    (
        "no limit of a place",
        |words| replace(words, "size=1024M,mode=1777,destination=/tmp", "mode=1777,destination=/tmp"),
        &["engine.mounts", "inside.mount./tmp"],
    ),
    ("another /dev/shm", |words| replace(words, "64M", "65M"), &["engine.shmSize", "inside.mount./dev/shm"]),
    ("more memory", |words| replace(words, "512M", "513M"), &["engine.resources"]),
    (
        "an agent that can be changed",
        |words| replace(words, "type=bind,readonly", "type=bind"),
        &["engine.mounts", "inside.mounts.writable"],
    ),
    (
        "a folder of the host",
        |words| add(words, &["--mount", "type=bind,source=/etc,destination=/mnt/etc"]),
        &["engine.mounts", "inside.mounts.writable"],
    ),
    ("a port", |words| add(words, &["--publish", "8080:80"]), &["engine.publishedPorts"]),
    ("the user's keys", |words| add(words, &["--ssh"]), &["engine.ssh"]),
    ("another first process", |words| add(words, &["--init"]), &["engine.useInit"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn the_posture_misses_each_control_that_is_taken_away() {
    let Some(AppleFixture { apple, home, .. }) = apple_fixture().await else { return };
    let mut blind = Vec::new();
    for (what, change, controls) in WEAKNESSES {
        let backend = AppleBackend::new(apple_settings(&apple, home.path())).weakened(*change);
        let booted = backend.boot(&apple_spec().build().expect("valid")).await;
        let sandbox = booted.unwrap_or_else(|error| panic!("{what}: {error}")).sandbox;
        let posture = sandbox.posture().await.expect("readable");
        for control in *controls {
            if !posture.broken().any(|broken| broken.name == *control) {
                blind.push(format!("with {what}, the posture says that {control} holds"));
            }
        }
        sandbox.stop().await.expect("stops");
    }
    assert!(blind.is_empty(), "{}", blind.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_not_as_planned_is_not_handed_out() {
    let Some(AppleFixture { backend, apple, .. }) = apple_fixture().await else { return };
    let strict = backend.tampered(|words| without(words, "--read-only", None));
    let error = strict.boot(&apple_spec().build().expect("valid")).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::ControlRefused);
    assert!(error.subject.contains("engine.readOnly") && error.subject.contains("inside.mount./"), "{error}");
    assert_eq!(apple.containers(), Vec::<String>::new());
}

/// The same agent beside a filter that lets everything through.
fn open_folder(agent: &Path, place: &Path) {
    fs::create_dir(place).expect("made");
    fs::copy(agent, place.join("agent")).expect("copied");
    let filter = [&1_u32.to_le_bytes()[..], &[6, 0, 0, 0], &0x7fff_0000_u32.to_le_bytes()[..]].concat();
    fs::write(place.join("filters"), filter).expect("written");
    fs::set_permissions(place, fs::Permissions::from_mode(0o755)).expect("opened");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_filters_the_attacks_that_they_stop_work() {
    const IDS: &[&str] = &["keyctl", "unshare-user", "personality", "io-uring-setup"];
    let Some(AppleFixture { backend, home, apple }) = apple_fixture().await else { return };
    backend
        .boot(&apple_spec().build().expect("valid"))
        .await
        .expect("boots")
        .sandbox
        .stop()
        .await
        .expect("stops");
    let folders =
        fs::read_dir(home.path().join("apple")).expect("listed").flatten().map(|entry| entry.path());
    let agent = folders.map(|folder| folder.join("agent")).find(|path| path.is_file()).expect("the agent");
    let open = home.path().join("open");
    open_folder(&agent, &open);
    let (was, is) = (agent.parent().expect("a folder").display().to_string(), open.display().to_string());
    let weakened = AppleBackend::new(apple_settings(&apple, home.path()));
    let weakened = weakened.weakened(move |words| replace(words, &was, &is));
    let sandbox = weakened.boot(&apple_spec().build().expect("valid")).await.expect("boots").sandbox;
    probe::put_into(&*sandbox).await;
    let results = attack(&*sandbox, &Bait::plant(), IDS).await;
    let verdict = |id: &&str| results.get(*id).map_or(&Value::Null, |result| &result["verdict"]);
    let blind: Vec<_> = IDS.iter().filter(|id| verdict(id) != "OPEN").collect();
    assert!(blind.is_empty(), "{blind:?}: {results:?}");
    sandbox.stop().await.expect("stops");
}
