//! Machines that have run a command once: the first of a kind runs it, and the others go on from there.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use agentkernel_core::{Backend as _, ErrorKind, SandboxSpec, WarmUp};
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings};

use crate::faults::vmm_of;
use crate::fixture::{Fixture, fixture};
use crate::past::{own, said};
use crate::snapshots::{Home, home};

/// It leaves what no other run of it leaves, and a process.
const SCRIPT: &str = "cat /proc/sys/kernel/random/uuid >>drawn; sleep 1000 >/dev/null 2>&1 &";

fn spec(fixture: &Fixture, script: &str) -> SandboxSpec {
    spec_of(fixture, script, "me")
}

fn spec_of(fixture: &Fixture, script: &str, owner: &str) -> SandboxSpec {
    let argv = ["/bin/sh", "-c", script].map(|word| word.as_bytes().to_vec()).into();
    fixture.spec().warm_up(Some(WarmUp { argv, owner: owner.into() })).build().expect("sound")
}

/// What is kept of machines that were warmed up: their memory.
fn kept(home: &Home) -> Vec<PathBuf> {
    let files = fs::read_dir(home.folder.join("snapshots/warmed")).into_iter().flatten().flatten();
    let is_state = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "state");
    files.map(|entry| entry.path()).filter(is_state).collect()
}

/// What a machine has drawn as it was warmed up, after it has shown to be itself.
async fn drawn(backend: &MicrovmBackend, spec: &SandboxSpec, seen: &mut BTreeSet<String>) -> String {
    let sandbox = backend.boot(spec).await.expect("booted").sandbox;
    assert!(sandbox.posture().await.expect("read").holds());
    let drawn = said(&*sandbox, &["cat", "drawn"]).await.text();
    assert_eq!(drawn.lines().count(), 1, "it has run twice: {drawn}");
    let processes = said(&*sandbox, &["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"]).await.text();
    assert!(processes.contains("sleep 1000"), "{processes}");
    let count = seen.len();
    seen.extend(own(&*sandbox).await);
    assert_eq!(seen.len(), count + 4, "two of them have the same: {seen:?}");
    sandbox.stop().await.expect("stopped");
    drawn
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_is_warmed_up_and_those_that_follow_go_on_from_there_each_as_itself() {
    let Some(fixture) = fixture().await else { return };
    let home = home(&fixture);
    let mut seen = BTreeSet::new();
    let first = drawn(&home.backend, &spec(&fixture, SCRIPT), &mut seen).await;
    assert_eq!(kept(&home).len(), 1);
    for _ in 0..2 {
        assert_eq!(drawn(&home.backend, &spec(&fixture, SCRIPT), &mut seen).await, first);
    }
    // Another command is another machine, and is in nobody's list of snapshots.
    assert_ne!(drawn(&home.backend, &spec(&fixture, &format!("{SCRIPT} :")), &mut seen).await, first);
    // And so is another's, to whom what was drawn would be known.
    assert_ne!(drawn(&home.backend, &spec_of(&fixture, SCRIPT, "you"), &mut seen).await, first);
    assert_eq!((kept(&home).len(), home.backend.snapshots().await.expect("listed").len()), (3, 0));
    // Without snapshots each is warmed up.
    let settings =
        MicrovmSettings { home: Some(home.folder.clone()), snapshots: false, ..fixture.backend_settings() };
    let alone = MicrovmBackend::qemu(settings);
    assert_ne!(drawn(&alone, &spec(&fixture, SCRIPT), &mut seen).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_changed_is_warmed_up_anew_and_one_that_fails_is_never_kept() {
    let Some(fixture) = fixture().await else { return };
    let home = home(&fixture);
    let mut seen = BTreeSet::new();
    let first = drawn(&home.backend, &spec(&fixture, SCRIPT), &mut seen).await;
    let [state] = &kept(&home)[..] else { panic!("one") };
    flip(state);
    let second = drawn(&home.backend, &spec(&fixture, SCRIPT), &mut seen).await;
    assert_ne!(second, first);
    assert_eq!(drawn(&home.backend, &spec(&fixture, SCRIPT), &mut seen).await, second);

    let fails = spec(&fixture, "echo bad news >&2; exit 3");
    let error = home.backend.boot(&fails).await.err().expect("it fails");
    assert_eq!(error.kind, ErrorKind::Boot, "{error}");
    assert!(error.to_string().contains("exit code 3: bad news"), "{error}");
    assert_eq!(kept(&home).len(), 1);
    let left = fs::read_dir(fixture.runtime.path().join("microvm")).expect("listed").count();
    assert_eq!(left, 0, "its folder is left");
}

/// What a user takes of one that was warmed up is the user's, and no other machine's beginning.
#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_warmed_up_can_be_kept_by_its_user() {
    let Some(fixture) = fixture().await else { return };
    let home = home(&fixture);
    for _ in 0..2 {
        let spec = spec(&fixture, SCRIPT);
        let sandbox = home.backend.boot(&spec).await.expect("booted").sandbox;
        let name = crate::past::name();
        sandbox.snapshot(&name, "mine").await.expect("kept");
        assert_eq!(said(&*sandbox, &["echo", "goes on"]).await.text(), "goes on");
        vmm_of(spec.name().as_str());
        let listed = home.backend.snapshots().await.expect("listed");
        assert!(listed.iter().any(|info| info.name == name && info.about == "mine"), "{listed:?}");
        home.backend.remove_snapshot(&name).await.expect("removed");
        sandbox.stop().await.expect("stopped");
        assert_eq!(kept(&home).len(), 1);
    }
}

/// Changes a byte in the midst of a file that nobody may write to.
fn flip(path: &PathBuf) {
    let mut permissions = fs::metadata(path).expect("there").permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
    fs::set_permissions(path, permissions).expect("changed");
    let mut file = OpenOptions::new().read(true).write(true).open(path).expect("opened");
    let middle = file.metadata().expect("there").len() / 2;
    let mut byte = [0];
    file.seek(SeekFrom::Start(middle)).expect("there");
    file.read_exact(&mut byte).expect("read");
    file.seek(SeekFrom::Start(middle)).expect("there");
    file.write_all(&[byte[0] ^ 1]).expect("written");
}
