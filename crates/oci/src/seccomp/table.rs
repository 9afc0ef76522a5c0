//! The system calls by name: which are allowed, which are refused, and which are left out, with the reason.
//!
//! Together with the calls that are judged by their arguments ([`super::argument::GATED`]) these lists claim
//! every number that Linux has handed out up to [`HIGHEST`], each once: an assertion at the end of this file
//! fails to compile otherwise, on every architecture.
//!
//! Architecture invariant: this file is data. What a list means is said in [`super`].

/// One system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Syscall {
    /// The name under which the kernel's table knows it.
    pub(super) name: &'static str,
    /// Its number on the architecture that this is compiled for.
    pub(super) number: i64,
}

impl Syscall {
    /// A call that `libc` has no constant for.
    pub(super) const fn new(name: &'static str, number: i64) -> Self {
        Self { name, number }
    }

    /// A call named as `libc` names its constant, `SYS_` in front.
    pub(super) const fn from_constant(constant: &'static str, number: i64) -> Self {
        let (_prefix, name) = constant.split_at("SYS_".len());
        Self { name, number }
    }
}

/// The calls whose `libc` constants are listed.
macro_rules! syscalls {
    ($($constant:ident)*) => {
        &[$(Syscall::from_constant(stringify!($constant), libc::$constant)),*]
    };
}

/// A call that a seccomp profile leaves to the ENOSYS of the unknown, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unlisted {
    pub(super) syscall: Syscall,
    pub(super) reason: &'static str,
}

/// Calls that go through whatever their arguments are.
pub(super) const ALLOWED: &[&[Syscall]] =
    &[FILES, DESCRIPTORS, MEMORY, PROCESSES, SIGNALS_AND_TIME, MESSAGES, ALLOWED_YOUNG, ALLOWED_HERE_ONLY];

const FILES: &[Syscall] = syscalls! {
    SYS_chdir SYS_copy_file_range SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate
    SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fdatasync
    SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs SYS_fsync
    SYS_ftruncate SYS_getcwd SYS_getdents64 SYS_getxattr SYS_inotify_add_watch SYS_inotify_init1
    SYS_inotify_rm_watch SYS_lgetxattr SYS_linkat SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek
    SYS_lsetxattr SYS_mkdirat SYS_mknodat SYS_name_to_handle_at SYS_newfstatat SYS_openat SYS_openat2
    SYS_readahead SYS_readlinkat SYS_removexattr SYS_renameat SYS_renameat2 SYS_setxattr SYS_statfs
    SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs SYS_truncate SYS_umask SYS_unlinkat
    SYS_utimensat
};

const DESCRIPTORS: &[Syscall] = syscalls! {
    SYS_close SYS_close_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait
    SYS_epoll_pwait2 SYS_eventfd2 SYS_fcntl SYS_io_cancel SYS_io_destroy SYS_io_getevents SYS_io_setup
    SYS_io_submit SYS_pipe2 SYS_ppoll SYS_pread64 SYS_preadv SYS_preadv2 SYS_pselect6 SYS_pwrite64
    SYS_pwritev SYS_pwritev2 SYS_read SYS_readv SYS_sendfile SYS_splice SYS_tee SYS_vmsplice SYS_write
    SYS_writev
};

const MEMORY: &[Syscall] = syscalls! {
    SYS_brk SYS_madvise SYS_membarrier SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mlock SYS_mlock2
    SYS_mlockall SYS_mmap SYS_mprotect SYS_mremap SYS_mseal SYS_msync SYS_munlock SYS_munlockall
    SYS_munmap SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_remap_file_pages
};

