//! System calls that a sandbox has no use for.
//!
//! Calls that would change the machine get arguments that the kernel refuses only after it has checked the
//! permission. The comment above each such attempt says which refusal therefore proves that it would work.

use crate::attempt::{Attempt, Control, Errno, Outcome};
use crate::child::{Idle, in_child};
use crate::sys::{self, Reply, call};

/// A flag that no version of these calls knows.
const UNKNOWN_FLAG: i64 = 0x4000_0000;

const ABSENT: &std::ffi::CStr = c"/attack-probe-absent";

pub const ATTEMPTS: &[Attempt] = &[
    // ENOKEY: the kernel looked for the session's keyring.
    Attempt::new("keyctl", Control::Host, "ask for the session's keyring", |_| keyctl().into())
        .granted(&[libc::ENOKEY]),
    // EDQUOT: the kernel would add the key and the user has too many.
    Attempt::new("add-key", Control::Host, "add a key to the process's keyring", |_| {
        call!(libc::SYS_add_key, c"user", c"attack-probe", c"x", 1, PROCESS_KEYRING).into()
    })
    .granted(&[libc::EDQUOT]),
    // ENOKEY: the kernel looked for the key.
    Attempt::new("request-key", Control::Host, "look for a key", |_| {
        call!(libc::SYS_request_key, c"user", c"attack-probe-absent", 0, 0).into()
    })
    .granted(&[libc::ENOKEY]),
    // ENOENT and EOPNOTSUPP: the event is looked up after the permission check. ENODEV is an emulated
    // kernel that has no events.
    Attempt::new("perf-event-open", Control::Host, "open a software event of the own process", |_| {
        perf_event_open().into()
    })
    .granted(&[libc::ENOENT, libc::EOPNOTSUPP])
    .refused(&[libc::ENODEV]),
    Attempt::new("bpf", Control::Host, "create an eBPF map", |_| bpf().into()),
    Attempt::new("userfaultfd", Control::Host, "handle page faults of user mode", |_| {
        const USER_MODE_ONLY: i32 = 1;
        call!(libc::SYS_userfaultfd, libc::O_CLOEXEC | USER_MODE_ONLY).into()
    }),
    // ENOMEM: the ring would be set up, but for the limit on locked memory.
    Attempt::new("io-uring-setup", Control::Host, "set up an io_uring", |_| {
        call!(libc::SYS_io_uring_setup, 1, &mut [0; 120]).into()
    })
    .granted(&[libc::ENOMEM]),
    // EINVAL: unknown flags are refused after CAP_SYS_BOOT has been checked.
    Attempt::new("kexec-load", Control::Sandbox, "load a kernel (with unknown flags)", |_| {
        call!(libc::SYS_kexec_load, 0, 0, 0, UNKNOWN_FLAG).into()
    })
    .granted(&[libc::EINVAL]),
    // EINVAL, EBADF: flags and descriptors are looked at after CAP_SYS_BOOT has been checked.
    Attempt::new(
        "kexec-file-load",
        Control::Sandbox,
        "load a kernel from a file (with unknown flags)",
        |_| call!(KEXEC_FILE_LOAD, -1, -1, 0, 0, UNKNOWN_FLAG).into(),
    )
    .granted(&[libc::EINVAL, libc::EBADF]),
    // ENOEXEC: the (empty) image is looked at after CAP_SYS_MODULE has been checked.
    Attempt::new("init-module", Control::Host, "load a module (an empty image)", |_| {
        call!(libc::SYS_init_module, 0, 0, c"").into()
    })
    .granted(&[libc::ENOEXEC, libc::EFAULT]),
    // EINVAL, EBADF: flags and descriptor are looked at after CAP_SYS_MODULE has been checked.
    Attempt::new("finit-module", Control::Host, "load a module from a file (a bad descriptor)", |_| {
        call!(libc::SYS_finit_module, -1, c"", UNKNOWN_FLAG).into()
    })
    .granted(&[libc::EINVAL, libc::EBADF]),
    // ENOENT: the name is looked up after CAP_SYS_MODULE has been checked.
    Attempt::new("delete-module", Control::Host, "unload a module (of an absent name)", |_| {
        call!(libc::SYS_delete_module, c"attack_probe_absent", libc::O_NONBLOCK).into()
    })
    .granted(&[libc::ENOENT]),
    // EINVAL: the magic numbers are looked at after CAP_SYS_BOOT has been checked.
    Attempt::new("reboot", Control::Sandbox, "restart the machine (with wrong magic numbers)", |_| {
        call!(libc::SYS_reboot, 0, 0, 0, 0).into()
    })
    .granted(&[libc::EINVAL]),
    // ENOENT: the path is looked up after CAP_SYS_ADMIN has been checked.
    Attempt::new("swapon", Control::Host, "add swap (at an absent path)", |_| {
        call!(libc::SYS_swapon, ABSENT, 0).into()
    })
    .granted(&[libc::ENOENT]),
    Attempt::new("swapoff", Control::Sandbox, "remove swap (at an absent path)", |_| {
        call!(libc::SYS_swapoff, ABSENT).into()
    })
    .granted(&[libc::ENOENT]),
    // ENOENT: the path is looked up after CAP_SYS_PACCT has been checked.
    Attempt::new("acct", Control::Host, "write accounting (to an absent path)", |_| {
        call!(libc::SYS_acct, ABSENT).into()
    })
    .granted(&[libc::ENOENT]),
    Attempt::new("syslog", Control::Host, "read the kernel's log", |_| {
        const READ_ALL: i32 = 3;
        call!(libc::SYS_syslog, READ_ALL, &mut [0; 4096], 4096).into()
    }),
    // EINVAL: the time zone's range is checked after CAP_SYS_TIME; a wrong time would be refused before it.
    Attempt::new("settimeofday", Control::Sandbox, "set the time zone (out of range)", |_| {
        let mut zone = [0; 8];
        zone[..4].copy_from_slice(&100_000_i32.to_ne_bytes());
        call!(libc::SYS_settimeofday, 0, &mut zone).into()
    })
    .granted(&[libc::EINVAL]),
    // EINVAL: 1970 would be before the boot, which is seen after CAP_SYS_TIME has been checked.
    Attempt::new("clock-settime", Control::Sandbox, "set the clock (to before the boot)", |_| {
        call!(libc::SYS_clock_settime, libc::CLOCK_REALTIME, &mut [0; 16]).into()
    })
    .granted(&[libc::EINVAL]),
    // EINVAL: a tick of zero is refused after CAP_SYS_TIME has been checked.
    Attempt::new("adjtimex", Control::Sandbox, "change the clock's speed (to zero)", |_| {
        const ADJ_TICK: u32 = 0x4000;
        let mut timex = [0; 208];
        timex[..4].copy_from_slice(&ADJ_TICK.to_ne_bytes());
        call!(libc::SYS_adjtimex, &mut timex).into()
    })
    .granted(&[libc::EINVAL]),
    // EINVAL: a negative length is refused after CAP_SYS_ADMIN has been checked.
    Attempt::new("sethostname", Control::Host, "change the host's name (with a wrong length)", |_| {
        call!(libc::SYS_sethostname, c"x", -1).into()
    })
    .granted(&[libc::EINVAL]),
    Attempt::new("setdomainname", Control::Host, "change the domain's name (with a wrong length)", |_| {
        call!(libc::SYS_setdomainname, c"x", -1).into()
    })
    .granted(&[libc::EINVAL]),
    Attempt::new("quotactl", Control::Host, "have the quotas written to disk", |_| {
        const SYNC_USER_QUOTAS: u32 = 0x8000_0100;
        call!(libc::SYS_quotactl, SYNC_USER_QUOTAS, 0, 0, 0).into()
    }),
    // An emulated kernel refuses every personality but the plain one with EINVAL; Linux never says it.
    Attempt::new("personality", Control::Host, "make readable memory executable", |_| {
        call!(libc::SYS_personality, libc::READ_IMPLIES_EXEC).into()
    })
    .refused(&[libc::EINVAL]),
    Attempt::new("ptrace-sibling", Control::Host, "trace a sibling process", |_| ptrace_sibling()),
    Attempt::new("kcmp", Control::Host, "compare kernel objects of the own process", |_| {
        const KCMP_VM: i32 = 1;
        call!(libc::SYS_kcmp, sys::own_pid(), sys::own_pid(), KCMP_VM, 0, 0).into()
    }),
    Attempt::new("iopl", Control::Host, "use all I/O ports", |_| x86(IOPL, [3, 0, 0]).into()),
    Attempt::new("ioperm", Control::Host, "use the I/O port 0x80", |_| x86(IOPERM, [0x80, 1, 1]).into()),
    Attempt::new("x32-getpid", Control::Host, "getpid through the x32 interface", |_| {
        x86(libc::SYS_getpid | X32, [0; 3]).into()
    }),
    Attempt::new("x32-keyctl", Control::Host, "keyctl through the x32 interface", |_| {
        x86(libc::SYS_keyctl | X32, [0, SESSION_KEYRING.into(), 0]).into()
    })
    .granted(&[libc::ENOKEY]),
    // Not in the sandbox's promise by itself, but a filter that forgets it is a hole: see i386-keyctl.
    Attempt::new("i386-getpid", Control::Host, "getpid through int 0x80", |_| i386(20, 0, 0)).informational(),
    Attempt::new("i386-keyctl", Control::Host, "keyctl through int 0x80", |_| i386(288, 0, SESSION_KEYRING))
        .granted(&[libc::ENOKEY]),
];

