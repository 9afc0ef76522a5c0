//! The system calls by name: which are allowed, which are refused, and which are left out, with the reason.
//!
//! Together with the calls that are judged by their arguments ([`super::argument::GATED`]) these lists claim
//! every number that Linux has handed out up to [`complete::HIGHEST`], each once: [`complete`] does not compile
//! otherwise, on any architecture.
//!
//! Architecture invariant: these files are data. What a list means is said in [`super`].

mod allowed;
mod complete;
mod denied;
mod unlisted;

pub(super) use allowed::ALLOWED;
pub(super) use denied::DENIED;
pub(super) use unlisted::UNLISTED;

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
// So that the files below can import it.
use syscalls;

/// A call that a seccomp profile leaves to the ENOSYS of the unknown, and why.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unlisted {
    pub(super) syscall: Syscall,
    pub(super) reason: &'static str,
}
