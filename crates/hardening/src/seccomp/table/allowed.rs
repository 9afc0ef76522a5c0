//! The calls that are allowed.

use super::{Syscall, syscalls};

/// Calls that go through whatever their arguments are.
pub(in crate::seccomp) const ALLOWED: &[&[Syscall]] =
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
