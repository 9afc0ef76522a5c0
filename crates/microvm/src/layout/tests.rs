use agentkernel_core::{ByteSize, CpuCount, ErrorKind, Limit, Profile, SandboxName, SandboxSpecBuilder};

use super::*;

fn builder() -> SandboxSpecBuilder {
    SandboxSpec::builder(SandboxName::from_random(7), Profile::Restrictive)
}

fn limited(change: impl FnOnce(&mut Limits)) -> SandboxSpec {
    let mut limits = Limits::of(Profile::Restrictive);
    change(&mut limits);
    builder().limits(limits).build().expect("sound")
}

#[test]
fn the_agent_enters_its_root_before_it_gives_its_rights_up_and_is_filtered_last() {
    let steps = steps(&builder().build().expect("sound"), &["/agentkernel/virtio.ko".into()], VmmKind::Qemu);
    let place = |line: &str| steps.lines().position(|step| step.starts_with(line)).expect(line);
    let order = [
        "mount\tnone\t/dev",
        "module",
        "await",
        "mount\t/layer",
        "hide",
        "stream",
        "renew",
        "root",
        "rlimit",
    ];
    for pair in order.windows(2) {
        assert!(place(pair[0]) < place(pair[1]), "{pair:?} in\n{steps}");
    }
    let last: Vec<_> = steps.lines().rev().take(2).collect();
    assert!(last[0].starts_with("filters") && last[1].starts_with("user"), "{last:?}");
    assert!(steps.lines().all(|line| !line.split('\t').next().unwrap_or_default().is_empty()));
}

#[test]
fn every_limit_is_written_where_the_kernel_holds_it() {
    let spec = limited(|limits| {
        limits.memory = Limit::At(ByteSize::mib(64));
        limits.pids = Limit::At(32);
        limits.cpus = CpuCount::milli(500).map_or(Limit::Unlimited, Limit::At);
        limits.disk = ByteSize::mib(8);
        limits.open_files = 333;
    });
    let steps = steps(&spec, &[], VmmKind::Qemu);
    for line in [
        "write\t/groups/all/commands/memory.max\t67108864",
        "write\t/groups/all/pids.max\t32",
        "write\t/groups/all/commands/cpu.max\t50000 100000",
        "mount\tnone\t/new/tmp\ttmpfs\t6\tmode=1777,size=8388608,nr_inodes=2048",
        "rlimit\tnofile\t333\t1332",
        "rlimit\tfsize\t8388608\t8388608",
    ] {
        assert!(steps.lines().any(|step| step == line), "{line} in\n{steps}");
    }
    assert_eq!(size(&spec).expect("a size"), Size { memory_mib: 64 + 128 + 4, processors: 1 });
}

#[test]
fn what_cannot_be_held_is_refused_by_its_name() {
    let refused = |spec: &SandboxSpec| {
        let error = size(spec).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::ControlRefused);
        assert!(error.hint.is_some(), "{error}");
        error.subject
    };
    assert_eq!(refused(&limited(|limits| limits.memory = Limit::Unlimited)), "memory unlimited");
    assert_eq!(refused(&limited(|limits| limits.cpus = Limit::Unlimited)), "cpus unlimited");
    assert_eq!(refused(&limited(|limits| limits.memory = Limit::At(ByteSize::mib(8)))), "memory 8M");
    let root = SandboxSpec::builder(SandboxName::from_random(7), Profile::Permissive);
    let root = root.user(agentkernel_core::User { uid: 0, gid: 0 }).build().expect("sound");
    assert!(refused(&root).starts_with("user 0"));
}
