use std::path::PathBuf;
use std::time::Duration;

use agentkernel_core::{ByteSize, Image, Profile, SandboxSpecBuilder, User, WarmUp};

use super::*;

const RIGID: KeyRules = KeyRules { backend: BackendKind::Fake, resize: false, mounts: false };
const ELASTIC: KeyRules = KeyRules { resize: true, ..RIGID };

fn builder(name: &str) -> SandboxSpecBuilder {
    SandboxSpec::builder(name.parse().expect("a name"), Profile::Permissive)
}

fn key(rules: KeyRules, builder: SandboxSpecBuilder) -> PoolKey {
    rules.poolable(&builder.build().expect("valid")).expect("poolable")
}

/// Whether two are alike by their keys, which is the same as by the one's key and the other's spec.
fn alike(rules: KeyRules, one: SandboxSpecBuilder, other: SandboxSpecBuilder) -> bool {
    let (one_key, spec) = (key(rules, one), other.build().expect("valid"));
    let is_of = one_key.is_of(&spec);
    assert_eq!(is_of, one_key == rules.poolable(&spec).expect("poolable"));
    is_of
}

fn limits(change: impl FnOnce(&mut Limits)) -> SandboxSpecBuilder {
    let mut limits = Limits::of(Profile::Permissive);
    change(&mut limits);
    builder("other").limits(limits)
}

#[test]
fn a_name_is_no_part_of_the_key() {
    assert!(alike(RIGID, builder("one"), builder("other")));
}

#[test]
fn what_is_fixed_at_boot_is_part_of_the_key() {
    let profile = SandboxSpec::builder("one".parse().expect("a name"), Profile::Moderate)
        .limits(Limits::of(Profile::Permissive));
    for (what, other) in [
        ("image", builder("one").image(Image::Rootfs(PathBuf::from("/srv/root")))),
        ("profile", profile),
        ("user", builder("one").user(User::ROOT)),
        ("pids", limits(|limits| limits.pids = Limit::At(7))),
        ("disk", limits(|limits| limits.disk = ByteSize::mib(7))),
        ("open files", limits(|limits| limits.open_files = 77)),
    ] {
        assert!(!alike(RIGID, builder("one"), other.clone()), "{what}");
        assert!(!alike(ELASTIC, builder("one"), other), "{what}");
    }
    let oci = KeyRules { backend: BackendKind::Oci, ..RIGID };
    assert_ne!(key(RIGID, builder("one")), key(oci, builder("one")), "backend");
}

#[test]
fn memory_and_cpus_are_part_of_the_key_only_where_they_cannot_be_changed() {
    for other in [
        limits(|limits| limits.memory = Limit::At(ByteSize::mib(7))),
        limits(|limits| limits.cpus = Limit::At(CpuCount::whole(7))),
    ] {
        assert!(!alike(RIGID, builder("one"), other.clone()));
        assert!(alike(ELASTIC, builder("one"), other));
    }
}

#[test]
fn mounts_are_not_pooled_unless_asked_for_and_then_part_of_the_key() {
    let mounted = |text: &str| builder("one").mount(text.parse().expect("a mount"));
    let spec = mounted("/srv/data:/data").build().expect("valid");
    assert_eq!(RIGID.poolable(&spec), Err(NotPoolable::Mounts));
    let rules = KeyRules { mounts: true, ..RIGID };
    assert!(!alike(rules, mounted("/srv/data:/data"), mounted("/srv/data:/data:ro")));
    assert!(!alike(rules, mounted("/srv/data:/data"), builder("one")));
}

#[test]
fn a_lifetime_unlimited_memory_and_a_host_name_are_not_pooled() {
    let lifetime = builder("one").lifetime(Some(Duration::from_secs(7))).build().expect("valid");
    assert_eq!(ELASTIC.poolable(&lifetime), Err(NotPoolable::Lifetime));
    let unlimited = limits(|limits| limits.memory = Limit::Unlimited).build().expect("valid");
    assert_eq!(ELASTIC.poolable(&unlimited), Err(NotPoolable::UnlimitedMemory));
    let named = builder("one").hostname("web".parse().expect("a name")).build().expect("valid");
    assert_eq!(ELASTIC.poolable(&named), Err(NotPoolable::Hostname));
}

#[test]
fn a_spec_of_the_key_is_the_one_that_was_asked_for() {
    let asked = limits(|limits| limits.memory = Limit::At(ByteSize::mib(7))).build().expect("valid");
    for rules in [RIGID, ELASTIC] {
        let key = rules.poolable(&asked).expect("poolable");
        assert_eq!(key.spec(asked.name().clone(), Resize::from(asked.limits())), asked);
    }
    assert_eq!(
        key(RIGID, limits(|limits| limits.cpus = Limit::At(CpuCount::whole(7)))).first_size().cpus,
        Limit::At(CpuCount::whole(7))
    );
    assert_eq!(key(ELASTIC, builder("one")).first_size(), Resize::from(&Limits::of(Profile::Permissive)));
}

#[test]
fn an_emulated_machine_is_no_other_ones_and_says_what_it_is() {
    let emulated = key(RIGID, builder("one").emulate(true));
    assert!(!alike(RIGID, builder("one").emulate(true), builder("one")));
    assert!(emulated.to_string().contains("emulated: not a security boundary"), "{emulated}");
}

#[test]
fn a_sandbox_that_has_run_something_is_no_other_ones_and_says_what_it_was() {
    let warmed = |word: &str, owner: &str| {
        let argv = vec![b"sh".to_vec(), word.as_bytes().to_vec()];
        builder("one").warm_up(Some(WarmUp { argv, owner: owner.to_owned() }))
    };
    assert!(alike(RIGID, warmed("a", "me"), warmed("a", "me")));
    for other in [warmed("b", "me"), warmed("a", "you"), builder("one")] {
        assert!(!alike(RIGID, warmed("a", "me"), other));
    }
    let line = key(RIGID, warmed("a\nb", "me")).to_string();
    assert!(line.contains(", warmed up for me by sh a\\nb, "), "{line}");
}

#[test]
fn a_key_reads_as_one_line() {
    let spec = SandboxSpec::builder("one".parse().expect("a name"), Profile::Restrictive).build();
    let spec = spec.expect("valid");
    let line = |rules: KeyRules| rules.poolable(&spec).expect("poolable").to_string();
    let rest = "pids 256, disk 1G, open files 1024";
    let first = "fake Host restrictive, user 65532:65532, network None";
    assert_eq!(line(ELASTIC), format!("{first}, {rest}"));
    assert_eq!(line(RIGID), format!("{first}, memory 512M, cpus 1, {rest}"));
}
