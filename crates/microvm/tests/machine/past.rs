//! What goes on from a snapshot of a machine in use is itself, with all that ran in it: whichever VMM's it is.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use agentkernel_core::{
    Availability, Backend as _, Command, ErrorKind, ExitStatus, OutputStream, Process, ProcessEvent,
    Restored, Sandbox, SandboxName, SandboxSpec, SandboxSpecBuilder, SnapshotName, Stdin, WarmUp,
};
use agentkernel_microvm::MicrovmBackend;
use agentkernel_testkit::{Said, available_or_skip, listen, random_u64};

/// Adds up what it is told.
pub const ADDER: &str =
    "sum=0; while read number; do sum=$((sum + number)); echo $sum; done; echo end >&2; exit 7";

/// Draws as quickly as it can, and writes down what. A kernel's generator gives whoever asks for so many bytes one block of
/// one sequence: two of the same seed have most blocks in common, whoever else draws.
const DRAWER: &str = "exec dd if=/dev/urandom of=/tmp/drawn bs=32 count=200000";

/// Bytes of a block.
const BLOCK: usize = 32;

/// A name of nobody's.
pub fn name() -> SnapshotName {
    SandboxName::from_random(random_u64())
}

/// What a command does.
pub async fn said(sandbox: &dyn Sandbox, words: &[&str]) -> Said {
    listen(sandbox.exec(&Command::new(words.iter().copied())).await.expect("started")).await.expect("heard")
}

/// What every machine must have for itself alone.
pub async fn own(sandbox: &dyn Sandbox) -> [String; 4] {
    let mut told = Vec::new();
    for command in
        ["cat /etc/machine-id", "cat /proc/sys/kernel/random/boot_id", "head -c 32 /dev/urandom | sha256sum"]
    {
        told.push(said(sandbox, &["sh", "-c", command]).await.text());
    }
    told.push(said(sandbox, &["cat", "/proc/sys/kernel/hostname"]).await.text());
    told.try_into().expect("four")
}

/// A backend, and how its sandboxes are described.
pub struct Maker<'a> {
    pub backend: &'a MicrovmBackend,
    pub spec: &'a (dyn Fn() -> SandboxSpecBuilder + Sync),
}

impl Maker<'_> {
    /// One more of it.
    pub async fn booted(&self) -> Box<dyn Sandbox> {
        let spec = (self.spec)().build().expect("sound");
        self.backend.boot(&spec).await.expect("booted").sandbox
    }

    async fn continued(&self, from: &SnapshotName) -> Restored {
        let spec = (self.spec)().build().expect("sound");
        let restored = self.backend.restore(&spec, from).await.expect("continued");
        println!("continued in {:?}", restored.ready);
        assert_eq!(restored.sandbox.name(), spec.name());
        restored
    }
}

/// A warm-up that leaves what no other run of it leaves, and a process.
pub const WARM_UP: &str = "cat /proc/sys/kernel/random/uuid >>drawn; sleep 1000 >/dev/null 2>&1 &";

/// The description of one that runs this script once, for this owner.
pub fn warmed(maker: &Maker<'_>, script: &str, owner: &str) -> SandboxSpec {
    let argv = ["/bin/sh", "-c", script].map(|word| word.as_bytes().to_vec()).into();
    (maker.spec)().warm_up(Some(WarmUp { argv, owner: owner.into() })).build().expect("sound")
}

