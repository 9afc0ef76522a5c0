//! Every control that is taken away, how, and what must then be reported.

use agentkernel_oci::plan::{Plan, SeccompPlan, Step};
use serde_json::{Value, json};

/// One negative control.
pub struct Row {
    /// What must be reported.
    pub control: &'static str,
    /// How it is taken away, for a person.
    pub how: &'static str,
    pub away: Away,
    /// What may be reported beside it, because it is a consequence.
    pub consequences: &'static [&'static str],
    /// Words of which a refusal to start must have one. Without any, the start must succeed.
    pub refusal: &'static [&'static str],
}

/// How a control is taken away.
pub enum Away {
    /// It is not in the plan.
    Plan(fn(&mut Plan)),
    /// Another sandbox has the same namespace, of this kind.
    SharedWithASibling(&'static str),
    /// The first process is moved out of its control group.
    MovedOutOfItsGroup,
    /// The control group is another, which does not exist.
    GroupIsMissing,
    /// A process has a file open that is no part of its command's streams.
    FileIsOpen,
}

const fn row(control: &'static str, how: &'static str, away: Away) -> Row {
    Row { control, how, away, consequences: &[], refusal: &[] }
}

const fn plan(control: &'static str, how: &'static str, change: fn(&mut Plan)) -> Row {
    row(control, how, Away::Plan(change))
}

const fn shared(control: &'static str, kind: &'static str) -> Row {
    row(control, "a sibling shares it", Away::SharedWithASibling(kind))
}

impl Row {
    const fn with(mut self, consequences: &'static [&'static str]) -> Self {
        self.consequences = consequences;
        self
    }

    const fn or_refused(mut self, words: &'static [&'static str]) -> Self {
        self.refusal = words;
        self
    }
}

/// Controls without a negative control, each with the reason.
pub const EXCEPTIONS: &[(&str, &str)] = &[(
    "limit.swap",
    "a host without swap has none to give; where there is some, the start is refused: \
     `swap_that_is_not_limited_refuses_the_start`",
)];

pub const TABLE: &[&[Row]] = &[IDENTITY, CAPABILITIES, PRIVILEGES, NAMESPACES, LIMITS, FILES];

const IDENTITY: &[Row] = &[
    plan("user.uid", "another user", |plan| plan.config["process"]["user"]["uid"] = json!(1000)),
    plan("user.gid", "another group", |plan| plan.config["process"]["user"]["gid"] = json!(1000)),
    plan("user.groups", "one more group", |plan| {
        plan.config["process"]["user"]["additionalGids"] = json!([7]);
    }),
    plan("user.uid_map", "a user id less", |plan| {
        plan.config["linux"]["uidMappings"][0]["size"] = json!(65_535);
    }),
    plan("user.gid_map", "a group id less", |plan| {
        plan.config["linux"]["gidMappings"][0]["size"] = json!(65_535);
    }),
];

/// Root inside keeps over an exec what the bounding set leaves; and whoever passes on or keeps a capability
/// must have it in every other set.
const CAPABILITIES: &[Row] = &[
    plan("capabilities.bounding", "one in the bounding set", |plan| {
        plan.config["process"]["capabilities"]["bounding"] = json!(["CAP_NET_ADMIN"]);
    }),
    plan("capabilities.permitted", "root with one", root_with_one).with(OF_ROOT_WITH_ONE),
    plan("capabilities.effective", "root with one", root_with_one).with(OF_ROOT_WITH_ONE),
    plan("capabilities.inheritable", "root that passes one on", |plan| {
        root_with_one(plan);
        plan.config["process"]["capabilities"]["inheritable"] = json!(["CAP_CHOWN"]);
    })
    .with(OF_ROOT_WITH_ONE),
    plan("capabilities.ambient", "root that keeps one", |plan| {
        root_with_one(plan);
        plan.config["process"]["capabilities"]["inheritable"] = json!(["CAP_CHOWN"]);
        plan.config["process"]["capabilities"]["ambient"] = json!(["CAP_CHOWN"]);
    })
    .with(&[
        "user.uid",
        "user.gid",
        "capabilities.bounding",
        "capabilities.permitted",
        "capabilities.effective",
        "capabilities.inheritable",
    ]),
];

const OF_ROOT_WITH_ONE: &[&str] =
    &["user.uid", "user.gid", "capabilities.bounding", "capabilities.permitted", "capabilities.effective"];

fn root_with_one(plan: &mut Plan) {
    plan.config["process"]["user"] = json!({"uid": 0, "gid": 0});
    for set in ["bounding", "permitted", "effective"] {
        plan.config["process"]["capabilities"][set] = json!(["CAP_CHOWN"]);
    }
}

const PRIVILEGES: &[Row] = &[
    plan("seccomp.mode", "no filter", |plan| plan.seccomp = SeccompPlan::Off).with(&["seccomp.filters"]),
    plan("seccomp.filters", "no filter", |plan| plan.seccomp = SeccompPlan::Off).with(&["seccomp.mode"]),
    plan("no_new_privs", "new privileges, and no filter, which would take them", |plan| {
        plan.seccomp = SeccompPlan::Off;
        plan.config["process"]["noNewPrivileges"] = json!(false);
    })
    .with(&["seccomp.mode", "seccomp.filters"]),
];

