//! One call in a child of its own, under filters or none.

use agentkernel_hardening::seccomp::{SeccompFilters, syscall_number};

/// How long any child may take, in seconds: then SIGALRM ends it, and with it the test.
const CHILD_SECONDS_MAX: u32 = 20;
pub const WORKLOAD_SECONDS_MAX: u32 = 120;

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
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
pub fn in_child(filters: Option<&SeccompFilters>, call: impl Fn() -> i64) -> Ending {
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

pub fn ending_of(child: i32) -> Ending {
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

pub fn raw(number: i64, [a, b, c, d, e, f]: [i64; 6]) -> i64 {
    // SAFETY: every caller passes numbers, or addresses of memory that it owns, or addresses that are not
    // mapped, which the kernel checks.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

pub fn number(name: &str) -> i64 {
    syscall_number(name).unwrap_or_else(|| panic!("{name} is in no list"))
}

pub fn full() -> SeccompFilters {
    SeccompFilters::compile().expect("the lists compile")
}

fn without(name: &str) -> SeccompFilters {
    SeccompFilters::compile_without(&[name]).expect("a blocked name")
}

/// The rule both ways: returns whether the kernel's own answer let the control see anything.
pub fn assert_blocked(name: &str, refusal: i32, arguments: [i64; 6]) -> bool {
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
pub fn harmless_arguments(name: &str) -> Option<[i64; 6]> {
    match name {
        "vhangup" => None,
        // -1 bytes would make the kernel try to allocate them; none is no module.
        "init_module" => Some([-1, 0, -1, 0, 0, 0]),
        _ => Some([-1; 6]),
    }
}
