//! Machines that have run a command once: the first of a kind runs it, and the others go on from there.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use agentkernel_core::{Backend as _, ErrorKind};
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings};

use crate::fixture::fixture;
use crate::past::{Maker, WARM_UP, drawn, said, warmed};
use crate::snapshots::{Home, home};

/// What is kept of machines that were warmed up: their memory.
fn kept(home: &Home) -> Vec<PathBuf> {
    let files = fs::read_dir(home.folder.join("snapshots/warmed")).into_iter().flatten().flatten();
    let is_state = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "state");
    files.map(|entry| entry.path()).filter(is_state).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_is_warmed_up_and_those_that_follow_go_on_from_there_each_as_itself() {
    let Some(fixture) = fixture().await else { return };
    let home = home(&fixture);
    let maker = Maker { backend: &home.backend, spec: &|| fixture.spec() };
    let mut seen = BTreeSet::new();
    let first = drawn(&maker, &warmed(&maker, WARM_UP, "me"), &mut seen).await;
    assert_eq!(kept(&home).len(), 1);
    for _ in 0..2 {
        assert_eq!(drawn(&maker, &warmed(&maker, WARM_UP, "me"), &mut seen).await, first);
    }
    // Another command is another machine, and is in nobody's list of snapshots; so is another's, to whom what was drawn
    // would be known.
    for spec in [warmed(&maker, &format!("{WARM_UP} :"), "me"), warmed(&maker, WARM_UP, "you")] {
        assert_ne!(drawn(&maker, &spec, &mut seen).await, first);
    }
    assert_eq!((kept(&home).len(), home.backend.snapshots().await.expect("listed").len()), (3, 0));
    // Without snapshots each is warmed up.
    let settings =
        MicrovmSettings { home: Some(home.folder.clone()), snapshots: false, ..fixture.backend_settings() };
    let alone = Maker { backend: &MicrovmBackend::qemu(settings), spec: &|| fixture.spec() };
    assert_ne!(drawn(&alone, &warmed(&alone, WARM_UP, "me"), &mut seen).await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_changed_is_warmed_up_anew_and_one_that_fails_is_never_kept() {
    let Some(fixture) = fixture().await else { return };
    let home = home(&fixture);
    let maker = Maker { backend: &home.backend, spec: &|| fixture.spec() };
    let mut seen = BTreeSet::new();
    let first = drawn(&maker, &warmed(&maker, WARM_UP, "me"), &mut seen).await;
    let [state] = &kept(&home)[..] else { panic!("one") };
    flip(state);
    let second = drawn(&maker, &warmed(&maker, WARM_UP, "me"), &mut seen).await;
    assert_ne!(second, first);
    assert_eq!(drawn(&maker, &warmed(&maker, WARM_UP, "me"), &mut seen).await, second);

    let fails = warmed(&maker, "echo bad news >&2; exit 3", "me");
    let error = home.backend.boot(&fails).await.err().expect("it fails");
    assert_eq!(error.kind, ErrorKind::WarmUp, "{error}");
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
    let maker = Maker { backend: &home.backend, spec: &|| fixture.spec() };
    for _ in 0..2 {
        let spec = warmed(&maker, WARM_UP, "me");
        let sandbox = home.backend.boot(&spec).await.expect("booted").sandbox;
        let name = crate::past::name();
        sandbox.snapshot(&name, "mine").await.expect("kept");
        assert_eq!(said(&*sandbox, &["echo", "goes on"]).await.text(), "goes on");
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