const NAMESPACES: &[Row] = &[
    plan("namespace.user", "not asked for", |plan| drop_namespace(plan, "user"))
        .with(&["user.uid_map", "user.gid_map", "user.uid", "user.gid"])
        .or_refused(&["user namespace"]),
    // Without one of its own, a sandbox has no /proc of its own either, which the kernel may refuse.
    plan("namespace.pid", "not asked for", |plan| drop_namespace(plan, "pid")).or_refused(&[
        "pid namespace",
        "/proc",
        "prepare rootfs",
    ]),
    plan("namespace.mnt", "not asked for", |plan| drop_namespace(plan, "mount"))
        .or_refused(&["mount namespace", "MNT namespace"]),
    plan("namespace.ipc", "not asked for", |plan| drop_namespace(plan, "ipc")),
    plan("namespace.uts", "not asked for", |plan| drop_namespace(plan, "uts")),
    plan("namespace.net", "not asked for", |plan| drop_namespace(plan, "network"))
        .with(&["network.interfaces"]),
    plan("network.interfaces", "the host's", |plan| drop_namespace(plan, "network")).with(&["namespace.net"]),
    plan("namespace.cgroup", "not asked for", |plan| drop_namespace(plan, "cgroup")),
    shared("namespace.user", "user"),
    shared("namespace.pid", "pid"),
    shared("namespace.mnt", "mnt"),
    shared("namespace.ipc", "ipc"),
    shared("namespace.uts", "uts"),
    shared("namespace.net", "net"),
    shared("namespace.cgroup", "cgroup"),
];

const LIMITS: &[Row] = &[
    plan("rlimit.open_files", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_NOFILE")),
    plan("rlimit.core_file_size", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_CORE")),
    plan("rlimit.locked_memory", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_MEMLOCK")),
    plan("rlimit.file_size", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_FSIZE")),
    plan("rlimit.processes", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_NPROC")),
    // A group that is not as its plan refuses the start; here the plan agrees, and what was asked for does not.
    plan("limit.memory_bytes", "more in group and plan", |plan| {
        // Where there is swap, it is limited beside the memory.
        for (_, limit) in plan.config["linux"]["resources"]["memory"].as_object_mut().expect("limits") {
            *limit = json!(600 << 20);
        }
        group(plan).memory_bytes = Some(600 << 20);
    }),
    plan("limit.cpu_milli", "more in group and plan", |plan| {
        plan.config["linux"]["resources"]["cpu"]["quota"] = json!(150_000);
        group(plan).cpu_milli = Some(1500);
    }),
    plan("limit.pids", "more in group and plan", |plan| {
        plan.config["linux"]["resources"]["pids"]["limit"] = json!(300);
        group(plan).pids = Some(300);
    }),
    row("cgroup.members", "its first process is moved out", Away::MovedOutOfItsGroup),
    row("cgroup", "there is none", Away::GroupIsMissing),
];

const FILES: &[Row] = &[
    plan("root", "writable", |plan| plan.config["root"]["readonly"] = json!(false))
        .with(&["mounts.writable"]),
    plan("paths.masked", "none", |plan| plan.config["linux"]["maskedPaths"] = json!([])),
    plan("mounts.writable", "/tmp with set-id bits", |plan| drop_mount_option(plan, "/tmp", "nosuid")),
    plan("mounts.writable", "/dev/shm with devices", |plan| drop_mount_option(plan, "/dev/shm", "nodev")),
    plan("mounts.writable", "/usr for writing", usr_for_writing),
    row("descriptors", "a file is open", Away::FileIsOpen),
];

fn group(plan: &mut Plan) -> &mut agentkernel_oci::plan::CgroupPlan {
    plan.cgroup.as_mut().expect("these limits need a control group")
}

fn retain(list: &mut Value, keep: impl Fn(&Value) -> bool) {
    list.as_array_mut().expect("a list").retain(|entry| keep(entry));
}

fn drop_namespace(plan: &mut Plan, kind: &str) {
    retain(&mut plan.config["linux"]["namespaces"], |entry| entry["type"] != kind);
    if kind == "uts" {
        plan.config.as_object_mut().expect("an object").remove("hostname");
    }
}

fn drop_rlimit(plan: &mut Plan, kind: &str) {
    retain(&mut plan.config["process"]["rlimits"], |entry| entry["type"] != kind);
}

fn drop_mount_option(plan: &mut Plan, place: &str, option: &str) {
    let mounts = plan.config["mounts"].as_array_mut().expect("a list");
    let mount = mounts.iter_mut().find(|mount| mount["destination"] == place).expect("mounted");
    retain(&mut mount["options"], |entry| entry != option);
}

/// Its files are nobody's inside, so that none can be written to all the same.
fn usr_for_writing(plan: &mut Plan) {
    for step in &mut plan.stage {
        if let Step::Bind { path, options, .. } = step
            && path.ends_with("usr")
        {
            options.read_only = false;
        }
    }
}
