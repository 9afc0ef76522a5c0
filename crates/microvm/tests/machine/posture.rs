//! What the host sees of machines that run, asked of the kernel and not of our own posture.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use agentkernel_core::{Backend as _, ErrorKind};

use crate::faults::{groups_or_skip, vmm_of};
use crate::fixture::fixture;
use crate::said;

/// The values of a field of `/proc/PID/status`.
fn field(pid: i32, name: &str) -> Vec<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
    line.trim_start_matches(':').split_whitespace().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vmm_has_no_rights_no_names_of_ours_and_of_roots_each_is_another_user() {
    let Some(fixture) = fixture().await else { return };
    let (mut sandboxes, mut users) = (Vec::new(), BTreeSet::new());
    for _ in 0..2 {
        let spec = fixture.spec().build().expect("sound");
        sandboxes.push(fixture.backend.boot(&spec).await.expect("booted").sandbox);
        let pid = vmm_of(spec.name().as_str()).as_raw_pid();
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(pid, set), ["0000000000000000"], "{set}");
        }
        assert_eq!((field(pid, "NoNewPrivs"), field(pid, "Seccomp")), (vec!["1".into()], vec!["2".into()]));
        let words = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("read");
        let home = env!("CARGO_TARGET_TMPDIR");
        assert!(!words.contains(home) && !words.contains(&fixture.runtime.path().display().to_string()));
        let folder = fixture.runtime.path().join("microvm").join(spec.name().as_str());
        assert_eq!(fs::read_dir(folder).expect("it is held").count(), 0, "a socket has a name still");
        let ids: BTreeSet<_> = field(pid, "Uid").into_iter().chain(field(pid, "Gid")).collect();
        if rustix::process::geteuid().is_root() {
            assert!(ids.len() == 1 && !ids.contains("0"), "{ids:?}");
            assert!(field(pid, "Groups").is_empty());
        }
        users.extend(ids);
    }
    if rustix::process::geteuid().is_root() {
        assert_eq!(users.len(), 2, "two machines share a user: {users:?}");
    }
    for sandbox in sandboxes {
        assert_eq!(said(&*sandbox, &["id", "-u"]).await.text(), "65532");
        sandbox.stop().await.expect("stopped");
    }
}

/// The files of a process's group of v1's, or of v2's one tree: the kernel's own words, by the mounts that every host has.
fn group_file(pid: i32, controller: &str, v1: &str, v2: &str) -> PathBuf {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it runs");
    let of = |list: &str| {
        let line = groups
            .lines()
            .find(|line| line.split(':').nth(1).is_some_and(|of| of.split(',').any(|of| of == list)));
        line.and_then(|line| line.splitn(3, ':').nth(2)).map(|path| path.trim_start_matches('/'))
    };
    match of(controller) {
        Some(path) => Path::new("/sys/fs/cgroup").join(controller).join(path).join(v1),
        None => Path::new("/sys/fs/cgroup").join(of("").expect("v2")).join(v2),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_limits_a_vmm_as_a_whole_and_its_group_ends_with_it() {
    let Some(fixture) = fixture().await else { return };
    if !groups_or_skip() {
        return;
    }
    let spec = fixture.spec().build().expect("sound");
    let sandbox = fixture.backend.boot(&spec).await.expect("booted").sandbox;
    let pid = vmm_of(spec.name().as_str()).as_raw_pid();
    let group_file = |controller, v1, v2| group_file(pid, controller, v1, v2);
    let told = |file: PathBuf| fs::read_to_string(file).expect("a limit").trim().to_owned();
    let mib: u64 = 1 << 20;
    let memory =
        told(group_file("memory", "memory.limit_in_bytes", "memory.max")).parse::<u64>().expect("a number");
    let (guest, own) = (spec.limits().memory.value().expect("limited").get(), 512 * mib);
    assert!((guest + own..guest + own + 256 * mib).contains(&memory), "{memory} for a guest of {guest}");
    assert_eq!(told(group_file("pids", "pids.max", "pids.max")), "97", "one more than the processors");
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("read");
    let limit = |name: &str| {
        let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
        line.split_whitespace().nth(1).expect("the hard one").to_owned()
    };
    assert_eq!(limit("Max core file size"), "0");
    assert!(limit("Max file size").parse::<u64>().expect("a number") < memory);
    let group = group_file("memory", "", "");
    assert!(group.is_dir() && group.display().to_string().contains(spec.name().as_str()));
    sandbox.stop().await.expect("stopped");
    assert!(!group.exists(), "{}", group.display());
}

/// A control that the words ask for and QEMU does not give is missed: here the VMM's filter is not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_vmm_without_its_filter_is_not_handed_out() {
    let Some(fixture) = fixture().await else { return };
    let folder = fixture.runtime.path().join("bin");
    fs::create_dir(&folder).expect("made");
    fs::set_permissions(fixture.runtime.path(), fs::Permissions::from_mode(0o755)).expect("changed");
    // It takes the words of the filter out, and nothing else.
    let script = "#!/usr/bin/python3\nimport os, sys\nwords = sys.argv[1:]\nif '-sandbox' in words:\n    at = words.index('-sandbox')\n    del words[at:at + 2]\nos.execv('/usr/bin/qemu-system-x86_64', ['qemu-system-x86_64'] + words)\n";
    let program = folder.join("qemu-system-x86_64");
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("changed");
    let mut settings = fixture.backend_settings();
    settings.search_path.insert(0, folder);
    let backend = agentkernel_microvm::MicrovmBackend::qemu(settings);
    let error = backend.boot(&fixture.spec().build().expect("sound")).await.err().expect("refused");
    assert_eq!(error.kind, ErrorKind::ControlRefused, "{error}");
    assert!(error.to_string().contains("vmm.seccomp"), "{error}");
}
