//! Firecracker's machines on KVM, by the real program, which no registry of packages has: where it is on PATH. Where the
//! processor has no KVM that works, one test boots an emulated host (`scripts/kvm-lab`) and runs the others there: what they
//! prove is function, and no figure of them means anything.

mod measure;
#[path = "../machine/past.rs"]
mod past;
mod rig;
#[path = "../machine/root.rs"]
mod root;

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use agentkernel_core::{Backend, CauseOfDeath, Sandbox};
use agentkernel_kvm::KvmLevel;
use agentkernel_testkit::conformance::{self, Shared, SuiteOptions};
use agentkernel_testkit::leaks::{Marks, Snapshot, describe};
use agentkernel_testkit::{tests_hold_in_kvm_lab, tool_or_skip};
use rustix::process::{Pid, Signal, kill_process};

use rig::{Rig, parent, rig, said};

/// The lab boots in some ten seconds, and none of these tests takes a minute in it. Each has a lab of its own: after some minutes
/// of nested machines the emulated host's kernel was seen to stand still.
const DEADLINE: Duration = Duration::from_secs(200);

/// What the emulated host is made with, and what is run in it.
const TOOLS: [&str; 6] = ["firecracker", "jailer", "qemu-system-x86_64", "busybox", "mkfs.ext4", "setpriv"];

/// Where programs are in the emulated host.
const SYSTEM: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The tests besides this one.
const TESTS: [&str; 15] = [
    "a_jailed_machine_runs_commands_and_stands_still_and_leaves_nothing",
    "machines_of_one_snapshot_share_no_secret_and_no_name",
    "what_goes_on_from_a_machine_that_has_booted_has_its_past_and_a_life_of_its_own",
    "what_goes_on_from_a_machine_of_a_snapshot_has_its_past_and_a_life_of_its_own",
    "a_machine_goes_on_from_the_first_that_was_warmed_up_as_itself",
    "a_disk_that_is_full_costs_the_snapshot_and_nothing_else",
    "memory_that_a_guest_frees_is_the_hosts_again",
    "whatever_is_killed_of_it_takes_the_rest_along",
    "commands_hold",
    "streams_hold",
    "files_hold",
    "isolation_holds",
    "limits_hold",
    "lives_hold",
    "snapshots_hold",
];

#[test]
fn everything_holds_on_kvm_or_in_an_emulated_host_that_has_it() {
    // The others run here then.
    if agentkernel_kvm::probe() == KvmLevel::Hardware {
        return;
    }
    let Some(programs) = TOOLS.map(tool_or_skip).into_iter().collect::<Option<Vec<_>>>() else { return };
    if !rig::prepare() {
        return;
    }
    let tests = std::env::current_exe().expect("this program");
    let firecracker = programs[0].parent().expect("a folder").display().to_string();
    let (shown, path) =
        (format!("{firecracker}:/opt/firecracker"), format!("PATH={SYSTEM}:/opt/firecracker"));
    let tests = tests.display().to_string();
    for test in TESTS {
        let flags = ["--memory", "3G", "--with", &shown, "--env", &path, "--env", "AGENTKERNEL_REQUIRE=kvm"];
        tests_hold_in_kvm_lab(DEADLINE, &flags, &[&tests, "--nocapture"], &[test], 1);
        println!("{test}: ok");
    }
}

/// The VMM of a machine: a process with its name among its words.
fn vmm_of(name: &str) -> i32 {
    let pids = fs::read_dir("/proc").expect("listed").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_it = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words.next().is_some_and(|program| program.ends_with(b"/firecracker"))
            && words.any(|word| word == name.as_bytes())
    };
    pids.into_iter().find(is_it).expect("it runs")
}

