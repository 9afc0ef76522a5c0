use crate::ErrorKind;

use super::*;

fn name() -> SandboxName {
    "test".parse().expect("valid")
}

#[test]
fn root_needs_the_permissive_profile() {
    let root = |profile| SandboxSpec::builder(name(), profile).user(User::ROOT).build();
    let refused = root(Profile::Restrictive).expect_err("refused");
    assert_eq!(refused.kind, ErrorKind::Usage);
    assert!(refused.hint.is_some_and(|hint| hint.contains("permissive")));
    assert!(root(Profile::Moderate).is_err());
    assert!(root(Profile::Permissive).is_ok());
}

#[test]
fn fewer_open_files_than_the_sandbox_itself_needs_are_refused_with_the_least_number() {
    let with = |open_files| {
        let limits = Limits { open_files, ..Limits::of(Profile::Restrictive) };
        SandboxSpec::builder(name(), Profile::Restrictive).limits(limits).build()
    };
    let refused = with(Limits::OPEN_FILES_MIN - 1).expect_err("refused");
    assert_eq!(refused.kind, ErrorKind::Usage);
    assert_eq!(refused.to_string(), "describe the sandbox: open files 66: the sandbox itself needs 67");
    assert!(with(Limits::OPEN_FILES_MIN).is_ok());
}

#[test]
fn two_mounts_cannot_share_a_place() {
    let mount = |text: &str| text.parse::<BindMount>().expect("valid");
    let spec = SandboxSpec::builder(name(), Profile::Restrictive)
        .mount(mount("/srv/a:/data"))
        .mount(mount("/srv/b:/data/"))
        .build();
    assert!(spec.is_err());
}

#[test]
fn a_sandbox_calls_itself_by_its_name_unless_it_was_given_another() {
    let builder = SandboxSpec::builder(name(), Profile::Restrictive);
    let plain = builder.clone().build().expect("valid");
    assert!(plain.hostname() == &name() && !plain.has_own_hostname());
    let named = builder.hostname("web".parse().expect("valid")).build().expect("valid");
    let named = named.with_name(SandboxName::from_random(7));
    assert!(named.hostname().as_str() == "web" && named.has_own_hostname());
}

#[test]
fn another_name_or_size_leaves_the_rest_as_it_is() {
    let spec = SandboxSpec::builder(name(), Profile::Moderate).build().expect("valid");
    let small = Resize::from(&Limits::of(Profile::Restrictive));
    let other = spec.clone().with_name(SandboxName::from_random(7)).with_size(small);
    assert_eq!(Resize::from(other.limits()), small);
    assert_ne!(other.name(), spec.name());
    assert_eq!(other.with_name(name()).with_size(Resize::from(spec.limits())), spec);
}
