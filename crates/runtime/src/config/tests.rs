use std::fs;
use std::path::Path;

use agentkernel_core::ErrorKind;
use proptest::prelude::*;
use tempfile::TempDir;

use super::project::{is_weaker, rank};
use super::*;

/// Three files in a folder of their own; empty ones are not written.
fn files(system: &str, user: &str, project: &str) -> (TempDir, Result<Files>) {
    let folder = tempfile::tempdir().expect("temp dir");
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        if !text.is_empty() {
            fs::write(&path, text).expect("write");
        }
        Some(path)
    };
    let paths = ConfigPaths {
        system: write("system.toml", system),
        user: write("user.toml", user),
        project: write("agentkernel.toml", project),
    };
    let read = Files::read(&paths);
    (folder, read)
}

fn resolved(system: &str, user: &str, project: &str) -> Settings {
    let (_folder, files) = files(system, user, project);
    files.expect("valid").resolve(&Layer::default(), &Layer::default())
}

fn refused(user: &str, project: &str) -> Error {
    let (folder, files) = files("", user, project);
    let mut error = files.expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Usage);
    let without_folder = |text: &str| text.replace(&format!("{}/", folder.path().display()), "");
    error.subject = without_folder(&error.subject);
    error.hint = error.hint.map(|hint| without_folder(&hint));
    error
}

#[test]
fn without_files_the_defaults_hold() {
    let settings = resolved("", "", "");
    assert_eq!(settings.profile, Profile::Restrictive);
    assert_eq!(settings.limits, Limits::of(Profile::Restrictive));
    assert_eq!(settings.output_limit, ByteSize::mib(64));
    assert_eq!((settings.backend, settings.timeout), (BackendRequest::Auto, None));
}

#[test]
fn each_layer_overrides_those_below_it() {
    let system = "[run]\nprofile = \"moderate\"\nmemory = \"1G\"\npids = 10\ncpus = 0.5";
    let user = "[run]\nmemory = \"3G\"\ntimeout = \"1m\"\nbackend = \"oci\"";
    let settings = resolved(system, user, "");
    assert_eq!(settings.profile, Profile::Moderate);
    assert_eq!(settings.limits.memory, Limit::At(ByteSize::mib(3072)));
    assert_eq!(settings.limits.pids, Limit::At(10));
    assert_eq!(settings.limits.cpus.to_string(), "0.5");
    assert_eq!(settings.limits.disk, Limits::of(Profile::Moderate).disk);
    assert_eq!(settings.timeout, Some(Duration::from_secs(60)));

    let (_folder, files) = files(system, user, "");
    let environment = environment_layer(Some("auto")).expect("valid");
    let flags = Layer { memory: Some(Limit::Unlimited), ..Layer::default() };
    let settings = files.expect("valid").resolve(&environment, &flags);
    assert_eq!((settings.backend, settings.limits.memory), (BackendRequest::Auto, Limit::Unlimited));
}

#[test]
fn an_unknown_key_is_told_the_nearest_valid_one() {
    let error = refused("[run]\nmemroy = \"1G\"", "");
    assert_eq!(error.subject, "user.toml: run.memroy");
    assert_eq!(error.hint.as_deref(), Some("did you mean 'run.memory'?"));
    let error = refused("[rum]\nmemory = \"1G\"", "");
    assert_eq!(
        (error.subject.as_str(), error.hint.as_deref()),
        ("user.toml: rum", Some("did you mean 'run'?"))
    );
    let error = refused("memory = \"1G\"", "");
    assert_eq!(error.hint.as_deref(), Some("did you mean 'memory' in the table [run]?"));
    let error = refused("[run]\nenv = \"A=B\"", "");
    assert_eq!(error.hint.as_deref(), Some("use -e"));
}

#[test]
fn a_wrong_value_is_told_with_file_and_key() {
    for (text, subject, why) in [
        ("[run]\nmemory = \"much\"", "user.toml: run.memory", "not a size"),
        ("[run]\npids = 0", "user.toml: run.pids", "not a number of processes"),
        ("[run]\npids = true", "user.toml: run.pids", "it is a boolean"),
        ("[run]\nprofile = \"permisive\"", "user.toml: run.profile", "did you mean 'permissive'"),
        ("[run]\nimage = \"hots\"", "user.toml: run.image", "did you mean 'host'"),
        ("[run]\nrootfs = \"root\"", "user.toml: run.rootfs", "not an absolute path"),
        ("[run]\nimage = \"host\"\nrootfs = \"/r\"", "user.toml: run.rootfs", "only one"),
        ("run = 1", "user.toml: run", "[run]"),
        ("[run]\nmemory = ", "user.toml:2", ""),
    ] {
        let error = refused(text, "");
        assert_eq!(error.subject, subject, "{text}");
        assert!(error.why.contains(why), "{text}: {}", error.why);
    }
}

#[test]
fn a_project_file_makes_stricter() {
    let project = "[run]\nmemory = \"64M\"\ntimeout = \"5s\"\ncpus = 0.1\noutput_limit = \"1M\"\npids = 3";
    let settings = resolved("", "", project);
    assert_eq!(settings.limits.memory, Limit::At(ByteSize::mib(64)));
    assert_eq!(settings.limits.pids, Limit::At(3));
    assert_eq!(settings.output_limit, ByteSize::mib(1));
    assert_eq!(settings.timeout, Some(Duration::from_secs(5)));
    let settings = resolved("", "[run]\nprofile = \"permissive\"", "[run]\nprofile = \"moderate\"");
    assert_eq!(settings.limits, Limits::of(Profile::Moderate));
}

