//! The words are those of the program, and none of them is a user's to choose as an option.

use agentkernel_core::{
    BindMount, CpuCount, ErrorKind, Image, Limit, Profile, SandboxName, SandboxSpecBuilder, User,
};
use proptest::prelude::*;

use super::*;
use crate::apple::argv;

fn facts() -> Facts {
    Facts {
        version: Version::new(1, 2, 2),
        agent_folder: "/run/ak/agent-1".into(),
        labels: vec![
            ("agentkernel.sandbox".into(), "test".into()),
            ("agentkernel.owner".into(), "holder-0".into()),
        ],
    }
}

fn builder(profile: Profile) -> SandboxSpecBuilder {
    let image = Image::Named("docker.io/library/busybox:1.37".parse().expect("a name"));
    SandboxSpec::builder("test".parse().expect("a name"), profile).image(image)
}

fn planned(builder: SandboxSpecBuilder, facts: &Facts) -> Plan {
    container(&builder.build().expect("valid"), facts).expect("planned")
}

fn bytes(bytes: u64) -> ByteSize {
    ByteSize::bytes(bytes).expect("more than nothing")
}

/// One word a line, and an option with its value.
fn shown(argv: &Argv) -> String {
    argv.to_string().replace(" --", "\n--").replace(" docker.io", "\ndocker.io")
}