/// What a machine has drawn as it was warmed up, after it has shown to be itself.
pub async fn drawn(maker: &Maker<'_>, spec: &SandboxSpec, seen: &mut BTreeSet<String>) -> String {
    let sandbox = maker.backend.boot(spec).await.expect("booted").sandbox;
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

/// Starts a script that is spoken to.
pub async fn start(sandbox: &dyn Sandbox, script: &str) -> Box<dyn Process> {
    let command = Command { stdin: Stdin::Pipe, ..Command::new(["sh", "-c", script]) };
    sandbox.exec(&command).await.expect("started")
}

/// Says a number to the adder, and hears the sum.
pub async fn add(adder: &mut dyn Process, number: u32) -> String {
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

/// A machine is kept while commands run in it; what goes on from that has its past, and a life of its own. So has what goes on from
/// a machine that has gone on itself.
pub async fn have_their_past_and_a_life_of_their_own(maker: &Maker<'_>) {
    let (parent, snapshot) = (maker.booted().await, name());
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
        let Restored { sandbox, commands, evidence, .. } = maker.continued(&snapshot).await;
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
        has_a_child(maker, &*sandbox).await;
        sandbox.stop().await.expect("stopped");
    }
    share_nothing_but_their_past(&drawn);
    assert_eq!(add(&mut *adder, 1).await, "12", "what others did is not its own");
    maker.backend.remove_snapshot(&snapshot).await.expect("removed");
    parent.stop().await.expect("stopped");
}

/// One of a machine that has gone on itself: it has what was done before and since, and what nobody has touched since.
async fn has_a_child(maker: &Maker<'_>, parent: &dyn Sandbox) {
    let (snapshot, big) = (name(), "seq 1 100000 | sha256sum");
    let digest = said(parent, &["sh", "-c", big]).await.text();
    said(parent, &["sh", "-c", "echo since > /tmp/more"]).await;
    parent.snapshot(&snapshot, "of one that has gone on").await.expect("taken");
    let child = maker.continued(&snapshot).await.sandbox;
    assert_eq!(said(&*child, &["cat", "/tmp/file", "/tmp/more"]).await.text(), "past\nsince");
    assert_eq!(said(&*child, &["sh", "-c", big]).await.text(), digest, "its memory is whole");
    assert!(child.posture().await.expect("read").holds());
    child.stop().await.expect("stopped");
    maker.backend.remove_snapshot(&snapshot).await.expect("removed");
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

/// What a guest frees is the host's again: its VMM holds on to little of it.
pub async fn give_memory_back(maker: &Maker<'_>) {
    const TAKEN_MIB: u64 = 128;
    const MOST_OF_IT: u64 = (TAKEN_MIB << 20) / 4 * 3;
    let sandbox = maker.booted().await;
    let held = async || sandbox.usage().await.expect("told").memory_bytes.expect("a VMM holds memory");
    let least = held().await;
    let take = format!("dd if=/dev/zero of=/tmp/large bs=1M count={TAKEN_MIB}");
    assert_eq!(said(&*sandbox, &["sh", "-c", &take]).await.exited.status, ExitStatus::Code(0));
    let most = held().await;
    assert!(most >= least + MOST_OF_IT, "it held {least} bytes, and holds {most}");
    assert_eq!(said(&*sandbox, &["rm", "/tmp/large"]).await.exited.status, ExitStatus::Code(0));
    let (began, mut now) = (Instant::now(), most);
    // A guest tells what is free two seconds later, and once more whenever that has come to something.
    while now + MOST_OF_IT > most && began.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        now = held().await;
    }
    println!("held {least} bytes, then {most}, and {now} after {:?}", began.elapsed());
    assert!(now + MOST_OF_IT <= most, "it held {most} bytes, has freed {TAKEN_MIB} MiB, and holds {now}");
    sandbox.stop().await.expect("stopped");
}

/// Where there is no room for its snapshot, a machine goes on, and nothing is kept.
pub async fn lose_no_more_than_the_snapshot(maker: &Maker<'_>) {
    let parent = maker.booted().await;
    let mut adder = start(&*parent, ADDER).await;
    let full = parent.snapshot(&name(), "").await.expect_err("there is no room");
    assert_eq!(full.kind, ErrorKind::Host, "{full}");
    assert!(maker.backend.snapshots().await.expect("listed").is_empty());
    assert_eq!(add(&mut *adder, 3).await, "3", "it goes on");
    assert!(parent.posture().await.expect("read").holds());
    parent.stop().await.expect("stopped");
}

/// A file system of so many bytes at a place, as long as the value lives.
pub struct Small(PathBuf);

impl Small {
    pub fn at(place: PathBuf, bytes: u64) -> Option<Self> {
        std::fs::create_dir_all(&place).expect("made");
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
