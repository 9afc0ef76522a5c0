//! The bundle is safe whatever is asked for.

use std::time::Duration;

use agentkernel_core::{BindMount, ByteSize, CpuCount, Limit, Limits, SandboxName};
use proptest::prelude::*;

use super::*;

fn facts(privilege: Privilege, cgroup: Option<&str>) -> PlanFacts {
    PlanFacts {
        runtime: None,
        privilege,
        cgroup: cgroup.map(str::to_owned),
        swap: true,
        device_rules: true,
        open_files_max: 20_000,
        signals_max: 20_000,
        host_layout: HostLayout { folders: vec![("bin".into(), Some("usr/bin".into()))] },
    }
}

fn root_facts() -> PlanFacts {
    facts(Privilege::Root { first_id: 1_879_048_192 }, Some("/agentkernel-test"))
}

fn name() -> SandboxName {
    "test".parse().expect("valid")
}

fn restrictive() -> SandboxSpec {
    SandboxSpec::builder(name(), Profile::Restrictive).build().expect("valid")
}

#[test]
fn the_configuration_is_an_oci_one_and_all_of_it_is_carried_out() {
    let plan = plan(&restrictive(), &root_facts()).expect("plan");
    let spec: oci_spec::runtime::Spec = serde_json::from_value(plan.config.clone()).expect("an OCI spec");
    crate::container::understands(&plan).expect("nothing is left undone");
    assert_eq!(spec.process().as_ref().and_then(oci_spec::runtime::Process::no_new_privileges), Some(true));
}

#[test]
fn a_limit_that_needs_a_control_group_is_refused_by_name_without_one() {
    let rootless = Privilege::Rootless { uid: 1000, gid: 1000, inside_uid: 65532, inside_gid: 65532 };
    let error = plan(&restrictive(), &facts(rootless, None)).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::ControlRefused);
    assert_eq!(error.subject, "memory, cpus");
    assert!(error.hint.is_some_and(|hint| hint.contains("--memory unlimited --cpus unlimited")));
    let limits =
        Limits { memory: Limit::Unlimited, cpus: Limit::Unlimited, ..Limits::of(Profile::Restrictive) };
    let lowered = SandboxSpec::builder(name(), Profile::Restrictive).limits(limits).build().expect("valid");
    assert!(plan(&lowered, &facts(rootless, None)).is_ok());
}

#[test]
fn a_caller_who_may_open_too_few_files_is_told_so() {
    let few = PlanFacts { open_files_max: 66, ..root_facts() };
    let error = plan(&restrictive(), &few).expect_err("refused");
    assert_eq!(error.subject, "open files");
    assert!(error.to_string().contains("67") && error.hint.is_some_and(|hint| hint.contains("ulimit -n")));
    assert!(plan(&restrictive(), &PlanFacts { open_files_max: 67, ..root_facts() }).is_ok());
}

#[test]
fn swap_is_limited_where_there_is_swap() {
    let with = plan(&restrictive(), &root_facts()).expect("plan").config;
    let memory = &with["linux"]["resources"]["memory"];
    assert_eq!(memory["limit"], memory["swap"]);
}

prop_compose! {
    fn any_spec()(
        profile in prop::sample::select(Profile::ALL),
        root in any::<bool>(),
        uid in 1_u32..65_535,
        cpus in 10_u32..256_000,
        memory in 1_u64..1 << 40,
        pids in 1_u32..100_000,
        disk in 1_u64..1 << 40,
        open_files in Limits::OPEN_FILES_MIN..1 << 20,
        lifetime in prop::option::of(1_u64..1_000_000),
        mounts in prop::collection::vec(("/[a-z]{1,8}", any::<bool>()), 0..4),
    ) -> SandboxSpec {
        let limits = Limits {
            cpus: Limit::At(CpuCount::milli(cpus).expect("range")),
            memory: Limit::At(ByteSize::bytes(memory).expect("range")),
            pids: Limit::At(pids),
            disk: ByteSize::bytes(disk).expect("range"),
            open_files,
        };
        let user = if root && profile == Profile::Permissive { User::ROOT } else { User { uid, gid: uid } };
        let mut builder = SandboxSpec::builder(name(), profile)
            .limits(limits).user(user).lifetime(lifetime.map(Duration::from_millis));
        for (index, (source, read_only)) in mounts.into_iter().enumerate() {
            let access = if read_only { Access::ReadOnly } else { Access::ReadWrite };
            let target = format!("/mnt/{index}");
            builder = builder.mount(
                BindMount::new(Path::new(&source), Path::new(&target), access).expect("valid"),
            );
        }
        builder.build().expect("valid")
    }
}

fn options(mount: &Value) -> Vec<&str> {
    mount["options"].as_array().expect("options").iter().filter_map(Value::as_str).collect()
}

proptest! {
    #[test]
    fn every_bundle_holds_every_control(spec in any_spec()) {
        let config = plan(&spec, &root_facts()).expect("plan").config;
        let process = &config["process"];
        let linux = &config["linux"];
        prop_assert_eq!(&process["noNewPrivileges"], &json!(true));
        prop_assert_eq!(&config["root"]["readonly"], &json!(true));
        prop_assert_eq!(&process["env"], &json!([]));
        prop_assert!(config.get("hooks").is_none() && config.get("annotations").is_none());
        if spec.user() != User::ROOT {
            for set in ["bounding", "permitted", "effective", "inheritable", "ambient"] {
                prop_assert_eq!(&process["capabilities"][set], &json!([]));
            }
            prop_assert_ne!(&process["user"]["uid"], &json!(0));
        }
        let kinds: Vec<&str> = linux["namespaces"].as_array().expect("list").iter()
            .filter_map(|namespace| namespace["type"].as_str()).collect();
        for kind in ["pid", "network", "ipc", "uts", "mount", "user", "cgroup"] {
            prop_assert!(kinds.contains(&kind), "{}", kind);
        }
        for namespace in linux["namespaces"].as_array().expect("list") {
            prop_assert!(namespace.get("path").is_none(), "never an existing namespace");
        }
        for limit in ["memory", "cpu", "pids"] {
            prop_assert!(!linux["resources"][limit].is_null(), "{}", limit);
        }
        for mount in config["mounts"].as_array().expect("list") {
            prop_assert!(options(mount).contains(&"nosuid"));
            if mount["type"] == "tmpfs" {
                prop_assert!(options(mount).iter().any(|option| option.starts_with("size=")));
            }
            if mount["type"] == "bind" {
                prop_assert!(mount["source"].as_str().expect("path").starts_with("/tmp/mounts/"));
            }
        }
        for rlimit in process["rlimits"].as_array().expect("list") {
            prop_assert!(rlimit["soft"].as_u64() <= rlimit["hard"].as_u64());
        }
    }
}