#[test]
fn the_words_that_make_a_container() {
    let mount = |text: &str| text.parse::<BindMount>().expect("valid");
    let spec =
        builder(Profile::Restrictive).mount(mount("/srv//data/:/mnt/data:ro")).mount(mount("/srv/out:/out"));
    insta::assert_snapshot!(shown(&planned(spec, &facts()).create), @r"
    container create
    --name test.agentkernel
    --rm
    --label agentkernel.sandbox=test
    --label agentkernel.owner=holder-0
    --network none
    --cap-drop ALL
    --uid 65532
    --gid 65532
    --workdir /
    --cpus 1
    --memory 512M
    --ulimit nofile=1024:4096
    --ulimit core=0:0
    --ulimit memlock=65536:65536
    --ulimit fsize=1073741824:1073741824
    --ulimit sigpending=4096:4096
    --ulimit nproc=256:256
    --shm-size 64M
    --mount type=tmpfs,size=1024M,mode=1777,destination=/tmp
    --mount type=tmpfs,size=1024M,mode=1777,destination=/workspace
    --mount type=bind,readonly,source=/run/ak/agent-1,destination=/.agentkernel
    --mount type=bind,readonly,source=/srv/data,destination=/mnt/data
    --mount type=bind,source=/srv/out,destination=/out
    --entrypoint /.agentkernel/agent
    --read-only
    --no-dns
    docker.io/library/busybox:1.37 await agentkernel 65533 /.agentkernel/filters
    ");
}

#[test]
fn the_words_of_everything_else() {
    let name = planned(builder(Profile::Restrictive), &facts()).name;
    let caller = caller(&builder(Profile::Restrictive).build().expect("valid"));
    let image = "docker.io/library/busybox:1.37".parse().expect("a name");
    let all = [
        version(),
        status(),
        inspect_image(&image),
        start(&name),
        call(&name, caller),
        report(&name, caller),
        inspect(&name),
        stats(&name),
        stop(&name),
        delete(&name),
        list(),
    ];
    let all: Vec<String> = all.iter().map(Argv::to_string).collect();
    insta::assert_snapshot!(all.join("\n"), @r"
    container --version
    container system status --format json
    container image inspect docker.io/library/busybox:1.37
    container start test.agentkernel
    container exec --interactive --uid 65533 --gid 65533 test.agentkernel /.agentkernel/agent pass agentkernel
    container exec --uid 65533 --gid 65533 test.agentkernel /.agentkernel/agent report
    container inspect test.agentkernel
    container stats --format json --no-stream test.agentkernel
    container stop --signal SIGKILL --time 1 test.agentkernel
    container delete --force test.agentkernel
    container list --all --format json
    ");
}

#[test]
fn an_older_version_gets_no_word_that_it_does_not_know() {
    let old = Facts { version: Version::new(0, 12, 0), ..facts() };
    let words = planned(builder(Profile::Restrictive), &old).create;
    assert!(!words.words().iter().any(|word| word == "--shm-size"));
    let small = Limits { disk: ByteSize::mib(8), ..Limits::of(Profile::Restrictive) };
    let small = |facts: &Facts| {
        container(&builder(Profile::Restrictive).limits(small).build().expect("valid"), facts)
    };
    let new = small(&facts()).expect("planned");
    assert!(new.create.to_string().contains("--shm-size 8M") && new.told["shmSize"] == 8 << 20);
    let refused = small(&old).expect_err("refused");
    assert_eq!(
        refused.to_string(),
        "start the sandbox: the size of /dev/shm: Apple's container has --shm-size since version 1.0.0, and this is \
         0.12.0"
    );
    assert_eq!(refused.hint.as_deref(), Some("upgrade it to 1.0.0 or newer"));
    for (version, words) in [((0, 11, 9), "--cap-drop"), ((0, 5, 0), "--cap-drop")] {
        let facts = Facts { version: Version::new(version.0, version.1, version.2), ..facts() };
        let refused =
            container(&builder(Profile::Restrictive).build().expect("valid"), &facts).expect_err("refused");
        assert!(refused.why.contains(words) && refused.why.contains("since version 0.12.0"), "{refused}");
    }
}

#[test]
fn what_cannot_be_enforced_is_refused_by_its_name_with_a_way_out() {
    let limits = |change: fn(&mut Limits)| {
        let mut limits = Limits::of(Profile::Restrictive);
        change(&mut limits);
        builder(Profile::Restrictive).limits(limits)
    };
    let mount = |source: &str| {
        let mount = BindMount::new(Path::new(source), Path::new("/mnt/x"), Access::ReadOnly);
        builder(Profile::Restrictive).mount(mount.expect("valid"))
    };
    let long: SandboxName = "x".repeat(52).parse().expect("a name");
    for (spec, subject, hint) in [
        (builder(Profile::Restrictive).image(Image::Host), "image host", "--image"),
        (builder(Profile::Restrictive).image(Image::Rootfs("/srv".into())), "root folder /srv", "--image"),
        (
            limits(|limits| limits.cpus = CpuCount::milli(500).map_or(Limit::Unlimited, Limit::At)),
            "cpus 0.5",
            "--cpus 1",
        ),
        (
            limits(|limits| limits.cpus = CpuCount::milli(1500).map_or(Limit::Unlimited, Limit::At)),
            "cpus 1.5",
            "--cpus 1",
        ),
        (limits(|limits| limits.cpus = Limit::Unlimited), "cpus unlimited", "--cpus"),
        (limits(|limits| limits.memory = Limit::Unlimited), "memory unlimited", "--memory 4G"),
        (limits(|limits| limits.memory = Limit::At(ByteSize::mib(199))), "memory 199M", "--memory 200M"),
        (
            limits(|limits| limits.memory = Limit::At(bytes((300 << 20) + 1))),
            "memory 314572801",
            "--memory 301M",
        ),
        (limits(|limits| limits.disk = bytes(1000)), "disk 1000", "--disk 1M"),
        (builder(Profile::Permissive).user(User::ROOT), "user 0:0 with pids 4096", "--pids unlimited"),
        (mount("/srv/a,b"), "mount /srv/a,b", "rename"),
        (mount("/srv/a=b"), "mount /srv/a=b", "rename"),
        (mount("/srv/../etc"), "mount /srv/../etc", "rename"),
        (mount("/srv/a\nb"), "mount /srv/a\\nb", "rename"),
        (builder(Profile::Restrictive).hostname(long), "name test", "shorter"),
    ] {
        let error = container(&spec.build().expect("valid"), &facts()).expect_err(subject);
        assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::ControlRefused, subject));
        assert!(error.hint.as_deref().is_some_and(|given| given.contains(hint)), "{error:?}");
    }
    let root = builder(Profile::Permissive).user(User::ROOT);
    let uncounted = Limits { pids: Limit::Unlimited, ..Limits::of(Profile::Permissive) };
    assert!(!planned(root.limits(uncounted), &facts()).create.to_string().contains("nproc"));
}

#[test]
fn a_container_is_called_by_both_names_and_only_such_ones_are_ours() {
    let named = |builder: SandboxSpecBuilder| planned(builder, &facts()).name.to_string();
    assert_eq!(named(builder(Profile::Restrictive)), "test.agentkernel");
    let host = builder(Profile::Restrictive).hostname("web".parse().expect("a name"));
    assert_eq!(named(host), "web.test.agentkernel");
    for ours in ["test.agentkernel", "web.test.agentkernel"] {
        assert_eq!(argv::ContainerName::ours(ours).expect("ours").as_str(), ours);
    }
    for other in [
        "test",
        "agentkernel",
        ".agentkernel",
        "-x.agentkernel",
        "a b.agentkernel",
        "a..agentkernel",
        "X.agentkernel",
    ] {
        assert_eq!(argv::ContainerName::ours(other), None, "{other}");
    }
}

