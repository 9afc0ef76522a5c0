//! The seccomp filter attacked on the kernel that runs the tests: each rule both ways, and real programs
//! under it.
//!
//! A call is tried three times, each in a child of its own: with no filter, under the full one, and under the
//! one that lacks the rule. The first and the last answer must agree, so that it is the rule and nothing else
//! that blocks. What the kernel itself answers with EPERM (not root, locked down) proves nothing, and says so
//! on standard error.
//!
//! Refused calls get arguments that the kernel turns down: were the filter broken, still nothing would
//! happen.

use agentkernel_hardening::seccomp::{SeccompFilters, denied_names, gated_names, syscall_number, unlisted};
use libc::{ENOSYS, EPERM};
use std::io::ErrorKind::{NotFound, PermissionDenied};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

/// How long any child may take, in seconds: then SIGALRM ends it, and with it the test.
const CHILD_SECONDS_MAX: u32 = 20;
const WORKLOAD_SECONDS_MAX: u32 = 120;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The call worked.
    Fine,
    /// The call failed with this errno.
    Failed(i32),
    /// This signal killed the child.
    Killed(i32),
}

/// An exit code that no errno has.
const NOT_INSTALLED: i32 = 254;

/// Makes the call in a child, under the filters if any. The call may do nothing but system calls, for the
/// child is a copy of one thread of many.
fn in_child(filters: Option<&SeccompFilters>, call: impl Fn() -> i64) -> Ending {
    // SAFETY: the child makes system calls, among them the filters' installation, which does not allocate,
    // and ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", std::io::Error::last_os_error());
    if child == 0 {
        // SAFETY: these take numbers only. A session of its own keeps the test's terminal out of reach.
        unsafe {
            libc::alarm(CHILD_SECONDS_MAX);
            libc::setsid();
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        }
        let code = match filters.map(SeccompFilters::install) {
            Some(Err(_)) => NOT_INSTALLED,
            _ if call() == -1 => errno(),
            _ => 0,
        };
        // SAFETY: ends the child at once, running nothing of the parent's.
        unsafe { libc::_exit(code) }
    }
    ending_of(child)
}

fn ending_of(child: i32) -> Ending {
    let mut status = 0;
    // SAFETY: status outlives the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child, "waitpid: {}", std::io::Error::last_os_error());
    if libc::WIFSIGNALED(status) {
        return Ending::Killed(libc::WTERMSIG(status));
    }
    match libc::WEXITSTATUS(status) {
        0 => Ending::Fine,
        NOT_INSTALLED => panic!("the filters could not be installed"),
        errno => Ending::Failed(errno),
    }
}

fn errno() -> i32 {
    // SAFETY: the C library's address of this thread's errno is always readable.
    unsafe { *libc::__errno_location() }
}

