//! The seccomp filter of every sandbox: Docker's default shape, compiled here, with no libseccomp.
//!
//! Two filters are stacked; the kernel asks both and takes the more restrictive answer, and of two errors the
//! one of the filter that was installed last:
//!
//! 1. the *allow* filter lets the listed calls through and answers ENOSYS to everything else, so that C
//!    libraries fall back where a call is too young to be listed, or cannot be inspected (clone3);
//! 2. the *deny* filter answers EPERM to what is known to be dangerous, and to the refused arguments of otherwise
//!    harmless calls (new namespaces, rare socket families, typing into a terminal).
//!
//! A call with x32's bit set is in no list, hence ENOSYS. A call through another architecture's entry kills the
//! process (`int 0x80`, so that no 32-bit program runs, where Docker would let it).
//!
//! | list | answer | file |
//! |---|---|---|
//! | [`allowed_names`] | goes through | `seccomp/table.rs` |
//! | [`denied_names`] | EPERM | `seccomp/table.rs` |
//! | [`gated_names`] | by its arguments: goes through or EPERM | `seccomp/argument.rs` |
//! | [`unlisted`] | ENOSYS, with the reason | `seccomp/table.rs` |
//!
//! Architecture invariant: nothing here reads a profile from anywhere. The one there is, is in the code.

mod argument;
mod dispatch;
mod profile;
mod table;
#[cfg(test)]
mod verdict;

use argument::GATED;
use dispatch::Verdict;
pub use profile::{Unknown, profile};
use seccompiler::{BackendError, BpfProgram, SeccompAction, SeccompFilter, SeccompRule, TargetArch};
use std::collections::BTreeMap;
use table::{ALLOWED, DENIED, Syscall, UNLISTED};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

/// The same as the kernel calls it, `linux/audit.h`.
#[cfg(target_arch = "x86_64")]
const AUDIT_ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const AUDIT_ARCHITECTURE: u32 = 0xc000_00b7;

/// The compiled filters, ready to be installed in as many processes as one likes.
#[derive(Debug, Clone)]
pub struct SeccompFilters {
    allow: BpfProgram,
    deny: BpfProgram,
}

/// Why the filters could not be compiled or installed. In both cases nothing may be started.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    /// [`SeccompFilters::compile_without`] was asked to leave out something that blocks nothing.
    #[error("seccomp blocks nothing by the name of {name:?}, so it cannot be left out")]
    NothingToOmit {
        /// The name that was asked for.
        name: String,
    },
    /// The lists do not make a program that the kernel would take.
    #[error("cannot compile the seccomp {filter} filter")]
    Compile {
        /// Which of the two: "allow" or "deny".
        filter: &'static str,
        /// What the compiler found.
        source: BackendError,
    },
    /// The kernel refused the program.
    #[error("cannot install the seccomp {filter} filter")]
    Install {
        /// Which of the two: "allow" or "deny".
        filter: &'static str,
        /// What the kernel said.
        source: seccompiler::Error,
    },
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

impl SeccompFilters {
    /// How many filters [`Self::install`] adds: what `Seccomp_filters` in `/proc/PID/status` must grow by.
    pub const COUNT: usize = 2;

    /// The filters that every sandbox gets.
    pub fn compile() -> Result<Self, SeccompError> {
        Self::compile_without(&[])
    }

    /// **Weaker** filters, the negative control of tests: the named calls go through with any argument, and
    /// all else is as in [`Self::compile`]. A test that finds a call blocked proves something only when the
    /// same test finds it open here. No sandbox that runs anybody's code may have them.
    ///
    /// The names are those of [`denied_names`], [`gated_names`] and [`unlisted`]; any other is an error, for
    /// a control that drops nothing is blind.
    pub fn compile_without(omit: &[&str]) -> Result<Self, SeccompError> {
        if let Some(name) = omit.iter().find(|name| !is_blocked(name)) {
            return Err(SeccompError::NothingToOmit { name: (*name).to_owned() });
        }
        Self::of(omit, &[])
    }

    /// Filters that are **stricter** by these calls, for a process that holds a sandbox from outside.
    ///
    /// # Errors
    /// A name is none of a call's.
    pub fn compile_and_deny(more: &[&str]) -> Result<Self, SeccompError> {
        let number = |name: &&str| {
            syscall_number(name).ok_or_else(|| SeccompError::NothingToOmit { name: (*name).to_owned() })
        };
        Self::of(&[], &more.iter().map(number).collect::<Result<Vec<_>, _>>()?)
    }

    fn of(omit: &[&str], more: &[i64]) -> Result<Self, SeccompError> {
        let allow = allow_rules(omit)
            .and_then(|rules| program(rules, refuse_with(libc::ENOSYS), SeccompAction::Allow))
            .map_err(|source| SeccompError::Compile { filter: "allow", source })?;
        let deny = deny_rules(omit).and_then(|mut rules| {
            rules.extend(more.iter().map(|number| (*number, Vec::new())));
            program(rules, SeccompAction::Allow, refuse_with(libc::EPERM))
        });
        Ok(Self { allow, deny: deny.map_err(|source| SeccompError::Compile { filter: "deny", source })? })
    }

    /// Puts every thread of the process under the filters: otherwise as [`Self::install`].
    ///
    /// # Errors
    /// The kernel does not take them, or a thread has other filters.
    pub fn install_in_all_threads(&self) -> Result<(), SeccompError> {
        for (filter, program) in [("allow", &self.allow), ("deny", &self.deny)] {
            seccompiler::apply_filter_all_threads(program)
                .map_err(|source| SeccompError::Install { filter, source })?;
        }
        Ok(())
    }