const PROCESSES: &[Syscall] = syscalls! {
    SYS_capget SYS_capset SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_futex SYS_futex_waitv
    SYS_get_robust_list SYS_getcpu SYS_getegid SYS_geteuid SYS_getgid SYS_getgroups SYS_getpgid SYS_getpid
    SYS_getppid SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_getrusage
    SYS_getsid SYS_gettid SYS_getuid SYS_ioprio_get SYS_ioprio_set SYS_landlock_add_rule
    SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_pidfd_open SYS_prctl SYS_prlimit64
    SYS_process_mrelease SYS_process_vm_readv SYS_process_vm_writev SYS_ptrace SYS_rseq
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getaffinity SYS_sched_getattr
    SYS_sched_getparam SYS_sched_getscheduler SYS_sched_rr_get_interval SYS_sched_setaffinity
    SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp
    SYS_set_robust_list SYS_set_tid_address SYS_setfsgid SYS_setfsuid SYS_setgid SYS_setgroups SYS_setpgid
    SYS_setpriority SYS_setregid SYS_setresgid SYS_setresuid SYS_setreuid SYS_setrlimit SYS_setsid
    SYS_setuid SYS_sysinfo SYS_uname SYS_wait4 SYS_waitid
};

// The kernel itself asks for CAP_SYS_TIME in the initial user namespace before adjtimex or clock_adjtime
// change anything; glibc reads the clock's state through them.
const SIGNALS_AND_TIME: &[Syscall] = syscalls! {
    SYS_adjtimex SYS_clock_adjtime SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_getitimer
    SYS_gettimeofday SYS_kill SYS_nanosleep SYS_pidfd_send_signal SYS_restart_syscall SYS_rt_sigaction
    SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend
    SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_setitimer SYS_sigaltstack SYS_signalfd4 SYS_tgkill
    SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime
    SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill
};

const MESSAGES: &[Syscall] = syscalls! {
    SYS_accept SYS_accept4 SYS_bind SYS_connect SYS_getpeername SYS_getsockname SYS_getsockopt SYS_listen
    SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend SYS_mq_unlink
    SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_semctl
    SYS_semget SYS_semop SYS_semtimedop SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setsockopt SYS_shmat
    SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown
};

/// What `libc` has no constant for on some architecture or C library. From 403 on, numbers are the same
/// everywhere.
const ALLOWED_YOUNG: &[Syscall] = &[
    Syscall::new("io_pgetevents", if cfg!(target_arch = "x86_64") { 333 } else { 292 }),
    Syscall::new("cachestat", 451),
    Syscall::new("fchmodat2", 452),
    Syscall::new("map_shadow_stack", 453),
    Syscall::new("futex_wake", 454),
    Syscall::new("futex_wait", 455),
    Syscall::new("futex_requeue", 456),
    Syscall::new("setxattrat", 463),
    Syscall::new("getxattrat", 464),
    Syscall::new("listxattrat", 465),
    Syscall::new("removexattrat", 466),
    // Only the trampolines that the kernel maps when the host traces a program may call these two, and a
    // program whose trampoline is refused dies. Kernels from 6.14 on do not even ask the filter.
    #[cfg(target_arch = "x86_64")]
    Syscall::new("uretprobe", 335),
    #[cfg(target_arch = "x86_64")]
    Syscall::new("uprobe", 336),
];

/// What newer architectures spell with one of the calls above.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE_ONLY: &[Syscall] = syscalls! {
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create
    SYS_epoll_wait SYS_eventfd SYS_fork SYS_futimesat SYS_get_thread_area SYS_getdents SYS_getpgrp
    SYS_inotify_init SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open SYS_pause
    SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select SYS_set_thread_area SYS_signalfd
    SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utime SYS_utimes SYS_vfork
};

#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE_ONLY: &[Syscall] = &[];

/// Calls that answer EPERM whatever their arguments are.
pub(super) const DENIED: &[&[Syscall]] =
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

/// Calls that answer ENOSYS like a call that this file has never heard of, on purpose.
pub(super) const UNLISTED: &[&[Unlisted]] = &[UNLISTED_YOUNG, UNLISTED_HERE_ONLY];