fn raw(number: i64, [a, b, c, d, e, f]: [i64; 6]) -> i64 {
    // SAFETY: every caller passes numbers, or addresses of memory that it owns, or addresses that are not
    // mapped, which the kernel checks.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

fn number(name: &str) -> i64 {
    syscall_number(name).unwrap_or_else(|| panic!("{name} is in no list"))
}

fn full() -> SeccompFilters {
    SeccompFilters::compile().expect("the lists compile")
}

fn without(name: &str) -> SeccompFilters {
    SeccompFilters::compile_without(&[name]).expect("a blocked name")
}

/// The rule both ways: returns whether the kernel's own answer let the control see anything.
fn assert_blocked(name: &str, refusal: i32, arguments: [i64; 6]) -> bool {
    let call = || raw(number(name), arguments);
    let refused = Ending::Failed(refusal);
    assert_eq!(in_child(Some(&full()), call), refused, "{name} {arguments:x?} under the full filter");
    let free = in_child(None, call);
    assert_eq!(in_child(Some(&without(name)), call), free, "{name} {arguments:x?} without its rule");
    if free == refused {
        eprintln!("SKIPPED control: with no filter at all {name} {arguments:x?} answers {free:?} too");
    }
    free != refused
}

/// Arguments that every kernel turns down, or none for a call that takes none and acts.
fn harmless_arguments(name: &str) -> Option<[i64; 6]> {
    match name {
        "vhangup" => None,
        // -1 bytes would make the kernel try to allocate them; none is no module.
        "init_module" => Some([-1, 0, -1, 0, 0, 0]),
        _ => Some([-1; 6]),
    }
}

/// What the hardening goal promises to block, written out once more: the tests below go through the lists, and
/// would not miss a call that somebody moved from one list to another.
const PROMISED: &str = "
    keyctl add_key request_key bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register
    open_by_handle_at mount umount2 pivot_root move_mount fsopen fsconfig fsmount fspick open_tree open_tree_attr
    mount_setattr setns unshare kexec_load kexec_file_load init_module finit_module delete_module reboot swapon
    swapoff acct quotactl quotactl_fd settimeofday clock_settime sethostname setdomainname syslog vhangup chroot
    fanotify_init kcmp pidfd_getfd process_madvise mbind get_mempolicy set_mempolicy move_pages migrate_pages";

#[test]
fn the_promised_calls_are_in_the_lists_that_block_them() {
    let denied: Vec<&str> = denied_names().collect();
    assert_eq!(PROMISED.split_whitespace().find(|name| !denied.contains(name)), None);
    assert!(gated_names().eq(["clone", "socket", "socketpair", "personality", "ioctl"]));
    assert!(unlisted().any(|(name, _)| name == "clone3"));
}

#[test]
fn every_denied_call_answers_eperm_because_of_its_rule() {
    let mut seen = 0;
    for name in denied_names() {
        match harmless_arguments(name) {
            Some(arguments) => seen += usize::from(assert_blocked(name, EPERM, arguments)),
            None => {
                eprintln!("SKIPPED control: {name} takes no arguments that would make it fail");
                assert_eq!(in_child(Some(&full()), || raw(number(name), [0; 6])), Ending::Failed(EPERM));
            }
        }
    }
    let total = denied_names().count();
    eprintln!("{seen} of {total} denied calls were seen open with no filter");
    // SAFETY: takes nothing and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        assert!(seen * 2 > total, "root should be able to see most of them open");
    }
}

#[test]
fn every_unlisted_call_answers_enosys_and_clone3_because_it_is_not_listed() {
    for (name, _reason) in unlisted() {
        let seen = assert_blocked(name, ENOSYS, [-1; 6]);
        assert!(seen || name != "clone3", "the kernel itself should find a size of -1 too big");
    }
}

#[test]
fn no_clone_makes_a_namespace() {
    let new = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    for flag in new {
        // Shared signal handlers without shared memory: EINVAL before anything is cloned.
        let flags = i64::from(flag | libc::CLONE_SIGHAND);
        assert!(assert_blocked("clone", EPERM, [flags, 0, 0, 0, 0, 0]));
        assert!(assert_blocked("clone", EPERM, [flags | (0x5a5a << 32), 0, 0, 0, 0, 0]));
    }
}

#[test]
fn only_four_socket_families_open_and_netlink_for_routes_alone() {
    const RAW: i64 = libc::SOCK_RAW as i64;
    let netlink = i64::from(libc::AF_NETLINK);
    let fine = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6].map(i64::from);
    for family in fine {
        assert_same_answer("socket", [family, i64::from(libc::SOCK_STREAM), 0, 0, 0, 0]);
    }
    assert_same_answer("socket", [netlink, RAW, 0, 0, 0, 0]);
    let mut seen = 0;
    for family in (0..64).filter(|family| *family != netlink && !fine.contains(family)) {
        seen += usize::from(assert_blocked("socket", EPERM, [family, RAW, 0, 0, 0, 0]));
    }
    assert!(seen > 0, "no refused family was seen open");
    for protocol in 1..24 {
        assert_blocked("socket", EPERM, [netlink, RAW, protocol, 0, 0, 0]);
    }
    assert_blocked("socket", EPERM, [i64::from(libc::AF_VSOCK) | (1 << 32), RAW, 0, 0, 0, 0]);
}

#[test]
fn socket_pairs_are_of_the_unix_family() {
    for family in [libc::AF_UNSPEC, libc::AF_INET, libc::AF_TIPC, libc::AF_VSOCK] {
        let stream = i64::from(libc::SOCK_STREAM);
        assert!(assert_blocked("socketpair", EPERM, [i64::from(family), stream, 0, -1, 0, 0]));
    }
}

#[test]
fn a_personality_that_weakens_the_layout_of_memory_is_refused() {
    for fine in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        assert_same_answer("personality", [fine, 0, 0, 0, 0, 0]);
    }
    for weak in [libc::ADDR_NO_RANDOMIZE, libc::READ_IMPLIES_EXEC, libc::ADDR_COMPAT_LAYOUT] {
        assert!(assert_blocked("personality", EPERM, [i64::from(weak), 0, 0, 0, 0, 0]));
    }
}