    /// The filters in the order in which they are to be installed, for whoever installs them elsewhere: each as the number
    /// of its instructions (32 bits) and they, eight bytes each (`struct sock_filter`), all numbers little-endian.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for program in [&self.allow, &self.deny] {
            // The kernel takes 4096 instructions and no more (BPF_MAXINSNS).
            bytes.extend_from_slice(&u32::try_from(program.len()).unwrap_or(u32::MAX).to_le_bytes());
            for instruction in program {
                bytes.extend_from_slice(&instruction.code.to_le_bytes());
                bytes.extend_from_slice(&[instruction.jt, instruction.jf]);
                bytes.extend_from_slice(&instruction.k.to_le_bytes());
            }
        }
        bytes
    }

    /// Puts the calling thread, and all that it starts from now on, under the filters. There is no way back, and
    /// mounting, entering namespaces and the like are over: it is the last step before exec.
    ///
    /// It is guaranteed not to allocate, so that it may be called between fork and exec. It is not guaranteed
    /// that a failure leaves no filter behind: exit. The caller has set no_new_privs before; it is set here
    /// again, since without it a set-user-id program would get a filter that it does not expect.
    pub fn install(&self) -> Result<(), SeccompError> {
        // The order is the errno: of two refusals the kernel gives that of the filter installed last.
        apply("allow", &self.allow)?;
        apply("deny", &self.deny)
    }
}

fn apply(filter: &'static str, program: &BpfProgram) -> Result<(), SeccompError> {
    seccompiler::apply_filter(program).map_err(|source| SeccompError::Install { filter, source })
}

fn refuse_with(errno: i32) -> SeccompAction {
    SeccompAction::Errno(errno.cast_unsigned())
}

/// A call with rules is judged by its arguments; one without is known by its number.
fn program(
    rules: Rules,
    otherwise: SeccompAction,
    on_match: SeccompAction,
) -> Result<BpfProgram, BackendError> {
    let verdict = |rules: &[SeccompRule]| match rules {
        [] => Verdict::Answer(on_match.clone()),
        _ => Verdict::Judge,
    };
    // Every number in our tables is one of the kernel's, and those are small.
    let numbered =
        rules.iter().filter_map(|(number, rules)| Some((u32::try_from(*number).ok()?, verdict(rules))));
    let verdicts: Vec<_> = numbered.collect();
    let judged: Rules = rules.into_iter().filter(|(_, rules)| !rules.is_empty()).collect();
    let default = Verdict::Answer(otherwise.clone());
    let judge = SeccompFilter::new(judged, otherwise, on_match, ARCHITECTURE)?.try_into()?;
    Ok(dispatch::before(judge, AUDIT_ARCHITECTURE, &verdicts, &default))
}

/// What goes through. No rule for a number means: whatever the arguments.
fn allow_rules(omit: &[&str]) -> Result<Rules, BackendError> {
    let mut rules: Rules = calls(ALLOWED).map(|syscall| (syscall.number, Vec::new())).collect();
    for gated in GATED {
        rules.insert(gated.syscall.number, argument::rules(gated.allow)?);
    }
    for name in omit {
        if let Some(number) = syscall_number(name) {
            rules.insert(number, Vec::new());
        }
    }
    Ok(rules)
}

/// What answers EPERM.
fn deny_rules(omit: &[&str]) -> Result<Rules, BackendError> {
    let mut rules: Rules = calls(DENIED).map(|syscall| (syscall.number, Vec::new())).collect();
    for gated in GATED {
        rules.insert(gated.syscall.number, argument::rules(gated.deny)?);
    }
    for number in omit.iter().filter_map(|name| syscall_number(name)) {
        rules.remove(&number);
    }
    Ok(rules)
}

fn is_blocked(name: &str) -> bool {
    denied_names().chain(gated_names()).chain(unlisted().map(|(name, _)| name)).any(|blocked| blocked == name)
}

/// The calls that go through whatever their arguments are.
pub fn allowed_names() -> impl Iterator<Item = &'static str> {
    calls(ALLOWED).map(|syscall| syscall.name)
}

/// The calls that answer EPERM whatever their arguments are.
pub fn denied_names() -> impl Iterator<Item = &'static str> {
    calls(DENIED).map(|syscall| syscall.name)
}

/// The calls that go through with some arguments and answer EPERM with the others.
pub fn gated_names() -> impl Iterator<Item = &'static str> {
    GATED.iter().map(|gated| gated.syscall.name)
}

/// The calls that answer ENOSYS on purpose, each with the reason.
pub fn unlisted() -> impl Iterator<Item = (&'static str, &'static str)> {
    UNLISTED.iter().copied().flatten().map(|unlisted| (unlisted.syscall.name, unlisted.reason))
}

/// The number, on this architecture, of a call that is in any of the lists.
pub fn syscall_number(name: &str) -> Option<i64> {
    let gated = GATED.iter().map(|gated| &gated.syscall);
    let unlisted = UNLISTED.iter().copied().flatten().map(|unlisted| &unlisted.syscall);
    let mut all = calls(ALLOWED).chain(calls(DENIED)).chain(gated).chain(unlisted);
    all.find(|syscall| syscall.name == name).map(|syscall| syscall.number)
}

fn calls(lists: &'static [&'static [Syscall]]) -> impl Iterator<Item = &'static Syscall> {
    lists.iter().copied().flatten()
}
