//! The system calls that are judged by their arguments.
//!
//! A filter sees the registers and nothing behind a pointer, and all the arguments judged here are 32 bits
//! wide to the kernel: only the low half of a register is compared, lest junk in the high half hide a
//! forbidden value.

use super::table::Syscall;
use seccompiler::{BackendError, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

/// A system call with some allowed and some refused arguments.
pub(super) struct Gated {
    pub(super) syscall: Syscall,
    /// It is let through when one of these holds.
    pub(super) allow: &'static [Clause],
    /// It answers EPERM when one of these holds: all that [`Self::allow`] leaves out. An argument forgotten
    /// by both lists answers ENOSYS, and a test looks for one.
    pub(super) deny: &'static [Clause],
}

/// Checks that must all hold.
type Clause = &'static [Check];

/// A comparison of the low half of one argument.
#[derive(Debug, Clone, Copy)]
pub(super) enum Check {
    /// The argument at this index is this value.
    Is(u8, u32),
    /// The argument at this index is not this value.
    IsNot(u8, u32),
    /// The argument at this index has none of these bits.
    Lacks(u8, u32),
    /// The argument at this index has all of these bits.
    Has(u8, u32),
}

impl Check {
    fn condition(self) -> Result<SeccompCondition, BackendError> {
        let (argument, operator, value) = match self {
            Self::Is(argument, value) => (argument, SeccompCmpOp::Eq, value),
            Self::IsNot(argument, value) => (argument, SeccompCmpOp::Ne, value),
            Self::Lacks(argument, bits) => (argument, SeccompCmpOp::MaskedEq(bits.into()), 0),
            Self::Has(argument, bits) => (argument, SeccompCmpOp::MaskedEq(bits.into()), bits),
        };
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value.into())
    }
}

/// The clauses as `seccompiler` takes them.
pub(super) fn rules(clauses: &[Clause]) -> Result<Vec<SeccompRule>, BackendError> {
    clauses
        .iter()
        .map(|clause| {
            let conditions: Result<Vec<_>, _> = clause.iter().map(|check| check.condition()).collect();
            SeccompRule::new(conditions?)
        })
        .collect()
}

/// Every call that is judged by its arguments.
pub(super) const GATED: &[Gated] = &[CLONE, SOCKET, SOCKETPAIR, PERSONALITY, IOCTL];

use Check::{Has, Is, IsNot, Lacks};

/// No new namespace. `CLONE_NEWTIME` cannot be asked for here: clone takes that bit for the exit signal.
const CLONE: Gated = Gated {
    syscall: Syscall::new("clone", libc::SYS_clone),
    allow: &[&[Lacks(
        0,
        NEW_MOUNTS | NEW_CGROUPS | NEW_HOST_NAME | NEW_IPC | NEW_USERS | NEW_PIDS | NEW_NETWORK,
    )]],
    deny: &[
        &[Has(0, NEW_MOUNTS)],
        &[Has(0, NEW_CGROUPS)],
        &[Has(0, NEW_HOST_NAME)],
        &[Has(0, NEW_IPC)],
        &[Has(0, NEW_USERS)],
        &[Has(0, NEW_PIDS)],
        &[Has(0, NEW_NETWORK)],
    ],
};

const NEW_MOUNTS: u32 = libc::CLONE_NEWNS.cast_unsigned();
const NEW_CGROUPS: u32 = libc::CLONE_NEWCGROUP.cast_unsigned();
const NEW_HOST_NAME: u32 = libc::CLONE_NEWUTS.cast_unsigned();
const NEW_IPC: u32 = libc::CLONE_NEWIPC.cast_unsigned();
const NEW_USERS: u32 = libc::CLONE_NEWUSER.cast_unsigned();
const NEW_PIDS: u32 = libc::CLONE_NEWPID.cast_unsigned();
const NEW_NETWORK: u32 = libc::CLONE_NEWNET.cast_unsigned();

/// The families that programs need on an empty network: no AF_VSOCK, AF_ALG, AF_PACKET, nor any other way
/// into rarely used kernel code; netlink for routes alone, which is how C libraries list interfaces.
const SOCKET: Gated = Gated {
    syscall: Syscall::new("socket", libc::SYS_socket),
    allow: &[&[Is(0, UNIX)], &[Is(0, INET)], &[Is(0, INET6)], &[Is(0, NETLINK), Is(2, NETLINK_ROUTE)]],
    deny: &[
        &[IsNot(0, UNIX), IsNot(0, INET), IsNot(0, INET6), IsNot(0, NETLINK)],
        &[Is(0, NETLINK), IsNot(2, NETLINK_ROUTE)],
    ],
};

/// Only AF_UNIX makes pairs that anybody uses.
const SOCKETPAIR: Gated = Gated {
    syscall: Syscall::new("socketpair", libc::SYS_socketpair),
    allow: &[&[Is(0, UNIX)]],
    deny: &[&[IsNot(0, UNIX)]],
};

const UNIX: u32 = libc::AF_UNIX.cast_unsigned();
const INET: u32 = libc::AF_INET.cast_unsigned();
const INET6: u32 = libc::AF_INET6.cast_unsigned();
const NETLINK: u32 = libc::AF_NETLINK.cast_unsigned();
const NETLINK_ROUTE: u32 = libc::NETLINK_ROUTE.cast_unsigned();

/// Plain Linux, with or without another word size or version number in uname, and the question which it is.
/// Whatever else a personality can switch on weakens the layout of memory.
const PERSONALITY: Gated = Gated {
    syscall: Syscall::new("personality", libc::SYS_personality),
    allow: &[
        &[Is(0, LINUX)],
        &[Is(0, LINUX32)],
        &[Is(0, UNAME26)],
        &[Is(0, LINUX32 | UNAME26)],
        &[Is(0, WHICH_IS_IT)],
    ],
    deny: &[&[
        IsNot(0, LINUX),
        IsNot(0, LINUX32),
        IsNot(0, UNAME26),
        IsNot(0, LINUX32 | UNAME26),
        IsNot(0, WHICH_IS_IT),
    ]],
};

const LINUX: u32 = 0;
const LINUX32: u32 = 0x0008;
const UNAME26: u32 = 0x0002_0000;
const WHICH_IS_IT: u32 = 0xffff_ffff;

/// Nothing that types into a terminal in its reader's name.
const IOCTL: Gated = Gated {
    syscall: Syscall::new("ioctl", libc::SYS_ioctl),
    allow: &[&[IsNot(1, TIOCSTI), IsNot(1, TIOCLINUX)]],
    deny: &[&[Is(1, TIOCSTI)], &[Is(1, TIOCLINUX)]],
};

// Not libc's: their type there depends on the C library.
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
