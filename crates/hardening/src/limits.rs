//! Limits that no profile names.

use agentkernel_core::Limits;

/// Signals that may wait for the processes of a sandbox, and timers of theirs, each of which keeps one ready: some
/// hundred bytes of the kernel's memory apiece. A distribution's default is beyond 4000 on any host of 1 GiB.
pub const SIGNALS_MAX: u64 = 4096;

/// Memory that a process may lock, bytes: the kernel's own default (`MLOCK_LIMIT`) before 5.16.
pub const LOCKED_MEMORY_MAX: u64 = 64 << 10;

/// Size of `/dev/shm`, the 64 MiB that container engines give. Bytes.
pub const SHM_BYTES: u64 = 64 << 20;

/// Inodes of a tmpfs of this size: one for each 4 KiB, so that a flood of empty files ends with the space, not after it.
#[must_use]
pub fn tmpfs_inodes(bytes: u64) -> u64 {
    (bytes / 4096).max(16)
}

/// The rlimits of a sandbox's processes: name, soft, hard. None for processes: without a user namespace the kernel counts
/// those of all sandboxes of an engine together, so that one could take them from another. Each has its control group's.
#[must_use]
pub fn rlimits(limits: &Limits) -> [(&'static str, u64, u64); 5] {
    let (files, disk) = (u64::from(limits.open_files), limits.disk.get());
    [
        ("nofile", files, files * 4),
        ("core", 0, 0),
        ("memlock", LOCKED_MEMORY_MAX, LOCKED_MEMORY_MAX),
        ("fsize", disk, disk),
        ("sigpending", SIGNALS_MAX, SIGNALS_MAX),
    ]
}
