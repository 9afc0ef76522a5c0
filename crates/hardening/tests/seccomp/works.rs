//! What programs need works under the filter.

use std::io::ErrorKind::{NotFound, PermissionDenied};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output};

use agentkernel_hardening::seccomp::SeccompFilters;
use libc::{ENOSYS, EPERM};

use crate::child::{Ending, WORKLOAD_SECONDS_MAX, ending_of, full, in_child, number, raw};

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