const SESSION_KEYRING: i32 = -3;
const PROCESS_KEYRING: i32 = -2;

fn keyctl() -> Reply {
    const GET_KEYRING_ID: i32 = 0;
    call!(libc::SYS_keyctl, GET_KEYRING_ID, SESSION_KEYRING, 0)
}

/// struct perf_event_attr: type and size at 0 and 4, config at 8, flags at 40.
fn perf_event_open() -> Reply {
    const SOFTWARE: u32 = 1;
    const DUMMY: u8 = 9;
    const DISABLED_AND_NEITHER_KERNEL_NOR_HYPERVISOR: u8 = 0b110_0001;
    let mut attributes = [0; 128];
    attributes[..4].copy_from_slice(&SOFTWARE.to_ne_bytes());
    attributes[4..8].copy_from_slice(&128_u32.to_ne_bytes());
    attributes[8] = DUMMY;
    attributes[40] = DISABLED_AND_NEITHER_KERNEL_NOR_HYPERVISOR;
    call!(libc::SYS_perf_event_open, &mut attributes, 0, -1, -1, 0)
}

/// union bpf_attr for BPF_MAP_CREATE: type, size of key, size of value, entries.
fn bpf() -> Reply {
    const MAP_CREATE: i32 = 0;
    const ARRAY: u32 = 2;
    let mut attributes = [0; 72];
    for (at, value) in [ARRAY, 4, 4, 1].into_iter().enumerate() {
        attributes[at * 4..at * 4 + 4].copy_from_slice(&value.to_ne_bytes());
    }
    call!(libc::SYS_bpf, MAP_CREATE, &mut attributes, 72)
}