/// Every option that is ever used, and whether it has a value.
const OPTIONS: [(&str, bool); 14] = [
    ("--name", true),
    ("--rm", false),
    ("--label", true),
    ("--network", true),
    ("--cap-drop", true),
    ("--uid", true),
    ("--gid", true),
    ("--workdir", true),
    ("--cpus", true),
    ("--memory", true),
    ("--ulimit", true),
    ("--shm-size", true),
    ("--mount", true),
    ("--entrypoint", true),
];

/// Options with their values, and the words behind them.
type Parsed = (Vec<(String, String)>, Vec<String>);

/// Reads the words as the program does: options until the image, and then what the container gets.
fn parsed(words: &[String]) -> Result<Parsed, String> {
    let (mut options, mut words) = (Vec::new(), words.iter().skip(1));
    while let Some(word) = words.next() {
        if !word.starts_with('-') {
            let rest = std::iter::once(word).chain(words).cloned().collect();
            return Ok((options, rest));
        }
        let known = OPTIONS.iter().chain(&[("--read-only", false), ("--no-dns", false)]);
        let (_, has_value) =
            known.clone().find(|(name, _)| name == word).ok_or(format!("unknown option {word}"))?;
        let value = if *has_value { words.next().cloned().ok_or("no value")? } else { String::new() };
        // What begins with a dash, the program takes for the next option.
        if value.starts_with('-') {
            return Err(format!("{word} has no value, but {value}"));
        }
        options.push((word.clone(), value));
    }
    Err("no image".into())
}

proptest! {
    #[test]
    fn no_name_path_or_number_of_a_users_becomes_an_option(
        name in "[a-z0-9][a-z0-9-]{0,20}",
        host in proptest::option::of("[a-z0-9][a-z0-9-]{0,20}"),
        image in "([a-z0-9]{1,8}/)?[a-z0-9]{1,8}:[A-Za-z0-9_][A-Za-z0-9_.-]{0,8}",
        source in "/[^/\\x00]{1,12}(/[^/\\x00]{1,12})?",
        target in "/mnt/[^/\\x00\\n]{1,12}",
        is_read_only: bool,
        uid in 1_u32..65535,
        memory in 1_u64..5000, disk in 1_u64..5000, cpus in 1_u16..64, pids in 1_u32..5000,
    ) {
        let access = if is_read_only { Access::ReadOnly } else { Access::ReadWrite };
        let Ok(mount) = BindMount::new(Path::new(&source), Path::new(&target), access) else { return Ok(()) };
        let limits = Limits {
            memory: Limit::At(ByteSize::mib(memory)), disk: ByteSize::mib(disk), cpus: Limit::At(CpuCount::whole(cpus)),
            pids: Limit::At(pids), ..Limits::of(Profile::Restrictive)
        };
        let mut builder = SandboxSpec::builder(name.parse().expect("a name"), Profile::Restrictive)
            .image(Image::Named(image.parse().expect("an image")))
            .mount(mount.clone()).limits(limits).user(User { uid, gid: uid });
        if let Some(host) = host {
            builder = builder.hostname(host.parse().expect("a name"));
        }
        let Ok(plan) = container(&builder.build().expect("valid"), &facts()) else { return Ok(()) };
        let (options, rest) = parsed(plan.create.words()).expect("whole");
        let caller = if uid == 65533 { "65531" } else { "65533" };
        prop_assert_eq!(&rest[..], &[&image, "await", "agentkernel", caller, "/.agentkernel/filters"].map(str::to_owned)[..]);
        let value = |name: &str| options.iter().filter(|(option, _)| option == name).map(|(_, value)| value.clone()).collect::<Vec<_>>();
        let once = |name: &str| value(name).len() == 1;
        for name in ["--read-only", "--no-dns", "--rm", "--network", "--cap-drop", "--entrypoint", "--uid", "--gid"] {
            prop_assert!(once(name), "{}", name);
        }
        prop_assert_eq!(value("--network"), ["none"]);
        prop_assert_eq!(value("--cap-drop"), ["ALL"]);
        prop_assert_eq!(value("--uid"), [uid.to_string()]);
        // Between its commas, a mount has these parts and no others.
        let mounts = value("--mount");
        prop_assert_eq!(mounts.len(), 4);
        let parts: Vec<&str> = mounts[3].split(',').map(|part| part.split('=').next().unwrap_or_default()).collect();
        let expected: &[&str] =
            if is_read_only { &["type", "readonly", "source", "destination"] } else { &["type", "source", "destination"] };
        prop_assert_eq!(parts, expected);
    }
}
