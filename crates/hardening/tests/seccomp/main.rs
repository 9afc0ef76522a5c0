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

mod child;
mod works;

use agentkernel_hardening::seccomp::{SeccompFilters, denied_names, gated_names, unlisted};
use libc::{ENOSYS, EPERM};

use child::{Ending, assert_blocked, full, harmless_arguments, in_child, number, raw};

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
