//! Every control that is taken away, how, and what must then be reported.

use agentkernel_oci::plan::{Plan, SeccompPlan, Step};
use serde_json::json;

use super::changes::{
    bind_of_usr, drop_mount_option, drop_namespace, drop_rlimit, group, root_with_one, usr_for_writing,
};

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
    /// A process has something open that is no part of its command's streams: this program of Python's opens it.
    SomethingIsOpen(&'static str),
    /// The host's root runs these words in the namespace that this option of `nsenter` is for.
    FromTheHost(&'static str, &'static [&'static str]),
    /// The host's root calls this of Python's `libc` in its mount namespace, in which there may be no program.
    CalledFromTheHost(&'static str),
    /// A process of the host's is in its control group: this program, by the name that it is told to have.
    BesideIt(&'static str, &'static [&'static str]),
}

pub(super) const fn row(control: &'static str, how: &'static str, away: Away) -> Row {
    Row { control, how, away, consequences: &[], refusal: &[] }
}

pub(super) const fn plan(control: &'static str, how: &'static str, change: fn(&mut Plan)) -> Row {
    row(control, how, Away::Plan(change))
}

pub(super) const fn shared(control: &'static str, kind: &'static str) -> Row {
    row(control, "a sibling shares it", Away::SharedWithASibling(kind))
}

impl Row {
    pub(super) const fn with(mut self, consequences: &'static [&'static str]) -> Self {
        self.consequences = consequences;
        self
    }

    pub(super) const fn or_refused(mut self, words: &'static [&'static str]) -> Self {
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

/// Controls that only some hosts have something to read for.
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("cgroup", "reported only where the group cannot be read"),
    ("devices.rules", "only groups of v1 have rules for devices"),
];

pub const TABLE: &[&[Row]] = &[IDENTITY, CAPABILITIES, PRIVILEGES, NAMESPACES, LIMITS, MOUNTS, PATHS, AGENT];

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
        .with(OF_THE_HOSTS_IDS)
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

/// Without a namespace of its own, what is the sandbox's is the host's users'.
const OF_THE_HOSTS_IDS: &[&str] = &[
    "user.uid_map",
    "user.gid_map",
    "user.uid",
    "user.gid",
    "mount./dev",
    "mount./dev/shm",
    "mount./tmp",
    "mount./workspace",
];

const LIMITS: &[Row] = &[
    plan("rlimit.open_files", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_NOFILE")),
    plan("rlimit.core_file_size", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_CORE")),
    plan("rlimit.locked_memory", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_MEMLOCK")),
    plan("rlimit.file_size", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_FSIZE")),
    plan("rlimit.pending_signals", "the caller's", |plan| drop_rlimit(plan, "RLIMIT_SIGPENDING")),
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
    row("cgroup", "there is none", Away::GroupIsMissing).with(&["devices.rules"]),
];

const MOUNTS: &[Row] = &[
    plan("root", "writable", |plan| plan.config["root"]["readonly"] = json!(false))
        .with(&["mounts.writable"]),
    plan("mount./proc", "with programs", |plan| drop_mount_option(plan, "/proc", "noexec")),
    plan("mount./dev", "everybody's", |plan| drop_mount_option(plan, "/dev", "mode=755")),
    plan("mount./dev/pts", "with terminals for everybody", |plan| {
        drop_mount_option(plan, "/dev/pts", "mode=0620");
    }),
    plan("mount./dev/shm", "as large as may be", |plan| drop_mount_option(plan, "/dev/shm", "size=")),
    plan("mount./tmp", "as large as may be", |plan| drop_mount_option(plan, "/tmp", "size=")),
    plan("mount./tmp", "with as many files as may be", |plan| drop_mount_option(plan, "/tmp", "nr_inodes=")),
    plan("mount./workspace", "another's", |plan| drop_mount_option(plan, "/workspace", "uid=")),
    plan("mounts.writable", "/tmp with set-id bits", |plan| drop_mount_option(plan, "/tmp", "nosuid"))
        .with(&["mount./tmp"]),
    plan("mounts.writable", "/dev/shm with devices", |plan| drop_mount_option(plan, "/dev/shm", "nodev"))
        .with(&["mount./dev/shm"]),
    plan("mounts.writable", "/usr for writing", usr_for_writing).with(&["mounts.host"]),
    plan("mounts.host", "/usr for writing", usr_for_writing).with(&["mounts.writable"]),
    plan("mounts.host", "one of the host's folders more", |plan| {
        let options = *bind_of_usr(plan).1;
        plan.stage.push(Step::Bind { path: "rootfs/mnt/more".into(), source: "/usr/lib".into(), options });
    }),
    plan("mounts.host", "one of the bundle's mounts more", |plan| {
        let more = json!({
            "destination": "/workspace/more", "type": "bind", "source": "/tmp/rootfs/usr",
            "options": ["rbind", "nosuid", "nodev", "ro"],
        });
        plan.config["mounts"].as_array_mut().expect("a list").push(more);
    }),
    plan("mounts.host", "another folder in the place of /usr", |plan| {
        *bind_of_usr(plan).0 = "/usr/lib".into();
    }),
    row(
        "mounts.private",
        "mounts in /tmp are passed on",
        Away::FromTheHost("--mount", &["mount", "--make-shared", "/tmp"]),
    ),
];

const PATHS: &[Row] = &[
    plan("paths.masked", "none", |plan| plan.config["linux"]["maskedPaths"] = json!([])),
    plan("paths.read_only", "none", |plan| plan.config["linux"]["readonlyPaths"] = json!([]))
        .with(&["mount./dev", "mounts.writable"]),
    row(
        "devices",
        "/dev/null is another",
        Away::FromTheHost("--mount", &["mount", "--bind", "/dev/zero", "/dev/null"]),
    )
    .with(&["mounts.host"]),
    plan("devices.rules", "one more", |plan| {
        let rule = json!({"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rwm"});
        match &mut plan.config["linux"]["resources"]["devices"] {
            serde_json::Value::Array(rules) => rules.push(rule),
            none => *none = json!([rule]),
        }
    })
    .or_refused(&["rules for devices"]),
];

const AGENT: &[Row] = &[
    plan("agent.arguments", "another name", |plan| plan.config["process"]["args"][0] = json!("another")),
    row("descriptors", "a file", Away::SomethingIsOpen("open('/etc/hostname')")).with(ANOTHER_PROGRAM),
    row("descriptors", "a stream more", Away::SomethingIsOpen("socket.socketpair()")).with(ANOTHER_PROGRAM),
    row("descriptors", "a socket of the network", Away::SomethingIsOpen("socket.socket()"))
        .with(ANOTHER_PROGRAM),
    row("descriptors", "events of another kind", Away::SomethingIsOpen("select.epoll()"))
        .with(ANOTHER_PROGRAM),
];

/// A command of the sandbox's is held to what the agent is held to.
const ANOTHER_PROGRAM: &[&str] = &["agent.arguments", "rlimit.open_files"];
