//! VMMs that fail, in each phase and in each way: what is told, and that nothing is left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{
    Availability, Backend as _, CauseOfDeath, Command, Error, ErrorKind, Image, Profile, SandboxName,
    SandboxSpec, SandboxSpecBuilder,
};
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings, setup};
use agentkernel_testkit::leaks::{Marks, Snapshot, describe};
use agentkernel_testkit::{available_or_skip, random_u64, tool_or_skip};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::sync::MutexGuard;

use crate::fixture::{self, fixture, search_path, turn};

/// How long each phase may last.
pub const PATIENCE: Duration = Duration::from_millis(1500);

/// A host whose VMM is a stand-in.
pub struct Host {
    folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Host {
    async fn new(mode: &str) -> Option<Self> {
        Self::of("qemu-system-x86_64", include_str!("fake_vmm.py"), mode).await
    }

    /// One on which this script, or what was compiled, is the VMM of this name.
    pub async fn of(program: &str, content: impl AsRef<[u8]>, mode: &str) -> Option<Self> {
        for tool in ["mke2fs", "setpriv", "python3"] {
            tool_or_skip(tool)?;
        }
        let host = Self { _turn: turn().await, folder: tempfile::tempdir().expect("a folder") };
        let vmm = host.path("bin").join(program);
        // The VMM of root's tests is another user.
        fs::set_permissions(host.folder.path(), fs::Permissions::from_mode(0o755)).expect("changed");
        fs::create_dir_all(host.path("bin")).expect("made");
        fs::create_dir_all(host.path("root/bin")).expect("made");
        fs::write(&vmm, content).expect("written");
        fs::set_permissions(&vmm, fs::Permissions::from_mode(0o755)).expect("changed");
        fs::write(host.path("bin/mode"), mode).expect("written");
        let mut kernel = vec![0; 64];
        kernel[..5].copy_from_slice(b"\x7fELF\x02");
        kernel[18] = 62;
        fs::write(host.path("vmlinux"), kernel).expect("written");
        setup::from_file(&host.path("home"), &host.path("vmlinux")).expect("kept");
        Some(host)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn settings(&self) -> MicrovmSettings {
        let mut settings = fixture::settings(self.folder.path(), self.path("home"));
        settings.search_path.insert(0, self.path("bin"));
        settings
    }

    fn spec(&self) -> SandboxSpec {
        self.builder().emulate(true).build().expect("sound")
    }

    /// Of a machine that is not emulated.
    pub fn real_spec(&self) -> SandboxSpec {
        self.builder().build().expect("sound")
    }

    fn builder(&self) -> SandboxSpecBuilder {
        let name = SandboxName::from_random(random_u64());
        SandboxSpec::builder(name, Profile::Restrictive).image(Image::Rootfs(self.path("root")))
    }
}

/// The error of a boot after which nothing is left.
async fn fails(mode: &str) -> Option<Error> {
    fails_on(&Host::new(mode).await?, mode, false).await
}

/// The same on this host, whose machines may continue from snapshots.
async fn fails_on(host: &Host, mode: &str, snapshots: bool) -> Option<Error> {
    let backend = MicrovmBackend::qemu(MicrovmSettings { snapshots, ..host.settings() }).hasty(PATIENCE);
    Some(boot_fails(&backend, &host.spec(), mode, &host.path("microvm")).await)
}

/// What this process has open.
fn open() -> Vec<String> {
    let open = fs::read_dir("/proc/self/fd").expect("listed").flatten();
    open.filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.display().to_string())).collect()
}