fn ptrace_sibling() -> Outcome {
    let victim = match Idle::start() {
        Ok(victim) => victim,
        Err(errno) => return Outcome::error(format!("no sibling: fork failed with errno {errno}")),
    };
    in_child(|| call!(libc::SYS_ptrace, libc::PTRACE_SEIZE, victim.pid, 0, 0))
}

/// The bit that marks a call of the x32 interface.
const X32: i64 = 0x4000_0000;

#[cfg(target_arch = "x86_64")]
const IOPL: i64 = libc::SYS_iopl;
#[cfg(target_arch = "x86_64")]
const IOPERM: i64 = libc::SYS_ioperm;
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: i64 = 320;

#[cfg(not(target_arch = "x86_64"))]
const IOPL: i64 = -1;
#[cfg(not(target_arch = "x86_64"))]
const IOPERM: i64 = -1;
// The number in the table that every newer architecture shares.
#[cfg(not(target_arch = "x86_64"))]
const KEXEC_FILE_LOAD: i64 = 294;

/// A call that only x86-64 has: elsewhere there is nothing to attack.
fn x86(number: i64, arguments: [i64; 3]) -> Reply {
    if !cfg!(target_arch = "x86_64") {
        return Err(libc::ENOSYS);
    }
    let [first, second, third] = arguments;
    call!(number, first, second, third)
}

/// Through the i386 gate. Where there is none, the kernel kills the caller with SIGSEGV.
fn i386(number: u32, first: i32, second: i32) -> Outcome {
    const NO_GATE: Errno = libc::ENOSYS;
    let pid = match sys::fork() {
        Ok(sys::Fork::Parent(pid)) => pid,
        Ok(sys::Fork::Child) => {
            let reply = sys::call_i386(number, first, second, 0);
            sys::exit_now(reply.map_or_else(|errno| errno.clamp(1, 255), |_| 0));
        }
        Err(errno) => return Outcome::error(format!("fork failed with errno {errno}")),
    };
    match sys::wait(pid, std::time::Duration::from_secs(5)) {
        Some(sys::End::Exited(0)) => Outcome::open("the i386 gate answered"),
        Some(sys::End::Exited(errno)) => Reply::Err(errno).into(),
        Some(sys::End::Killed(libc::SIGSEGV)) => Outcome::blocked(NO_GATE, "there is no i386 gate"),
        Some(sys::End::Killed(libc::SIGSYS)) => Outcome::blocked(0, "killed by the system call filter"),
        end => Outcome::error(format!("the child ended in a strange way: {end:?}")),
    }
}
