//! The plan is safe whatever is asked for.

use agentkernel_core::{BindMount, ErrorKind, Image, Profile, User};

use super::*;

fn facts() -> Facts {
    Facts {
        kind: BackendKind::Docker,
        filter: "/run/filter.json".into(),
        processes_max: 32768,
        image: "agentkernel/base:0".into(),
        host: HostFolders {
            programs: vec![("bin".into(), Some("usr/bin".into())), ("lib".into(), None)],
            etc: vec!["alternatives".into()],
        },
        labels: vec![("agentkernel.sandbox".into(), "test".into())],
    }
}

fn builder(profile: Profile) -> agentkernel_core::SandboxSpecBuilder {
    SandboxSpec::builder("test".parse().expect("a name"), profile)
}

#[test]
fn every_control_is_asked_for_in_every_profile() {
    for profile in Profile::ALL {
        let spec = builder(*profile).build().expect("valid");
        let plan = container(&spec, &facts()).expect("planned").body;
        let host = &plan["HostConfig"];
        for (name, value) in [
            ("CapDrop", json!(["ALL"])),
            ("Privileged", json!(false)),
            ("ReadonlyRootfs", json!(true)),
            ("NetworkMode", json!("none")),
            ("IpcMode", json!("private")),
            ("CgroupnsMode", json!("private")),
            ("Init", json!(false)),
            ("LogConfig", json!({"Type": "none"})),
            ("AutoRemove", json!(true)),
        ] {
            assert_eq!(host[name], value, "{name}");
        }
        assert_eq!(host["SecurityOpt"][0], "no-new-privileges");
        let profile = host["SecurityOpt"][1].as_str().and_then(|option| option.strip_prefix("seccomp="));
        let profile: Value = serde_json::from_str(profile.expect("a profile")).expect("JSON");
        assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
        for limit in ["Memory", "CpuQuota", "PidsLimit", "ShmSize"] {
            assert!(host[limit].as_u64().is_some_and(|limit| limit > 0), "{limit}");
        }
        assert_eq!(host["Memory"], host["MemorySwap"], "no swap");
        for (place, options) in host["Tmpfs"].as_object().expect("places") {
            let options = options.as_str().expect("text");
            assert!(
                ["nosuid", "nodev", "size="].iter().all(|word| options.contains(word)),
                "{place}: {options}"
            );
        }
        for word in
            ["CapAdd", "Devices", "PortBindings", "Binds", "VolumesFrom", "PidMode", "UTSMode", "GroupAdd"]
        {
            assert!(host.get(word).is_none(), "{word}");
        }
        assert_eq!((&plan["Env"], &plan["User"]), (&json!([]), &json!("65532:65532")));
    }
}

#[test]
fn the_hosts_folders_are_read_only_and_no_others_than_the_named_ones_are_mounted() {
    let mount = BindMount::new(Path::new("/srv/data"), Path::new("/mnt/data"), Access::ReadWrite);
    let spec = builder(Profile::Restrictive).mount(mount.expect("valid")).build().expect("valid");
    let plan = container(&spec, &facts()).expect("planned").body;
    let mounts = plan["HostConfig"]["Mounts"].as_array().expect("a list").clone();
    let shown: Vec<_> = mounts.iter().map(|mount| (&mount["Target"], &mount["ReadOnly"])).collect();
    let expected = [("/usr", true), ("/lib", true), ("/etc/alternatives", true), ("/mnt/data", false)];
    assert_eq!(json!(shown), json!(expected));
    assert!(mounts.iter().all(|mount| mount["BindOptions"]["NonRecursive"] == true));
}

#[test]
fn what_cannot_be_enforced_is_refused_by_its_name() {
    let root = builder(Profile::Permissive).user(User::ROOT).build().expect("valid");
    let group = builder(Profile::Permissive).user(User { uid: 7, gid: 0 }).build().expect("valid");
    let folder =
        builder(Profile::Restrictive).image(Image::Rootfs("/srv/root".into())).build().expect("valid");
    let user = builder(Profile::Permissive).user(User { uid: 0, gid: 7 }).build().expect("valid");
    for (spec, subject) in
        [(root, "user 0:0"), (group, "user 7:0"), (user, "user 0:7"), (folder, "root folder /srv/root")]
    {
        let error = container(&spec, &facts()).expect_err("refused");
        assert_eq!((error.kind, error.subject.as_str()), (ErrorKind::ControlRefused, subject));
        assert!(error.hint.is_some_and(|hint| hint.contains("--backend oci")));
    }
}

#[test]
fn a_limit_that_is_given_up_is_none_for_the_engine() {
    let limits = Limits {
        memory: Limit::Unlimited,
        cpus: Limit::Unlimited,
        pids: Limit::Unlimited,
        ..Limits::of(Profile::Restrictive)
    };
    let spec = builder(Profile::Restrictive).limits(limits).build().expect("valid");
    let host = &container(&spec, &facts()).expect("planned").body["HostConfig"];
    assert_eq!((&host["Memory"], &host["CpuQuota"], &host["PidsLimit"]), (&json!(0), &json!(0), &json!(-1)));
}

#[test]
fn every_control_is_asked_for_in_podmans_words() {
    for profile in Profile::ALL {
        let spec = builder(*profile).build().expect("valid");
        let facts = Facts { kind: BackendKind::Podman, ..facts() };
        let plan = container(&spec, &facts).expect("planned").body;
        for (name, value) in [
            ("cap_drop", json!(["ALL"])),
            ("no_new_privileges", json!(true)),
            ("privileged", json!(false)),
            ("read_only_filesystem", json!(true)),
            ("netns", json!({"nsmode": "none"})),
            ("pidns", json!({"nsmode": "private"})),
            ("ipcns", json!({"nsmode": "private"})),
            ("utsns", json!({"nsmode": "private"})),
            ("cgroupns", json!({"nsmode": "private"})),
            ("init", json!(false)),
            ("httpproxy", json!(false)),
            ("use_image_hosts", json!(true)),
            ("use_image_resolve_conf", json!(true)),
            ("image_volume_mode", json!("ignore")),
            ("log_configuration", json!({"driver": "none"})),
            ("seccomp_profile_path", json!("/run/filter.json")),
            ("user", json!("65532:65532")),
        ] {
            assert_eq!(plan[name], value, "{name}");
        }
        let limits = &plan["resource_limits"];
        assert!(limits["memory"]["limit"].as_u64().is_some_and(|bytes| bytes > 0));
        assert_eq!(limits["memory"]["limit"], limits["memory"]["swap"], "no swap");
        assert!(limits["pids"]["limit"].as_u64().is_some() && limits["cpu"]["quota"].as_u64().is_some());
        for mount in plan["mounts"].as_array().expect("a list") {
            let options = mount["options"].to_string();
            assert!(options.contains("nosuid") && options.contains("nodev"), "{mount}");
            assert!(
                mount["type"] == "tmpfs" && options.contains("size=") || options.contains("\"ro\""),
                "{mount}"
            );
        }
        for word in ["cap_add", "devices", "volumes", "selinux_opts", "unmask", "groups", "userns"] {
            assert!(plan.get(word).is_none(), "{word}");
        }
    }
}
