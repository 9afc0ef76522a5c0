//! The twenty attacks on resources: what each is allowed to have, how it must end, and where it must not.

use agentkernel_core::{ByteSize, CpuCount, Limit, Limits};
use agentkernel_oci::plan::Plan;
use serde_json::json;

/// One attack of the probe.
pub struct Attack {
    pub name: &'static str,
    /// What follows the name. `FLOOD` stands for [`flood_mib`].
    pub words: &'static str,
    /// Of its sandbox.
    pub limits: fn() -> Limits,
    pub listener: Listener,
    pub end: End,
    pub control: Control,
}

/// What the host does meanwhile.
pub enum Listener {
    /// Takes all output.
    Reads,
    /// Takes none before the sibling has answered for a while.
    ReadsLate,
    /// Asks it to end, and kills it when the sibling has answered for a while.
    Insists,
    /// Writes to its input for as long as the sibling is asked, and kills it then.
    FillsItsInput,
    /// Takes all output, and copies the folder out afterwards.
    CopiesOut(&'static str),
}

/// How it must end.
pub enum End {
    /// The kernel says no, with this errno, at or before the count.
    Refused { errno: i32, count_max: u64 },
    /// The kernel says no at the limit that the host reads, or kills it for want of memory before.
    Pending,
    /// The kernel kills it for want of memory.
    OutOfMemory,
    /// By itself, with no more than this.
    ByItself { count_max: u64 },
    /// Killed by the host.
    Killed,
}

/// Where nothing stops it, so that its end elsewhere proves something.
pub enum Control {
    /// In a sandbox with this plan, doing so much of it.
    Plan { words: &'static str, change: fn(&mut Plan) },
    /// In a sandbox whose maker may have any number of signals pending.
    PendingSignals,
    /// What stops it is no part of the plan; where that is broken on purpose.
    Elsewhere(&'static str),
}

pub const MEMORY_MIB: u64 = 64;
pub const PIDS: u32 = 48;
const DISK_MIB: u64 = 24;
pub const OPEN_FILES: u32 = 128;

/// Low ones, so that each is reached soon.
fn low_limits() -> Limits {
    Limits {
        // Attacks that are not about processors get enough of them to be quick.
        cpus: Limit::At(CpuCount::whole(1)),
        memory: Limit::At(ByteSize::mib(MEMORY_MIB)),
        pids: Limit::At(PIDS),
        disk: ByteSize::mib(DISK_MIB),
        open_files: OPEN_FILES,
    }
}

fn a_tenth_of_a_processor() -> Limits {
    Limits { cpus: CpuCount::milli(100).map_or(Limit::Unlimited, Limit::At), ..low_limits() }
}

/// More room for files than there is memory to keep them in.
fn more_disk_than_memory() -> Limits {
    Limits { disk: ByteSize::mib(MEMORY_MIB * 4), ..low_limits() }
}

/// A quarter of the host's memory: far beyond the limits, and yet no harm where one does not hold.
pub fn flood_mib() -> u64 {
    crate::oracle::memory_mib("MemTotal") / 4
}

const fn read(name: &'static str, words: &'static str, end: End, control: Control) -> Attack {
    Attack { name, words, limits: low_limits, listener: Listener::Reads, end, control }
}

impl Attack {
    const fn within(mut self, limits: fn() -> Limits) -> Self {
        self.limits = limits;
        self
    }
}

pub const ATTACKS: &[&[Attack]] = &[PROCESSES, TIME, MEMORY, STORAGE, STREAMS];

const PROCESSES: &[Attack] = &[
    read("fork-bomb", "--count 4000", TOO_MANY_PROCESSES, MORE_PROCESSES),
    read("zombies", "--count 4000", TOO_MANY_PROCESSES, MORE_PROCESSES),
    Attack {
        name: "ignore-sigterm",
        words: "--seconds 600",
        limits: low_limits,
        listener: Listener::Insists,
        end: End::Killed,
        control: Control::Elsewhere("the suite's fault KillIsLost"),
    },
    read(
        "setsid-daemon",
        "/workspace/pid --seconds 600",
        End::ByItself { count_max: u64::MAX },
        Control::Elsewhere("the suite's fault StopLeavesProcesses"),
    ),
];

const TOO_MANY_PROCESSES: End = End::Refused { errno: EAGAIN, count_max: PIDS as u64 };
const MORE_PROCESSES: Control = Control::Plan { words: "--count 200", change: without_processes };

const TIME: &[Attack] = &[
    // A share of a tenth, and as much again for the portions at both ends.
    read(
        "cpu-spin",
        "--seconds 3",
        End::ByItself { count_max: 3_000 * 2 / 10 },
        Control::Plan {
            words: "--seconds 3",
            change: |plan| {
                resources(plan).remove("cpu");
                group(plan).cpu_milli = None;
            },
        },
    )
    .within(a_tenth_of_a_processor),
    read("timers", "", End::Pending, Control::PendingSignals),
    read("signal-queue", "", End::Pending, Control::PendingSignals),
];

const MEMORY: &[Attack] = &[
    read("memory-bomb", "--mib FLOOD", End::OutOfMemory, MORE_MEMORY),
    read("memfd-bomb", "--mib FLOOD", End::OutOfMemory, MORE_MEMORY),
    read(
        "pipe-bomb",
        "--count 200",
        End::OutOfMemory,
        Control::Plan {
            words: "--count 200",
            change: |plan| {
                without_memory(plan);
                drop_rlimit(plan, "RLIMIT_NOFILE");
            },
        },
    ),
    read(
        "open-fds",
        "--count 20000",
        End::Refused { errno: EMFILE, count_max: OPEN_FILES as u64 * 4 },
        Control::Plan { words: "--count 600", change: |plan| drop_rlimit(plan, "RLIMIT_NOFILE") },
    ),
];

const MORE_MEMORY: Control = Control::Plan { words: "--mib 128", change: without_memory };

const STORAGE: &[Attack] = &[
    read(
        "tmpfs-fill",
        "/workspace --mib FLOOD",
        End::Refused { errno: ENOSPC, count_max: DISK_MIB },
        Control::Plan {
            words: "/workspace --mib 32",
            change: |plan| drop_mount_options(plan, "/workspace", &["size="]),
        },
    ),
    // What lies in a file is freed by nobody's death, so that this may be the end of the whole sandbox.
    read(
        "tmpfs-fill",
        "/workspace --mib FLOOD",
        End::OutOfMemory,
        Control::Plan { words: "/workspace --mib 128", change: without_memory },
    )
    .within(more_disk_than_memory),
    // One for each 4 KiB.
    read(
        "inode-flood",
        "/workspace --count 400000",
        End::Refused { errno: ENOSPC, count_max: DISK_MIB * 256 },
        Control::Plan {
            words: "/workspace --count 8000",
            change: |plan| drop_mount_options(plan, "/workspace", &["nr_inodes="]),
        },
    ),
    read(
        "sparse-1tb",
        "/workspace/sparse",
        End::Refused { errno: EFBIG, count_max: 0 },
        Control::Plan { words: "/workspace/sparse", change: |plan| drop_rlimit(plan, "RLIMIT_FSIZE") },
    ),
    Attack {
        name: "copy-out-traps",
        words: "/workspace/traps",
        limits: low_limits,
        listener: Listener::CopiesOut("/workspace/traps"),
        // All but the one that is a file of 1 TB.
        end: End::ByItself { count_max: 14 },
        control: Control::Elsewhere("the suite's fault PipeBlocks"),
    },
];

const STREAMS: &[Attack] = &[
    Attack {
        name: "never-read-stdin",
        words: "--seconds 600",
        limits: low_limits,
        listener: Listener::FillsItsInput,
        end: End::Killed,
        control: Control::Elsewhere("the suite's fault TypingIsLost: then the input takes all"),
    },
    read(
        "hold-stdout",
        "--seconds 600",
        End::ByItself { count_max: u64::MAX },
        Control::Elsewhere("the suite's fault WaitForTheGroup"),
    ),
    Attack {
        name: "endless-output",
        words: "--bytes 268435456",
        limits: low_limits,
        listener: Listener::ReadsLate,
        end: End::ByItself { count_max: 256 << 20 },
        control: Control::Elsewhere("the suite's fault TruncateSilently"),
    },
    Attack {
        name: "one-gigabyte-line",
        words: "--bytes 1073741824",
        limits: low_limits,
        listener: Listener::ReadsLate,
        end: End::ByItself { count_max: 1 << 30 },
        control: Control::Elsewhere("the suite's fault TruncateSilently"),
    },
    read(
        "terminal-escapes",
        "",
        End::ByItself { count_max: 9 },
        Control::Elsewhere("nothing is to stop it: output arrives byte for byte, whatever it says"),
    ),
];

pub const EAGAIN: i32 = 11;
const EMFILE: i32 = 24;
const EFBIG: i32 = 27;
const ENOSPC: i32 = 28;

fn group(plan: &mut Plan) -> &mut agentkernel_oci::plan::CgroupPlan {
    plan.cgroup.as_mut().expect("these limits need a control group")
}

fn resources(plan: &mut Plan) -> &mut serde_json::Map<String, serde_json::Value> {
    plan.config["linux"]["resources"].as_object_mut().expect("an object")
}

fn without_processes(plan: &mut Plan) {
    resources(plan).remove("pids");
    group(plan).pids = None;
    drop_rlimit(plan, "RLIMIT_NPROC");
}

pub fn without_memory(plan: &mut Plan) {
    resources(plan).remove("memory");
    group(plan).memory_bytes = None;
}

pub fn drop_rlimit(plan: &mut Plan, kind: &str) {
    let limits = plan.config["process"]["rlimits"].as_array_mut().expect("a list");
    limits.retain(|entry| entry["type"] != json!(kind));
}

fn drop_mount_options(plan: &mut Plan, place: &str, beginnings: &[&str]) {
    let mounts = plan.config["mounts"].as_array_mut().expect("a list");
    let mount = mounts.iter_mut().find(|mount| mount["destination"] == place).expect("mounted");
    let options = mount["options"].as_array_mut().expect("a list");
    let begins = |option: &serde_json::Value| {
        beginnings.iter().any(|beginning| option.as_str().is_some_and(|text| text.starts_with(beginning)))
    };
    options.retain(|option| !begins(option));
}