/// The error of a boot, after which nothing is left, also below `folders`, where machines have their own.
pub async fn boot_fails(backend: &MicrovmBackend, spec: &SandboxSpec, mode: &str, folders: &Path) -> Error {
    let (open, before) = (open(), Snapshot::take(&Marks::of_this_process().word(spec.name().as_str())));
    let error = backend.boot(spec).await.err().expect("it fails");
    let mut leaks = before.settled(Duration::from_secs(10)).await;
    // Of other tests, whose runtimes begin while they wait for their turn: events, and one more descriptor of the socket by
    // which all runtimes of a process hear of signals.
    let is_runtimes = |what: &str| {
        what.contains("anon_inode:[event")
            || open.iter().any(|socket| socket.starts_with("socket:") && what.ends_with(&**socket))
    };
    leaks.retain(|leak| !is_runtimes(&leak.what));
    assert!(leaks.is_empty(), "{mode}: left on the host:{}", describe(&leaks));
    let left = fs::read_dir(folders).map_or(0, Iterator::count);
    assert_eq!(left, 0, "{mode}: its folder is left");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vmm_that_fails_before_it_has_called_is_told_with_its_last_words() {
    for (mode, says) in [
        (
            "hang-before-calling",
            "in phase configured: the VMM has not called and answered within 1500 ms: fake: begun",
        ),
        ("die-before-calling", "in phase configured: the VMM ended with exit status: 7"),
        ("hang-before-greeting", "the VMM has not called and answered within 1500 ms"),
        ("talk-nonsense", "it does not speak QMP"),
    ] {
        let Some(error) = fails(mode).await else { return };
        assert_eq!(error.kind, ErrorKind::Boot, "{mode}: {error}");
        assert!(error.to_string().contains(says), "{mode}: {error}");
        assert!(error.why.contains("fake: "), "{mode}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vmm_that_was_taken_over_gets_no_more_of_the_host_than_a_machine_may_and_leaves_nothing() {
    if !groups_or_skip() {
        return;
    }
    for (mode, says) in [
        ("hunger", "signal: 9 (SIGKILL): it wanted more than the 1184 MiB of the host's memory"),
        // One more is the VMM itself.
        ("breed", "fake: no more than 96 children: "),
        ("hoard", "fake: [Errno 27] File too large"),
    ] {
        let Some(host) = Host::new(mode).await else { return };
        let backend = MicrovmBackend::qemu(host.settings()).hasty(20 * PATIENCE);
        let error = boot_fails(&backend, &host.spec(), mode, &host.path("microvm")).await;
        assert_eq!(error.kind, ErrorKind::Boot, "{mode}: {error}");
        assert!(error.to_string().contains(says), "{mode}: {error}");
    }
}

/// Whether control groups can be made here.
pub fn groups_or_skip() -> bool {
    let hierarchy = agentkernel_cgroup::Hierarchy::detect();
    let (needs, hint) = (format!("control groups ({})", hierarchy.describe()), "run as root".into());
    available_or_skip(
        "cgroups",
        &match hierarchy.can_limit() {
            true => Availability::Available { facts: Vec::new() },
            false => Availability::Unavailable { needs, hint },
        },
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guest_that_never_answers_and_a_vmm_that_dies_under_it_are_told() {
    for (mode, says) in [
        ("silent", "it was not ready within 1500 ms: fake: begun"),
        ("deaf", "it was not ready within 1500 ms"),
        ("stays", "it was not ready within 1500 ms"),
        ("die-while-booting", "fake: something is wrong"),
    ] {
        let Some(error) = fails(mode).await else { return };
        assert_eq!(error.kind, ErrorKind::Boot, "{mode}: {error}");
        assert!(error.to_string().contains(says), "{mode}: {error}");
    }
    let Some(error) = fails("nonsense-on-the-stream").await else { return };
    assert_eq!(error.kind, ErrorKind::ProtocolBroken, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_does_not_show_that_it_was_renewed_is_not_handed_out() {
    let Some(error) = fails("renews-nothing").await else { return };
    assert_eq!(error.kind, ErrorKind::ProtocolBroken, "{error}");
    assert!(error.to_string().contains("what no machine of ours says: \"renewed\""), "{error}");
    let Some(error) = fails("clock-stands").await else { return };
    assert_eq!(error.kind, ErrorKind::Boot, "{error}");
    assert!(error.to_string().contains("s off after it was set"), "{error}");
    // One that was renewed, and says no more, has come as far as its agent.
    let Some(error) = fails("renewed-and-silent").await else { return };
    assert_eq!(error.kind, ErrorKind::Boot, "{error}");
}

/// What is in the folder of snapshots.
pub fn snapshots(host: &Host) -> Vec<String> {
    let files = fs::read_dir(host.path("home/snapshots")).into_iter().flatten().flatten();
    let files = files.filter(|entry| entry.path().is_file());
    files.map(|entry| entry.file_name().display().to_string()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_cannot_be_written_is_none_and_the_machine_is_booted() {
    for mode in ["cannot-write", "dies-writing"] {
        let Some(host) = Host::new(mode).await else { return };
        // The machine that is booted then is silent, too, which shows that it came to that.
        let error = fails_on(&host, mode, true).await.expect("a host");
        assert!(error.to_string().contains("was not ready within"), "{mode}: {error}");
        assert_eq!(snapshots(&host), Vec::<String>::new(), "{mode}");
        assert_eq!(fs::read_dir(host.path("home/snapshots/new")).expect("listed").count(), 0, "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_does_not_come_to_life_is_removed_and_the_machine_is_booted() {
    let Some(host) = Host::new("renewed-and-silent").await else { return };
    fails_on(&host, "renewed-and-silent", true).await.expect("a host");
    assert_eq!(snapshots(&host).len(), 2, "the snapshot, and what is written down of it");
    fs::write(host.path("bin/mode"), "stillborn-snapshot").expect("written");
    let error = fails_on(&host, "stillborn-snapshot", true).await.expect("a host");
    assert!(error.to_string().contains("was not ready within"), "{error}");
    assert_eq!(snapshots(&host), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_cannot_boot_is_told_at_once_and_not_tried_twice() {
    let Some(host) = Host::new("die-while-booting").await else { return };
    let error = fails_on(&host, "die-while-booting", true).await.expect("a host");
    assert!(error.to_string().contains("fake: something is wrong"), "{error}");
    assert_eq!(snapshots(&host), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_named_with_the_way_to_it() {
    let Some(host) = Host::new("silent").await else { return };
    let told = async |settings: MicrovmSettings| match MicrovmBackend::qemu(settings).probe().await {
        Availability::Unavailable { needs, hint } => (needs, hint),
        other => panic!("{other:?}"),
    };
    let nowhere = vec![PathBuf::from("/nowhere")];
    let (needs, hint) = told(MicrovmSettings { search_path: nowhere, ..host.settings() }).await;
    assert!(needs.contains("qemu-system-x86_64") && hint.contains("apt-get install"), "{needs}: {hint}");
    let (needs, hint) = told(MicrovmSettings { home: Some(host.path("other")), ..host.settings() }).await;
    assert!(needs.contains("a kernel") && hint == "agentkernel setup microvm", "{needs}: {hint}");
    let no_hardware = MicrovmSettings { hardware: || Err("a moon".into()), ..host.settings() };
    let error =
        MicrovmBackend::qemu(no_hardware.clone()).boot(&host.real_spec()).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::Unavailable, "{error}");
    let hint = error.hint.clone().expect("a way out");
    assert!(error.why.contains("a moon") && hint.contains("not a security boundary"), "{error}: {hint}");
    match MicrovmBackend::qemu(no_hardware).probe().await {
        Availability::Limited { limitation, .. } => {
            assert!(limitation.contains("emulated: not a") && limitation.contains("a moon"), "{limitation}");
        }
        other => panic!("{other:?}"),
    }
    assert!(search_path().iter().all(|folder| Path::is_absolute(folder)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vmm_that_is_killed_under_a_command_is_a_crash_of_the_boundary() {
    let Some(fixture) = fixture().await else { return };
    let spec = fixture.spec().build().expect("sound");
    let before = Snapshot::take(&Marks::of_this_process().word(spec.name().as_str()));
    let sandbox = fixture.backend.boot(&spec).await.expect("booted").sandbox;
    let mut process = sandbox.exec(&Command::new(["sleep", "1000"])).await.expect("started");
    kill_process(vmm_of(spec.name().as_str()), Signal::KILL).expect("killed");
    let error = process.next().await.expect_err("it is gone");
    assert_eq!(error.kind, ErrorKind::SandboxGone, "{error}");
    assert!(error.why.contains("boundary crashed") && error.why.contains("signal: 9"), "{error}");
    drop(process);
    assert_eq!(sandbox.ended().await.cause, CauseOfDeath::BoundaryCrashed);
    let stopped = sandbox.stop().await.expect("stopped");
    assert_eq!(stopped.cause, Some(CauseOfDeath::BoundaryCrashed));
    let leaks = before.settled(Duration::from_secs(10)).await;
    assert!(leaks.is_empty(), "left on the host:{}", describe(&leaks));
}

/// The VMM of the machine with this name, known by its words.
pub fn vmm_of(name: &str) -> Pid {
    let pids = fs::read_dir("/proc").expect("listed").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"qemu-system-x86_64"))
            && words.any(|word| word == name.as_bytes())
    };
    pids.into_iter().find(is_it).and_then(Pid::from_raw).expect("it runs")
}