#[test]
fn nothing_types_into_a_terminal() {
    for request in [0x5412, 0x541c, (7 << 32) | 0x5412] {
        assert!(assert_blocked("ioctl", EPERM, [-1, request, 0, 0, 0, 0]));
    }
    assert_same_answer("ioctl", [-1, 0x5413, 0, 0, 0, 0]);
}

/// The allowed side of a call that is judged by its arguments.
fn assert_same_answer(name: &str, arguments: [i64; 6]) {
    let call = || raw(number(name), arguments);
    let free = in_child(None, call);
    assert_ne!(free, Ending::Failed(EPERM), "{name} {arguments:x?} shows nothing");
    assert_eq!(in_child(Some(&full()), call), free, "{name} {arguments:x?}");
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_x32_entry_answers_enosys() {
    let getpid = || raw(0x4000_0000 | libc::SYS_getpid, [0; 6]);
    if in_child(None, getpid) == Ending::Failed(ENOSYS) {
        eprintln!("SKIPPED control: this kernel has no x32; the unit tests compute what the filter says");
    }
    assert_eq!(in_child(Some(&full()), getpid), Ending::Failed(ENOSYS));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_32_bit_entry_kills() {
    let getpid = || {
        let answer: i64;
        // SAFETY: getpid of the 32-bit table; it touches no memory, and the registers that it may lose are
        // named.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("rax") 20_i64 => answer, out("r8") _, out("r9") _,
                out("r10") _, out("r11") _, options(nostack));
        }
        answer
    };
    if in_child(None, getpid) != Ending::Fine {
        eprintln!("SKIPPED: this kernel has no 32-bit entry");
        return;
    }
    assert_eq!(in_child(Some(&full()), getpid), Ending::Killed(libc::SIGSYS));
}

