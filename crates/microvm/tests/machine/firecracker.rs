//! Firecracker's machines on a stand-in for its program: what is said to it, and what is told where it fails. That machines
//! run in it is shown in the KVM lab (`lab.rs`).

use std::fs;

use agentkernel_core::{Availability, Backend as _, Error, ErrorKind};
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings};

use crate::faults::{Host, PATIENCE, boot_fails, snapshots};

fn settings(host: &Host, snapshots: bool) -> MicrovmSettings {
    MicrovmSettings { snapshots, hardware: || Ok(()), ..host.settings() }
}

async fn host(mode: &str) -> Option<Host> {
    Host::of("firecracker", include_str!("fake_firecracker.py"), mode).await
}

/// The error of a boot after which nothing is left.
async fn fails(host: &Host, mode: &str, snapshots: bool) -> Error {
    fs::write(host.path("bin/mode"), mode).expect("written");
    let backend = MicrovmBackend::firecracker(settings(host, snapshots)).hasty(PATIENCE);
    boot_fails(&backend, &host.real_spec(), mode, &host.path("home/machines/firecracker")).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_in_any_phase_of_it_is_told_and_leaves_nothing() {
    let Some(host) = host("").await else { return };
    for (mode, kind, says) in [
        (
            "hang-before-listening",
            ErrorKind::Boot,
            "the VMM has not called and answered within 1500 ms: fake: begun",
        ),
        ("die-before-listening", ErrorKind::Boot, "in phase configured: the VMM ended with exit status: 7"),
        (
            "refuses-the-kernel",
            ErrorKind::Boot,
            "PUT /boot-source: The kernel file cannot be loaded: Invalid ELF",
        ),
        ("die-while-booting", ErrorKind::Boot, "fake: something is wrong"),
        ("takes-no-call", ErrorKind::Boot, "it was not ready within 1500 ms"),
        ("renews-nothing", ErrorKind::ProtocolBroken, "what no machine of ours says: \"renewed\""),
        ("renewed-and-silent", ErrorKind::Boot, "was not ready within 1500 ms"),
    ] {
        let error = fails(&host, mode, false).await;
        assert_eq!(error.kind, kind, "{mode}: {error}");
        assert!(error.to_string().contains(says), "{mode}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_of_its_is_two_files_and_one_that_fails_is_none() {
    let Some(host) = host("").await else { return };
    let error = fails(&host, "cannot-write", true).await;
    assert!(error.to_string().contains("was not ready within"), "{error}");
    assert_eq!(snapshots(&host), Vec::<String>::new());
    fails(&host, "renewed-and-silent", true).await;
    assert_eq!(snapshots(&host).len(), 3, "state, memory, and what is written down of them");
    let error = fails(&host, "stillborn-snapshot", true).await;
    assert!(error.to_string().contains("was not ready within"), "{error}");
    assert_eq!(snapshots(&host), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vmm_that_leaves_something_else_than_its_snapshot_reaches_nothing_by_that() {
    let Some(host) = host("").await else { return };
    let victim = host.path("bin/victim");
    fs::write(&victim, "the host's").expect("written");
    fs::set_permissions(&victim, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("changed");
    for mode in ["leaves-a-link", "leaves-a-name"] {
        fails(&host, mode, true).await;
        assert_eq!(snapshots(&host), Vec::<String>::new(), "{mode}");
        let facts = fs::metadata(&victim).expect("there");
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&facts.permissions()) & 0o777, 0o600, "{mode}");
        assert_eq!(fs::read_to_string(&victim).expect("read"), "the host's", "{mode}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_needs_is_named_with_the_way_to_it() {
    let Some(host) = host("").await else { return };
    let told = async |settings: MicrovmSettings| MicrovmBackend::firecracker(settings).probe().await;
    let told_unavailable = async |settings| match told(settings).await {
        Availability::Unavailable { needs, hint } => (needs, hint),
        other => panic!("{other:?}"),
    };
    let nowhere = MicrovmSettings { search_path: vec!["/nowhere".into()], ..settings(&host, false) };
    let (needs, hint) = told_unavailable(nowhere).await;
    assert!(needs.contains("firecracker") && hint.contains("official release"), "{needs}: {hint}");
    let emulated = MicrovmSettings { hardware: || Err("a moon".into()), ..settings(&host, false) };
    let (needs, hint) = told_unavailable(emulated).await;
    assert!(needs.contains("a moon") && hint.contains("--backend qemu --emulate"), "{needs}: {hint}");
    let warning = || MicrovmBackend::firecracker(settings(&host, false)).warning(&host.real_spec());
    let why = if rustix::process::geteuid().is_root() { "jailer is not installed" } else { "only root" };
    assert!(warning().is_some_and(|told| told.contains("not in Firecracker's jail") && told.contains(why)));
    if rustix::process::geteuid().is_root() {
        match told(settings(&host, false)).await {
            Availability::Limited { limitation, .. } => {
                assert!(limitation.contains("jailer"), "{limitation}");
            }
            other => panic!("{other:?}"),
        }
        let jailer = host.path("bin/jailer");
        fs::write(&jailer, "#!/bin/sh\necho Jailer v1.12.0\n").expect("written");
        fs::set_permissions(&jailer, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("changed");
        assert_eq!(warning(), None);
        let (needs, _) = told_unavailable(settings(&host, false)).await;
        assert!(needs.contains("of one version, and they are 1.12.0 and 1.13.0"), "{needs}");
    }
    let about = host.path("home/kernel/about.json");
    let text = fs::read_to_string(&about).expect("read").replace("[]", "[\"virtio_blk.ko\"]");
    fs::write(&about, text).expect("written");
    let (needs, hint) = told_unavailable(settings(&host, false)).await;
    assert!(needs.contains("vsock") && hint == "agentkernel setup microvm", "{needs}: {hint}");
}
