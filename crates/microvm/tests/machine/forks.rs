//! Snapshots of machines in use: what goes on from one is itself, with all that ran in it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use agentkernel_core::{
    Availability, Backend as _, ByteSize, Command, ErrorKind, ExitStatus, Limit, Limits, OutputStream,
    Process, ProcessEvent, Profile, Restored, Sandbox, SandboxName, SnapshotName, Stdin,
};
use agentkernel_testkit::{available_or_skip, listen, random_u64};

use crate::fixture::{Fixture, fixture};
use crate::said;
use crate::snapshots::own;

/// Adds up what it is told.
const ADDER: &str =
    "sum=0; while read number; do sum=$((sum + number)); echo $sum; done; echo end >&2; exit 7";

/// Draws as quickly as it can, and writes down what. A kernel's generator gives whoever asks for so many bytes one block of
/// one sequence: two of the same seed have most blocks in common, whoever else draws.
const DRAWER: &str = "exec dd if=/dev/urandom of=/tmp/drawn bs=32 count=200000";

/// Bytes of a block.
const BLOCK: usize = 32;

fn name() -> SnapshotName {
    SandboxName::from_random(random_u64())
}

async fn booted(fixture: &Fixture) -> Box<dyn Sandbox> {
    let spec = fixture.spec().build().expect("sound");
    fixture.backend.boot(&spec).await.expect("booted").sandbox
}

async fn continued(fixture: &Fixture, from: &SnapshotName) -> Restored {
    let spec = fixture.spec().build().expect("sound");
    let restored = fixture.backend.restore(&spec, from).await.expect("continued");
    println!("continued in {:?}", restored.ready);
    assert_eq!(restored.sandbox.name(), spec.name());
    restored
}

async fn start(sandbox: &dyn Sandbox, script: &str) -> Box<dyn Process> {
    let command = Command { stdin: Stdin::Pipe, ..Command::new(["sh", "-c", script]) };
    sandbox.exec(&command).await.expect("started")
}

/// Says a number to the adder, and hears the sum.
async fn add(adder: &mut dyn Process, number: u32) -> String {
    adder.control().write_stdin(format!("{number}\n").into()).await.expect("heard");
    let mut said = Vec::new();
    while !said.ends_with(b"\n") {
        match adder.next().await.expect("it runs") {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => said.extend_from_slice(&bytes),
            other => panic!("{other:?}"),
        }
    }
    String::from_utf8(said).expect("text").trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_from_a_machine_in_use_has_its_past_and_a_life_of_its_own() {
    let Some(fixture) = fixture().await else { return };
    let (parent, snapshot) = (booted(&fixture).await, name());
    let before = own(&*parent).await;
    said(&*parent, &["sh", "-c", "echo past > /tmp/file"]).await;
    let mut adder = start(&*parent, ADDER).await;
    let _drawer = start(&*parent, DRAWER).await;
    assert_eq!(add(&mut *adder, 1).await, "1");
    said(&*parent, &["sh", "-c", "until [ $(wc -c < /tmp/drawn) -ge 3200 ]; do sleep 0.01; done"]).await;

    parent.snapshot(&snapshot, "mine").await.expect("taken");
    assert_eq!(add(&mut *adder, 10).await, "11", "it goes on in its own place");
    let now = own(&*parent).await;
    assert_eq!((&now[0], &now[1], &now[3]), (&before[0], &before[1], &before[3]), "it stays who it is");
    assert!(parent.posture().await.expect("read").holds());

    let mut seen = BTreeSet::from(now);
    let mut drawn = vec![drawn_in(&*parent).await];
    for number in 0..2 {
        let Restored { sandbox, commands, evidence, .. } = continued(&fixture, &snapshot).await;
        let own = own(&*sandbox).await;
        assert_eq!((&own[1], &own[3]), (&evidence.boot_id, &sandbox.name().to_string()));
        seen.extend(own);
        assert_eq!(seen.len(), 4 * (number + 2), "two of one snapshot have the same: {seen:?}");
        assert_eq!(said(&*sandbox, &["cat", "/tmp/file"]).await.text(), "past");
        let clock: u64 = said(&*sandbox, &["date", "+%s"]).await.text().parse().expect("a number");
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        assert!(clock.abs_diff(ours) <= 5, "the guest's clock says {clock}, ours {ours}");
        goes_on_by_itself(&*sandbox, commands).await;
        drawn.push(drawn_in(&*sandbox).await);
        sandbox.stop().await.expect("stopped");
    }
    share_nothing_but_their_past(&drawn);
    assert_eq!(add(&mut *adder, 1).await, "12", "what others did is not its own");
    fixture.backend.remove_snapshot(&snapshot).await.expect("removed");
    parent.stop().await.expect("stopped");
    assert_eq!(std::fs::read_dir(fixture.runtime.path().join("microvm")).expect("listed").count(), 0);
}

/// The commands of the past run here, and one that ends does so here alone.
async fn goes_on_by_itself(sandbox: &dyn Sandbox, mut commands: Vec<Box<dyn Process>>) {
    assert_eq!(commands.len(), 2);
    let adder = &mut commands[0];
    assert_eq!(add(&mut **adder, 100).await, "101");
    adder.control().close_stdin().await.expect("heard");
    let ended = listen(commands.remove(0)).await.expect("ended");
    assert_eq!((ended.exited.status, &ended.stderr[..]), (ExitStatus::Code(7), &b"end\n"[..]));
    assert!(sandbox.posture().await.expect("read").holds());
}

async fn drawn_in(sandbox: &dyn Sandbox) -> Vec<Vec<u8>> {
    let drawn = said(sandbox, &["cat", "/tmp/drawn"]).await.stdout;
    drawn.chunks_exact(BLOCK).map(<[u8]>::to_vec).collect()
}

/// Nothing was drawn between the moment of the snapshot and the renewal: it would be the same in all.
fn share_nothing_but_their_past(drawn: &[Vec<Vec<u8>>]) {
    let past = (0..)
        .take_while(|&at| drawn.iter().all(|of| of.get(at).is_some_and(|line| *line == drawn[0][at])))
        .count();
    assert!(past > 0, "something was drawn before the snapshot");
    let mut seen = BTreeSet::new();
    for of in drawn {
        assert!(of.len() > past, "it draws on: {} of {past}", of.len());
        let again = of[past..].iter().filter(|block| !seen.insert(*block)).count();
        assert_eq!(again, 0, "of {} blocks somebody else has drawn some too", of.len() - past);
    }
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
