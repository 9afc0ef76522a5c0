//! What the host sees of machines that run, asked of the kernel and not of our own posture.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use agentkernel_core::{Backend as _, ErrorKind};

use crate::faults::vmm_of;
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