/// Nothing of a machine is left: neither what leaks in general, nor a file of its folder.
async fn assert_nothing_left(rig: &Rig, before: &Snapshot) {
    let leaks = before.settled(Duration::from_secs(20)).await;
    assert!(leaks.is_empty(), "left on the host:{}", describe(&leaks));
    assert_eq!(fs::read_dir(rig.home.join("machines/firecracker")).map_or(0, Iterator::count), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jailed_machine_runs_commands_and_stands_still_and_leaves_nothing() {
    let Some(rig) = rig() else { return };
    let backend = rig.backend(false);
    let spec = Rig::spec();
    let before = Snapshot::take(&Marks::of_this_process().word(spec.name().as_str()));
    let sandbox = backend.boot(&spec).await.expect("booted").sandbox;
    assert_eq!(said(&*sandbox, "echo hello; id -u").await, "hello\n65532");
    let posture = sandbox.posture().await.expect("read");
    assert!(posture.holds(), "{posture:?}");
    let names: BTreeSet<_> = posture.controls.iter().map(|control| control.name.clone()).collect();
    for name in
        ["vmm.root", "vmm.namespace.net", "vmm.seccomp", "vmm.user", "vmm.group", "machine.network_devices"]
    {
        assert!(names.contains(name), "{name} in {names:?}");
    }
    // Asked of the kernel, and not of our own posture.
    let pid = vmm_of(spec.name().as_str());
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    assert!(status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"), "{status}");
    let group = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read");
    assert!(group.contains(&format!("-{}\n", spec.name())), "{group}");
    let seen = fs::read_dir(format!("/proc/{pid}/root")).expect("listed").flatten();
    let seen: BTreeSet<_> = seen.map(|entry| entry.file_name().display().to_string()).collect();
    assert!(!seen.contains("etc") && !seen.contains("proc") && !seen.contains("kernel"), "{seen:?}");
    let network = fs::read_to_string(format!("/proc/{pid}/net/dev")).expect("read");
    assert_eq!(network.lines().filter(|line| line.contains(':')).count(), 1, "{network}");
    sandbox.pause().await.expect("paused");
    sandbox.resume().await.expect("resumed");
    assert_eq!(said(&*sandbox, "echo again").await, "again");
    sandbox.stop().await.expect("stopped");
    assert_nothing_left(&rig, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn machines_of_one_snapshot_share_no_secret_and_no_name() {
    let Some(rig) = rig() else { return };
    let backend = rig.backend(true);
    let mut seen = BTreeSet::new();
    for number in 1..=3 {
        let spec = Rig::spec();
        let sandbox: Box<dyn Sandbox> = backend.boot(&spec).await.expect("booted").sandbox;
        for command in [
            "cat /etc/machine-id",
            "cat /proc/sys/kernel/random/boot_id",
            "head -c 32 /dev/urandom | sha256sum",
            "cat /proc/sys/kernel/hostname",
        ] {
            seen.insert(said(&*sandbox, command).await);
        }
        assert_eq!(seen.len(), 4 * number, "two of one snapshot have the same: {seen:?}");
        assert!(seen.contains(spec.name().as_str()));
        assert!(sandbox.posture().await.expect("read").holds());
        sandbox.stop().await.expect("stopped");
        let files = fs::read_dir(rig.home.join("snapshots")).expect("listed").flatten();
        let kinds = files.filter_map(|entry| entry.path().extension()?.to_str().map(str::to_owned));
        assert_eq!(kinds.collect::<BTreeSet<_>>(), ["json", "memory", "state"].map(str::to_owned).into());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_from_a_machine_that_has_booted_has_its_past_and_a_life_of_its_own() {
    keeps_its_past(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_on_from_a_machine_of_a_snapshot_has_its_past_and_a_life_of_its_own() {
    keeps_its_past(true).await;
}

async fn keeps_its_past(snapshots: bool) {
    let Some(rig) = rig() else { return };
    let backend = rig.backend(snapshots);
    past::have_their_past_and_a_life_of_their_own(&past::Maker { backend: &backend, spec: &Rig::builder })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_goes_on_from_the_first_that_was_warmed_up_as_itself() {
    let Some(rig) = rig() else { return };
    let (backend, mut seen) = (rig.backend(true), BTreeSet::new());
    let maker = past::Maker { backend: &backend, spec: &Rig::builder };
    let first = past::drawn(&maker, &past::warmed(&maker, past::WARM_UP, "me"), &mut seen).await;
    for _ in 0..2 {
        let spec = past::warmed(&maker, past::WARM_UP, "me");
        assert_eq!(past::drawn(&maker, &spec, &mut seen).await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_that_a_guest_frees_is_the_hosts_again() {
    let Some(rig) = rig() else { return };
    let backend = rig.backend(true);
    past::give_memory_back(&past::Maker { backend: &backend, spec: &Rig::builder }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_full_costs_the_snapshot_and_nothing_else() {
    let Some(rig) = rig::in_little_room() else { return };
    let backend = rig.backend(false);
    past::lose_no_more_than_the_snapshot(&past::Maker { backend: &backend, spec: &Rig::builder }).await;
    let left: Vec<_> = fs::read_dir(rig.home.join("kept")).expect("listed").flatten().collect();
    assert!(left.iter().all(|entry| entry.file_name() == "new"), "half a snapshot is left: {left:?}");
    assert_eq!(fs::read_dir(rig.home.join("machines/firecracker")).expect("listed").count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_of_it_takes_the_rest_along() {
    let Some(rig) = rig() else { return };
    let backend = rig.backend(true);
    for kill_the_first_of_its_namespace in [false, true] {
        let spec = Rig::spec();
        let before = Snapshot::take(&Marks::of_this_process().word(spec.name().as_str()));
        let sandbox = backend.boot(&spec).await.expect("booted").sandbox;
        let vmm = vmm_of(spec.name().as_str());
        let victim = if kill_the_first_of_its_namespace { parent(vmm) } else { vmm };
        kill_process(Pid::from_raw(victim).expect("a PID"), Signal::KILL).expect("killed");
        assert_eq!(sandbox.ended().await.cause, CauseOfDeath::BoundaryCrashed);
        sandbox.stop().await.expect("stopped");
        assert_nothing_left(&rig, &before).await;
    }
}

/// Rules of these groups, of what happens inside, each in a machine that was used before: as `tests/machine` holds QEMU's to them.
async fn keeps_inside(groups: &[&str]) {
    let Some(rig) = rig() else { return };
    let backend = rig.backend(true);
    judge(&Shared::new(&backend), groups).await;
}

/// Rules of these groups, each with machines of its own.
async fn keeps(groups: &[&str]) {
    let Some(rig) = rig() else { return };
    judge(&rig.backend(true), groups).await;
}

async fn judge(backend: &dyn Backend, groups: &[&str]) {
    let mut options = SuiteOptions::for_backend(backend);
    options.image = Rig::image();
    options.deadline = Duration::from_secs(200);
    options.only = groups.iter().map(|group| (*group).to_owned()).collect();
    let report = conformance::run(backend, &options).await;
    println!("{report}");
    report.assert_all_held();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold() {
    keeps(&["limits."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lives_hold() {
    let begin = ["probe", "boot", "ping", "stop", "drop", "a_failed"].map(|rule| format!("lifecycle.{rule}"));
    let begin = begin.iter().map(String::as_str);
    keeps(&begin.chain(["life.", "names.", "time.a_lifetime", "time.no_command"]).collect::<Vec<_>>()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn snapshots_hold() {
    keeps(&["snapshots."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_hold() {
    keeps_inside(&["exec.", "signals.", "time.a_timeout"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_hold() {
    keeps_inside(&["streams.", "terminal."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_hold() {
    keeps_inside(&["files.", "folders.", "archives."]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn isolation_holds() {
    keeps_inside(&["isolation."]).await;
}
