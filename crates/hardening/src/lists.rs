//! Fixed lists: what is hidden, what there is, what root keeps.

/// Files of /proc that say too much about the host, or about its kernel's memory. Docker's and
/// runc's defaults, and those of the hardening table. /sys is not mounted at all.
pub const MASKED_PATHS: &[&str] = &[
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/key-users",
    "/proc/kmsg",
    "/proc/latency_stats",
    "/proc/mdstat",
    "/proc/modules",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
];

/// Files of /proc that change the kernel when written to, and /dev itself: without root the
/// sandbox's user owns that folder. What is mounted in it stays as it is.
pub const READ_ONLY_PATHS: &[&str] =
    &["/dev", "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// The devices in /dev. Bound from the host, for a user namespace cannot make any.
pub const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];

/// Their numbers, those of the terminals beside them (`devices.txt` of the kernel), and none for "any". Where
/// control groups have rules for devices, they say once more what the mounts say.
pub const DEVICE_NUMBERS: &[(u32, Option<u32>)] = &[
    (1, Some(3)),
    (1, Some(5)),
    (1, Some(7)),
    (1, Some(8)),
    (1, Some(9)),
    (5, Some(0)),
    (5, Some(2)),
    (136, None),
];

/// What root keeps in the permissive profile: enough to install packages and drop to other users,
/// all of it ending at the sandbox's own user namespace. Docker's default without NET_RAW, MKNOD,
/// AUDIT_WRITE, SYS_CHROOT and NET_BIND_SERVICE.
pub const ROOT_CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
];

/// Folders that the sandbox provides itself, whatever the image says: an image cannot put a link in
/// the place of /proc.
pub const OWN_FOLDERS: &[(&str, u32)] =
    &[("proc", 0o555), ("sys", 0o555), ("dev", 0o755), ("tmp", 0o1777), ("workspace", 0o755), ("run", 0o755)];

/// Empty folders that the `host` image has besides. Mode and name.
pub const EMPTY_FOLDERS: &[(&str, u32)] =
    &[("etc", 0o755), ("home", 0o755), ("root", 0o700), ("mnt", 0o755), ("var", 0o755)];