/// A named way to use the kernel that must keep working; it returns -1 with an errno like a system call.
type Use = (&'static str, fn() -> i64);

const NO_ARGUMENTS: [i64; 6] = [0; 6];

/// Descriptors, messages and memory.
const USES_OF_FILES: &[Use] = &[
    ("pipe", || {
        let mut ends = [0_i32; 2];
        let mut byte = 0_u8;
        raw(libc::SYS_pipe2, [at(&mut ends), 0, 0, 0, 0, 0]);
        raw(libc::SYS_write, [ends[1].into(), at(&mut byte), 1, 0, 0, 0]);
        raw(libc::SYS_read, [ends[0].into(), at(&mut byte), 1, 0, 0, 0])
    }),
    ("epoll_pwait2", || {
        let epoll = raw(libc::SYS_epoll_create1, NO_ARGUMENTS);
        let (mut events, mut deadline) = ([0_u8; 12], [0_i64; 2]);
        raw(libc::SYS_epoll_pwait2, [epoll, at(&mut events), 1, at(&mut deadline), 0, 0])
    }),
    ("eventfd2", || raw(libc::SYS_eventfd2, NO_ARGUMENTS)),
    ("signalfd4", || raw(libc::SYS_signalfd4, [-1, at(&mut 0_u64), 8, 0, 0, 0])),
    ("inotify_init1", || raw(libc::SYS_inotify_init1, NO_ARGUMENTS)),
    ("memfd_create", || raw(libc::SYS_memfd_create, [c"m".as_ptr() as i64, 0, 0, 0, 0, 0])),
    ("memfd_secret", || raw(libc::SYS_memfd_secret, NO_ARGUMENTS)),
    ("mmap", || raw(libc::SYS_mmap, [0, 4096, 3, (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS).into(), -1, 0])),
    ("statx", || raw(libc::SYS_statx, [libc::AT_FDCWD.into(), root(), 0, 0, at(&mut [0_u64; 64]), 0])),
    ("faccessat2", || raw(libc::SYS_faccessat2, [libc::AT_FDCWD.into(), root(), 0, 0, 0, 0])),
    ("openat2", || raw(libc::SYS_openat2, [libc::AT_FDCWD.into(), root(), at(&mut [0_u64; 3]), 24, 0, 0])),
    ("fchmodat2", || raw(number("fchmodat2"), [-1, -1, 0, 0, 0, 0])),
    ("close_range", || raw(libc::SYS_close_range, [9000, 9001, 0, 0, 0, 0])),
    ("cachestat", || {
        let memory = raw(libc::SYS_memfd_create, [c"m".as_ptr() as i64, 0, 0, 0, 0, 0]);
        raw(number("cachestat"), [memory, at(&mut [0_u64; 2]), at(&mut [0_u64; 5]), 0, 0, 0])
    }),
    ("ioctl FIONREAD", || {
        let mut ends = [0_i32; 2];
        raw(libc::SYS_pipe2, [at(&mut ends), 0, 0, 0, 0, 0]);
        raw(libc::SYS_ioctl, [ends[0].into(), 0x541b, at(&mut 0_i32), 0, 0, 0])
    }),
    ("socketpair", || raw(libc::SYS_socketpair, [1, 1, 0, at(&mut [0_i32; 2]), 0, 0])),
    ("name_to_handle_at", || raw(libc::SYS_name_to_handle_at, [-1; 6])),
];

/// Processes, threads, and what a program asks about itself.
const USES_OF_PROCESSES: &[Use] = &[
    ("fork", || match fork_once() {
        0 => raw(libc::SYS_exit_group, [7, 0, 0, 0, 0, 0]),
        child => i64::from(ending_of(child) == Ending::Failed(7)) - 1,
    }),
    ("getrandom", || raw(libc::SYS_getrandom, [at(&mut 0_u64), 8, 0, 0, 0, 0])),
    ("futex", || raw(libc::SYS_futex, [at(&mut 0_u32), 1, 1, 0, 0, 0])),
    ("futex_waitv", || raw(libc::SYS_futex_waitv, NO_ARGUMENTS)),
    ("prlimit64", || raw(libc::SYS_prlimit64, [0, 7, 0, at(&mut [0_u64; 2]), 0, 0])),
    ("rseq", || raw(libc::SYS_rseq, [-1; 6])),
    ("membarrier", || raw(libc::SYS_membarrier, NO_ARGUMENTS)),
    ("landlock_create_ruleset", || raw(libc::SYS_landlock_create_ruleset, [0, 0, 1, 0, 0, 0])),
    ("landlock_add_rule", || raw(libc::SYS_landlock_add_rule, [-1; 6])),
    ("landlock_restrict_self", || raw(libc::SYS_landlock_restrict_self, [-1, 0, 0, 0, 0, 0])),
    ("seccomp", || raw(libc::SYS_seccomp, [2, 0, at(&mut { libc::SECCOMP_RET_ALLOW }), 0, 0, 0])),
    ("pidfd_open", || raw(libc::SYS_pidfd_open, [std::process::id().into(), 0, 0, 0, 0, 0])),
    ("process_mrelease", || raw(libc::SYS_process_mrelease, [-1, 0, 0, 0, 0, 0])),
    ("process_vm_readv", || raw(libc::SYS_process_vm_readv, [std::process::id().into(), 0, 0, 0, 0, 0])),
    ("ptrace", || raw(libc::SYS_ptrace, [libc::PTRACE_TRACEME.into(), 0, 0, 0, 0, 0])),
    ("adjtimex", || raw(libc::SYS_adjtimex, [at(&mut [0_u64; 32]), 0, 0, 0, 0, 0])),
    ("clock_adjtime", || raw(libc::SYS_clock_adjtime, [0, at(&mut [0_u64; 32]), 0, 0, 0, 0])),
];

#[test]
fn what_programs_need_works_as_it_does_with_no_filter() {
    let filters = full();
    for (name, call) in USES_OF_FILES.iter().chain(USES_OF_PROCESSES) {
        let free = in_child(None, call);
        assert_eq!(in_child(Some(&filters), call), free, "{name}");
        match free {
            Ending::Fine => {}
            // The filter says neither, so an equal answer can only be the kernel's.
            Ending::Failed(errno) if ![ENOSYS, EPERM].contains(&errno) => {
                eprintln!("{name}: the kernel's own errno {errno}");
            }
            other => eprintln!("SKIPPED {name}: with no filter at all it ends in {other:?}"),
        }
    }
}

fn at<T>(value: &mut T) -> i64 {
    std::ptr::from_mut(value).expose_provenance().cast_signed() as i64
}

fn root() -> i64 {
    c"/".as_ptr().expose_provenance().cast_signed() as i64
}

fn fork_once() -> i32 {
    // SAFETY: called in a child that has one thread; its own child exits at once.
    unsafe { libc::fork() }
}

#[test]
fn a_thread_starts_under_the_filter_and_its_status_shows_two_filters() {
    let status = std::thread::spawn(|| {
        let before = own_status("Seccomp_filters:");
        full().install().expect("the filters install");
        let after = std::thread::spawn(|| own_status("Seccomp_filters:")).join().expect("a thread starts");
        (before, after, own_status("Seccomp:"), own_status("NoNewPrivs:"))
    });
    let (before, after, mode, no_new_privileges) = status.join().expect("the thread ends");
    assert_eq!(after, before + SeccompFilters::COUNT);
    assert_eq!((mode, no_new_privileges), (2, 1));
}

/// A number of the calling thread, as the kernel shows it to everybody.
fn own_status(key: &str) -> usize {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("proc is mounted");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_else(|| panic!("no {key}"));
    line.trim().parse().expect("a number")
}

#[test]
fn real_programs_run_under_the_filter() {
    run("bash", &["-c", "cd / && x=$(echo a | tr a b; pwd) && wait && echo $x"], "b /");
    run("python3", &["-c", "import ctypes, ssl, hashlib, subprocess, threading; print(6*7)"], "42");
    run(
        "python3",
        &["-c", "import subprocess; print(subprocess.check_output(['echo', 'out']))"],
        r"b'out\n'",
    );
    run("python3", &["-m", "pip", "--version"], "pip");
    run("python3", &["-c", PYTHON_WAITS_AND_RESOLVES], "done");
    run("git", &["--version"], "git version");
    run("node", &["-e", "console.log(1 + 1)"], "2");
    run("npm", &["--version"], "");
    run("cargo", &["--version"], "cargo");
    for compiler in [C, RUST] {
        run("bash", &["-c", COMPILE_AND_RUN, "bash", compiler.0, compiler.1], "hello");
    }
}

const PYTHON_WAITS_AND_RESOLVES: &str = "
import asyncio, multiprocessing, socket, threading
asyncio.run(asyncio.sleep(0))
socket.getaddrinfo('127.0.0.1', 80)
thread = threading.Thread(target=print, args=('done',))
thread.start()
thread.join()
multiprocessing.Semaphore().acquire()
";

/// How to compile standard input, and a program.
const C: (&str, &str) =
    ("gcc -x c", r#"int puts(const char *); int main(void) { puts("hello"); return 0; }"#);
const RUST: (&str, &str) =
    ("rustc", r#"fn main() { std::thread::spawn(|| println!("hello")).join().unwrap(); }"#);

const COMPILE_AND_RUN: &str = r#"
command -v ${1%% *} >/dev/null || { echo hello; exit; }
set -e
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
printf '%s' "$2" | $1 -o "$folder/hello" -
"$folder/hello"
"#;

/// Runs a program from PATH under the full filter; its output must begin as expected. A missing program is
/// skipped.
fn run(program: &str, arguments: &[&str], expected: &str) {
    match output_under_filter(program, arguments) {
        Err(missing) if [NotFound, PermissionDenied].contains(&missing.kind()) => {
            eprintln!("SKIPPED {program}: {missing}");
        }
        Err(error) => panic!("{program}: {error}"),
        Ok(output) => {
            let shown = String::from_utf8_lossy(&output.stdout);
            let complaint = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{program} {arguments:?}: {}\n{complaint}", output.status);
            assert!(shown.starts_with(expected), "{program} {arguments:?}: {shown:?}\n{complaint}");
        }
    }
}

fn output_under_filter(program: &str, arguments: &[&str]) -> std::io::Result<Output> {
    let filters = full();
    #[expect(
        clippy::disallowed_methods,
        reason = "the filter goes in between fork and exec, which only std offers"
    )]
    let mut command = Command::new(program);
    // SAFETY: alarm and the installation are system calls; neither allocates.
    unsafe {
        command.pre_exec(move || {
            libc::alarm(WORKLOAD_SECONDS_MAX);
            filters.install().map_err(|_| std::io::Error::from_raw_os_error(libc::EINVAL))
        });
    }
    command.args(arguments).output()
}

#[test]
fn the_filters_as_bytes_are_two_programs_that_end_with_an_answer() {
    let bytes = SeccompFilters::compile().expect("compiled").bytes();
    let (mut rest, mut programs) = (&bytes[..], 0);
    while let Some((count, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*count)).expect("small") * 8;
        let (program, others) = after.split_at(length);
        let last = program.last_chunk::<8>().expect("an instruction");
        assert_eq!(&last[..4], &[6, 0, 0, 0], "BPF_RET | BPF_K");
        (rest, programs) = (others, programs + 1);
    }
    assert_eq!((rest.len(), programs), (0, SeccompFilters::COUNT));
}