const UNLISTED_YOUNG: &[Unlisted] = &[
    unlisted(
        "clone3",
        435,
        "its flags lie in memory, where no filter can read them; C libraries fall back to clone",
    ),
    unlisted(
        "statmount",
        457,
        "libmount falls back to /proc/self/mountinfo, which the posture test compares",
    ),
    unlisted(
        "listmount",
        458,
        "libmount falls back to /proc/self/mountinfo, which the posture test compares",
    ),
    unlisted("file_getattr", 468, "too young to be needed; the ioctl on an open file does the same"),
    unlisted("file_setattr", 469, "too young to be needed; the ioctl on an open file does the same"),
    unlisted("listns", 470, "a sandbox has no business with other namespaces"),
];

#[cfg(target_arch = "x86_64")]
const UNLISTED_HERE_ONLY: &[Unlisted] = &[
    unlisted("_sysctl", libc::SYS__sysctl, "gone since Linux 5.5"),
    unlisted("getpmsg", libc::SYS_getpmsg, "a number that Linux never used"),
    unlisted("putpmsg", libc::SYS_putpmsg, "a number that Linux never used"),
    unlisted("afs_syscall", libc::SYS_afs_syscall, "a number that Linux never used"),
    unlisted("tuxcall", libc::SYS_tuxcall, "a number that Linux never used"),
    unlisted("security", libc::SYS_security, "a number that Linux never used"),
    unlisted("vserver", libc::SYS_vserver, "a number that Linux never used"),
    unlisted("epoll_ctl_old", 214, "a number that Linux never used"),
    unlisted("epoll_wait_old", 215, "a number that Linux never used"),
];

#[cfg(not(target_arch = "x86_64"))]
const UNLISTED_HERE_ONLY: &[Unlisted] = &[];

const fn unlisted(name: &'static str, number: i64, reason: &'static str) -> Unlisted {
    Unlisted { syscall: Syscall::new(name, number), reason }
}

/// The highest number that the lists above account for: Linux 6.19.
const HIGHEST: usize = 470;

/// Numbers up to [`HIGHEST`] that Linux has not handed out on this architecture, first and last of each gap.
#[cfg(target_arch = "x86_64")]
const UNASSIGNED: &[(i64, i64)] = &[(337, 423)];
#[cfg(target_arch = "aarch64")]
const UNASSIGNED: &[(i64, i64)] = &[(244, 259), (295, 423)];

/// How many times each number is claimed by a list or by a gap.
const fn claims() -> [u8; HIGHEST + 1] {
    let mut claims = [0; HIGHEST + 1];
    claim_lists(&mut claims, ALLOWED);
    claim_lists(&mut claims, DENIED);
    let mut list = 0;
    while list < UNLISTED.len() {
        let mut entry = 0;
        while entry < UNLISTED[list].len() {
            claim(&mut claims, UNLISTED[list][entry].syscall.number);
            entry += 1;
        }
        list += 1;
    }
    let mut gated = 0;
    while gated < super::argument::GATED.len() {
        claim(&mut claims, super::argument::GATED[gated].syscall.number);
        gated += 1;
    }
    claim_gaps(&mut claims);
    claims
}

const fn claim_lists(claims: &mut [u8], lists: &[&[Syscall]]) {
    let mut list = 0;
    while list < lists.len() {
        let mut entry = 0;
        while entry < lists[list].len() {
            claim(claims, lists[list][entry].number);
            entry += 1;
        }
        list += 1;
    }
}

const fn claim_gaps(claims: &mut [u8]) {
    let mut gap = 0;
    while gap < UNASSIGNED.len() {
        let (mut number, last) = UNASSIGNED[gap];
        while number <= last {
            claim(claims, number);
            number += 1;
        }
        gap += 1;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index out of range does not compile"
)]
const fn claim(claims: &mut [u8], number: i64) {
    claims[number as usize] += 1;
}

const _: () = {
    let claims = claims();
    let mut number = 0;
    while number < claims.len() {
        if claims[number] != 1 {
            // The compiler's complaint about this index names the number that is in no list, or in two.
            let _the_number: () = [][number];
        }
        number += 1;
    }
};