#[test]
fn a_project_file_that_weakens_is_refused_with_both_values_and_the_way_out() {
    let error = refused("", "[run]\nmemory = \"1G\"");
    assert_eq!(error.subject, "agentkernel.toml: run.memory");
    assert!(error.why.starts_with("1G is weaker than 512M"), "{}", error.why);
    assert_eq!(error.hint.as_deref(), Some("say --memory 1G on the command line, or put it into user.toml"));
    for project in [
        "[run]\nprofile = \"moderate\"",
        "[run]\nmemory = \"unlimited\"",
        "[run]\ncpus = 2",
        "[run]\npids = 257",
        "[run]\ndisk = \"2G\"",
        "[run]\noutput_limit = \"65M\"",
        "[run]\ntimeout = \"2m\"",
        "[run]\nbackend = \"oci\"",
        "[run]\nbackend = \"auto\"",
        "[run]\nimage = \"host\"",
        "[run]\nrootfs = \"/evil\"",
        "[run]\nuser = \"root\"",
        "[run]\nmounts = [\"/:/host\"]",
        "[run]\nenv = { LD_PRELOAD = \"x\" }",
    ] {
        let error = refused("[run]\ntimeout = \"1m\"", project);
        assert!(error.subject.starts_with("agentkernel.toml: run."), "{project}: {error}");
        assert!(error.hint.is_some(), "{project}");
    }
}

#[test]
fn a_project_file_that_is_no_file_neither_blocks_nor_fills_the_memory() {
    let folder = tempfile::tempdir().expect("temp dir");
    let read =
        |path: &Path| Files::read(&ConfigPaths { project: Some(path.to_owned()), ..ConfigPaths::default() });
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).expect("pipe");
    assert!(read(&pipe).is_err());
    assert!(read(Path::new("/dev/zero")).is_err());
    let huge = folder.path().join("huge");
    fs::File::create(&huge).and_then(|file| file.set_len(1 << 40)).expect("sparse file");
    assert!(read(&huge).expect_err("refused").why.contains("longer than"));
    let none =
        Files::read(&ConfigPaths { project: Some(folder.path().join("none")), ..ConfigPaths::default() });
    assert_eq!(none.expect("absent"), Files::default());
}

#[test]
fn the_users_own_folder_is_no_project() {
    let folder = tempfile::tempdir().expect("temp dir");
    let path = folder.path().join("agentkernel.toml");
    fs::write(&path, "[run]\nprofile = \"permissive\"").expect("write");
    let paths = ConfigPaths { system: None, user: Some(path.clone()), project: Some(path) };
    let settings = Files::read(&paths).expect("valid").resolve(&Layer::default(), &Layer::default());
    assert_eq!(settings.profile, Profile::Permissive);
}

fn any_limit<T: std::fmt::Debug + Clone + 'static>(
    values: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Option<Limit<T>>> {
    prop_oneof![Just(None), Just(Some(Limit::Unlimited)), values.prop_map(|value| Some(Limit::At(value)))]
}

fn any_layer() -> impl Strategy<Value = Layer> {
    let size = || (1_u64..1 << 34).prop_map(|bytes| ByteSize::bytes(bytes).expect("not zero"));
    let cpus = (10_u32..5000).prop_map(|milli| CpuCount::milli(milli).expect("enough"));
    let profile = proptest::option::of(proptest::sample::select(Profile::ALL));
    let timeout = proptest::option::of((1_u64..100).prop_map(Duration::from_secs));
    let sizes = (any_limit(size()), proptest::option::of(size()), proptest::option::of(size()));
    (profile, any_limit(cpus), sizes, any_limit(1_u32..5000), timeout).prop_map(
        |(profile, cpus, (memory, disk, output_limit), pids, timeout)| Layer {
            profile,
            cpus,
            memory,
            pids,
            disk,
            output_limit,
            timeout,
            ..Layer::default()
        },
    )
}

/// Whether a field of `with` allows more than that of `without`.
fn is_weakened(with: &Settings, without: &Settings) -> bool {
    rank(with.profile) > rank(without.profile)
        || is_weaker(with.limits.cpus, without.limits.cpus)
        || is_weaker(with.limits.memory, without.limits.memory)
        || is_weaker(with.limits.pids, without.limits.pids)
        || with.limits.disk > without.limits.disk
        || with.limits.open_files > without.limits.open_files
        || with.output_limit > without.output_limit
        || with.timeout.unwrap_or(Duration::MAX) > without.timeout.unwrap_or(Duration::MAX)
        || (with.backend, &with.image) != (without.backend, &without.image)
}

proptest! {
    #[test]
    fn no_project_file_ever_weakens_whatever_else_is_said(
        trusted in any_layer(), project in any_layer(), environment in any_layer(), flags in any_layer(),
    ) {
        let without = Files { trusted: trusted.clone(), project: None };
        let without = without.resolve(&environment, &flags);
        // Even one that the check would have refused.
        let with = Files { trusted: trusted.clone(), project: Some(project.clone()) };
        let with = with.resolve(&environment, &flags);
        prop_assert!(!is_weakened(&with, &without), "{with:?}\n{without:?}");
    }

    #[test]
    fn what_the_check_lets_pass_is_not_weaker_key_by_key(trusted in any_layer(), project in any_layer()) {
        let lower = Settings::of(&trusted);
        let with = Settings::of(&trusted.clone().under(&project));
        let accepted = project::check(Path::new("p"), &project, &lower, None).is_ok();
        let profile_only_defaults = Settings { limits: Limits { open_files: lower.limits.open_files, ..with.limits }, ..with };
        if accepted {
            prop_assert!(!is_weakened(&profile_only_defaults, &lower));
        }
    }

    #[test]
    fn no_file_makes_the_parser_panic(text in ".{0,200}") {
        drop(file::parse(Path::new("p"), &text));
        drop(file::parse(Path::new("p"), &format!("[run]\n{text}")));
    }
}
