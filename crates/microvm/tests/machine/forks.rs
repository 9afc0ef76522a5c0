//! Snapshots of machines in use.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentkernel_core::{Backend as _, ByteSize, ErrorKind, Limit, Limits, Profile, Sandbox};

use crate::fixture::{Fixture, fixture};
use crate::past::{self, Maker, Small, have_their_past_and_a_life_of_their_own, name, said};

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

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_paused_knows_the_time_afterwards() {
    let Some(fixture) = fixture().await else { return };
    let sandbox = booted(&fixture).await;
    let off = async || {
        let told = said(&*sandbox, &["date", "+%s"]).await.text().parse::<u64>().expect("seconds");
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        ours.abs_diff(told)
    };
    assert!(off().await < 4, "it was wrong before");
    sandbox.pause().await.expect("paused");
    // Longer than the two may differ otherwise, on a busy host.
    tokio::time::sleep(Duration::from_secs(8)).await;
    sandbox.resume().await.expect("resumed");
    assert!(off().await < 4, "it has the time at which it was paused");
    sandbox.stop().await.expect("stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_costs_the_snapshot_and_nothing_else() {
    let Some(fixture) = fixture().await else { return };
    let home = crate::snapshots::home(&fixture);
    let Some(_small) = Small::at(home.folder.join("kept"), 16 << 20) else { return };
    past::lose_no_more_than_the_snapshot(&Maker { backend: &home.backend, spec: &|| fixture.spec() }).await;
    let left = fs::read_dir(home.folder.join("kept")).expect("listed").flatten();
    assert!(left.into_iter().all(|entry| entry.file_name() == "new"), "half a snapshot is left");
}
