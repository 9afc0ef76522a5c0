//! What is told where it does not work, and of helpers that do not.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use agentkernel_core::Profile;

use super::*;

fn spec() -> SandboxSpec {
    let builder = SandboxSpec::builder("one".parse().expect("a name"), Profile::Restrictive);
    builder.build().expect("a description")
}

fn without_helper(level: KvmLevel) -> HyperlightBackend {
    let backend = HyperlightBackend::new(vec!["relative".into(), "/nonexistent".into()]);
    backend.level.set(level).expect("not asked yet");
    backend
}

#[tokio::test]
async fn without_a_host_for_it_that_is_told_and_not_that_it_has_no_helper() {
    let backend = without_helper(KvmLevel::EmulatedKernelMode { mark: "kvm-pvm".into() });
    let Availability::Unavailable { needs, .. } = backend.probe().await else { panic!("it works") };
    assert!(needs.contains("kvm-pvm") && !needs.contains(HELPER), "{needs}");
}

#[tokio::test]
async fn without_its_helper_it_is_unavailable_and_says_how_to_get_it() {
    let backend = without_helper(KvmLevel::Hardware);
    let Availability::Unavailable { needs, hint } = backend.probe().await else { panic!("it is there") };
    assert!(needs.contains(HELPER) && hint.contains("cargo build"), "{needs}: {hint}");
    assert_eq!(backend.glance(&spec()), Some(Availability::Unavailable { needs, hint: hint.clone() }));
    let error = backend.boot(&spec()).await.err().expect("refused");
    assert_eq!((error.kind, error.hint), (ErrorKind::Unavailable, Some(hint)));
}

#[test]
fn every_kvm_but_the_one_that_can_run_a_machine_is_refused_with_its_reason_and_a_way_out() {
    let levels = [
        (KvmLevel::NoDevice, "no /dev/kvm"),
        (KvmLevel::NoPermission, "may not open it"),
        (KvmLevel::Broken { why: "KVM_RUN: nothing".into() }, "KVM_RUN: nothing"),
        (KvmLevel::EmulatedKernelMode { mark: "kvm-pvm".into() }, "kvm-pvm"),
        (KvmLevel::NotProbed, "not probed"),
    ];
    for (level, why) in levels {
        let Some(Unusable { needs, hint }) = Unusable::of(&level) else { panic!("{level:?} is enough") };
        assert!(needs.contains(why) && !hint.is_empty(), "{needs}: {hint}");
    }
    assert!(Unusable::of(&KvmLevel::Hardware).is_none());
}

#[tokio::test]
async fn a_helper_that_says_nothing_or_nonsense_is_an_error_and_is_gone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(HELPER);
    for (script, why) in [("exit 3", "it ended"), ("exec echo nonsense", "frame of")] {
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("made executable");
        let plan = Plan { root: Root::Host, memory_mib: TRIAL_MIB, user: None };
        let error = make(&path, plan).await.err().expect("no machine");
        assert_eq!(error.kind, ErrorKind::Boot);
        assert!(error.why.contains(why) || error.why.contains("pipe"), "{error}");
    }
}
