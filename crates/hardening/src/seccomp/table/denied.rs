//! The calls that are refused.

use super::{Syscall, syscalls};

/// Calls that answer EPERM whatever their arguments are.
pub(in crate::seccomp) const DENIED: &[&[Syscall]] =
    &[MOUNTS, KERNEL, HOST_STATE, KEYS_AND_TRACING, OTHER_PROCESSES, DENIED_YOUNG, DENIED_HERE_ONLY];

/// Mounts and namespaces, by path or by handle.
const MOUNTS: &[Syscall] = syscalls! {
    SYS_chroot SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_mount SYS_mount_setattr SYS_move_mount
    SYS_open_by_handle_at SYS_open_tree SYS_pivot_root SYS_setns SYS_umount2 SYS_unshare
};

/// New code or a new interpreter of code inside the kernel.
const KERNEL: &[Syscall] = syscalls! {
    SYS_bpf SYS_delete_module SYS_finit_module SYS_init_module SYS_io_uring_enter SYS_io_uring_register
    SYS_io_uring_setup SYS_kexec_load SYS_userfaultfd
};

/// What belongs to the whole host: its power, clock, name, swap, quotas, terminals, log.
const HOST_STATE: &[Syscall] = syscalls! {
    SYS_acct SYS_clock_settime SYS_fanotify_init SYS_nfsservctl SYS_quotactl SYS_quotactl_fd SYS_reboot
    SYS_setdomainname SYS_sethostname SYS_settimeofday SYS_swapoff SYS_swapon SYS_syslog SYS_vhangup
};

/// Key rings, which no namespace divides, and the kernel's own instruments.
const KEYS_AND_TRACING: &[Syscall] = syscalls! {
    SYS_add_key SYS_keyctl SYS_lookup_dcookie SYS_perf_event_open SYS_request_key
};

/// Reaching into another process beyond what ptrace checks, and into the placement of memory.
const OTHER_PROCESSES: &[Syscall] = syscalls! {
    SYS_get_mempolicy SYS_kcmp SYS_mbind SYS_migrate_pages SYS_move_pages SYS_pidfd_getfd
    SYS_process_madvise SYS_set_mempolicy SYS_set_mempolicy_home_node
};

/// As [`ALLOWED_YOUNG`], refused.
const DENIED_YOUNG: &[Syscall] = &[
    Syscall::new("kexec_file_load", if cfg!(target_arch = "x86_64") { 320 } else { 294 }),
    Syscall::new("lsm_get_self_attr", 459),
    Syscall::new("lsm_set_self_attr", 460),
    Syscall::new("lsm_list_modules", 461),
    Syscall::new("open_tree_attr", 467),
];

/// Mostly gone from the kernel, or never there; refused in case an old one still has them.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE_ONLY: &[Syscall] = &[
    Syscall::new("uselib", 134),
    Syscall::new("ustat", 136),
    Syscall::new("sysfs", 139),
    Syscall::new("iopl", 172),
    Syscall::new("ioperm", 173),
    Syscall::new("create_module", 174),
    Syscall::new("get_kernel_syms", 177),
    Syscall::new("query_module", 178),
];

#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE_ONLY: &[Syscall] = &[];
