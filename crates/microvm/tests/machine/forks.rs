//! Snapshots of machines in use.

use std::fs;
use std::path::PathBuf;

use agentkernel_core::{Availability, Backend as _, ByteSize, ErrorKind, Limit, Limits, Profile, Sandbox};
use agentkernel_testkit::available_or_skip;

use crate::fixture::{Fixture, fixture};
use crate::past::{ADDER, Maker, add, have_their_past_and_a_life_of_their_own, name, said, start};

async fn booted(fixture: &Fixture) -> Box<dyn Sandbox> {
    Maker { backend: &fixture.backend, spec: &|| fixture.spec() }.booted().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_from_a_machine_in_use_has_its_past_and_a_life_of_its_own() {
    let Some(fixture) = fixture().await else { return };
    let maker = Maker { backend: &fixture.backend, spec: &|| fixture.spec() };
    have_their_past_and_a_life_of_their_own(&maker).await;
    assert_eq!(fs::read_dir(fixture.runtime.path().join("microvm")).expect("listed").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_has_a_name_of_its_own_and_fits_its_own_machine() {
    let Some(fixture) = fixture().await else { return };
    let (parent, snapshot) = (booted(&fixture).await, name());
    parent.snapshot(&snapshot, "first").await.expect("taken");
    let again = parent.snapshot(&snapshot, "second").await.expect_err("taken already");
    assert_eq!(again.kind, ErrorKind::NameTaken);
    let listed = fixture.backend.snapshots().await.expect("listed");
    let ours = listed.iter().find(|info| info.name == snapshot).expect("it is there");
    assert!(ours.about == "first" && ours.bytes > 1 << 20, "{ours:?}");
    let memory = Limit::At(ByteSize::mib(700));
    let other = fixture.spec().limits(Limits { memory, ..Limits::of(Profile::Restrictive) });
    let wrong = fixture.backend.restore(&other.build().expect("sound"), &snapshot).await.map(drop);
    assert!(wrong.expect_err("another machine").why.contains("other words"));
    parent.pause().await.expect("paused");
    let paused = parent.snapshot(&name(), "").await.expect_err("it stands still");
    assert_eq!(paused.hint.as_deref(), Some("resume it first"));
    parent.resume().await.expect("resumed");
    assert_eq!(said(&*parent, &["echo", "here"]).await.text(), "here", "no refusal has harmed it");
    fixture.backend.remove_snapshot(&snapshot).await.expect("removed");
    let gone = fixture.backend.remove_snapshot(&snapshot).await.expect_err("gone");
    assert_eq!(gone.kind, ErrorKind::NoSuchSnapshot);
    let spec = fixture.spec().build().expect("sound");
    let gone = fixture.backend.restore(&spec, &snapshot).await.map(drop).expect_err("gone");
    assert_eq!(gone.kind, ErrorKind::NoSuchSnapshot);
    parent.stop().await.expect("stopped");
}

/// A file system of so many bytes at this place, as long as the value lives.
struct Small(PathBuf);

impl Small {
    fn at(place: PathBuf, bytes: u64) -> Option<Self> {
        fs::create_dir_all(&place).expect("made");
        let options = std::ffi::CString::new(format!("size={bytes},mode=700")).expect("no NUL");
        match rustix::mount::mount(
            "none",
            &place,
            "tmpfs",
            rustix::mount::MountFlags::empty(),
            Some(&*options),
        ) {
            Ok(()) => Some(Self(place)),
            Err(why) => {
                let needs = why.to_string();
                let unavailable = Availability::Unavailable { needs, hint: "run as root".into() };
                assert!(!available_or_skip("mount", &unavailable));
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).expect("unmounted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_costs_the_snapshot_and_nothing_else() {
    let Some(fixture) = fixture().await else { return };
    let home = crate::snapshots::home(&fixture);
    let Some(_small) = Small::at(home.folder.join("kept"), 16 << 20) else { return };
    let spec = fixture.spec().build().expect("sound");
    let parent = home.backend.boot(&spec).await.expect("booted").sandbox;
    let mut adder = start(&*parent, ADDER).await;
    let snapshot = name();
    let full = parent.snapshot(&snapshot, "").await.expect_err("there is no room");
    assert_eq!(full.kind, ErrorKind::Host, "{full}");
    assert!(home.backend.snapshots().await.expect("listed").is_empty());
    let left = fs::read_dir(home.folder.join("kept")).expect("listed").flatten();
    assert!(left.into_iter().all(|entry| entry.file_name() == "new"), "half a snapshot is left");
    assert_eq!(add(&mut *adder, 3).await, "3", "it goes on");
    assert!(parent.posture().await.expect("read").holds());
    parent.stop().await.expect("stopped");
}
