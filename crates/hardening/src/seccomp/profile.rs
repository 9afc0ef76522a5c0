//! The same filter in OCI's words, for runtimes that compile it themselves.
//!
//! One list says here what two stacked filters say elsewhere, and so whatever arguments are refused answer ENOSYS and not
//! EPERM. OCI compares whole registers, and of the arguments judged here the kernel looks at 32 bits: every comparison is
//! masked, lest junk in the high half hide a forbidden value. There is no masked "is not", so what may be anything but
//! some values is said by the stretches of numbers around them.

use serde_json::{Value, json};

use super::argument::{Check, GATED, Gated};
use super::{allowed_names, denied_names, unlisted};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: &str = "SCMP_ARCH_X86_64";
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: &str = "SCMP_ARCH_AARCH64";

/// Bits of an argument that the kernel looks at.
const BITS: u32 = 32;

/// That an argument, under a mask, is a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Masked {
    argument: u8,
    mask: u32,
    value: u32,
}

/// How a runtime is told to say that a call does not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// As an error of its own.
    Errno,
    /// The same, and said once more of each call that is left out on purpose: Docker before 23 has one error for all that
    /// is not named, which is EPERM, and C libraries give up at that.
    ErrnoByName,
    /// As a call that waits for a tracer, of which there is none: gVisor has one error for all refusals, which is EPERM. A
    /// tracer inside could let such a call pass, so that no argument that is dangerous is refused in this way.
    Trace,
}

/// `linux.seccomp` of an OCI configuration.
pub fn profile(unknown: Unknown) -> Value {
    let mut calls =
        vec![allow(&allowed_names().collect::<Vec<_>>()), deny(&denied_names().collect::<Vec<_>>())];
    for gated in GATED {
        calls.extend(match unknown {
            Unknown::Errno | Unknown::ErrnoByName => allowed_cases(gated).collect(),
            Unknown::Trace => first_match(gated),
        });
    }
    if unknown == Unknown::ErrnoByName {
        let names: Vec<&str> = unlisted().map(|(name, _)| name).collect();
        calls.push(json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::ENOSYS}));
    }
    let mut profile = match unknown {
        Unknown::Errno | Unknown::ErrnoByName => {
            json!({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": libc::ENOSYS})
        }
        Unknown::Trace => json!({"defaultAction": "SCMP_ACT_TRACE"}),
    };
    profile["architectures"] = json!([ARCHITECTURE]);
    profile["syscalls"] = json!(calls);
    profile
}

fn allowed_cases(gated: &Gated) -> impl Iterator<Item = Value> {
    alternatives(gated.allow).map(|args| with(allow(&[gated.syscall.name]), args))
}

/// Both answers of a judged call, for a runtime that takes the first rule that matches: the one with fewer cases, and
/// then the other for all that is left. gVisor compiles a program for each rule, and the kernel takes 4096 instructions.
fn first_match(gated: &Gated) -> Vec<Value> {
    let name = [gated.syscall.name];
    let allowed: Vec<_> = allowed_cases(gated).collect();
    let denied: Vec<_> = alternatives(gated.deny).map(|args| with(deny(&name), args)).collect();
    if allowed.len() <= denied.len() {
        allowed.into_iter().chain([deny(&name)]).collect()
    } else {
        denied.into_iter().chain([allow(&name)]).collect()
    }
}

fn allow(names: &[&str]) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ALLOW"})
}

fn deny(names: &[&str]) -> Value {
    json!({"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": libc::EPERM})
}

fn with(mut call: Value, args: Vec<Masked>) -> Value {
    call["args"] = args.into_iter().map(Masked::words).collect();
    call
}

fn alternatives(clauses: &'static [&'static [Check]]) -> impl Iterator<Item = Vec<Masked>> {
    clauses.iter().flat_map(|clause| expand(clause))
}

impl Masked {
    fn words(self) -> Value {
        let Self { argument, mask, value } = self;
        json!({"index": argument, "op": "SCMP_CMP_MASKED_EQ", "value": mask, "valueTwo": value})
    }
}

/// The clause as alternatives without "is not". Each looks at an argument once: runtimes take no more.
fn expand(clause: &[Check]) -> Vec<Vec<Masked>> {
    let mut plain = Vec::new();
    let mut excluded: Vec<(u8, Vec<u32>)> = Vec::new();
    for check in clause {
        match *check {
            Check::Is(argument, value) => plain.push(Masked { argument, mask: u32::MAX, value }),
            Check::Lacks(argument, bits) => plain.push(Masked { argument, mask: bits, value: 0 }),
            Check::Has(argument, bits) => plain.push(Masked { argument, mask: bits, value: bits }),
            Check::IsNot(argument, value) => match excluded.iter_mut().find(|(of, _)| *of == argument) {
                Some((_, values)) => values.push(value),
                None => excluded.push((argument, vec![value])),
            },
        }
    }
    excluded.into_iter().fold(vec![plain], |alternatives, (argument, values)| {
        let others = all_but(argument, &values);
        let with = |clause: &Vec<Masked>, other: &Masked| clause.iter().copied().chain([*other]).collect();
        alternatives.iter().flat_map(|clause| others.iter().map(move |other| with(clause, other))).collect()
    })
}

/// Every number but these: from the highest bit down, the stretches that leave the way to each of them.
fn all_but(argument: u8, values: &[u32]) -> Vec<Masked> {
    let mut stretches: Vec<Masked> = Vec::new();
    for value in values {
        for bit in 0..BITS {
            let mask = u32::MAX << bit;
            let beside = Masked { argument, mask, value: (value ^ (1 << bit)) & mask };
            let is_free = values.iter().all(|other| other & mask != beside.value);
            if is_free && !stretches.contains(&beside) {
                stretches.push(beside);
            }
        }
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_through(gated: &Gated, arguments: [u32; 3]) -> bool {
        let holds = |one: &Masked| arguments[usize::from(one.argument)] & one.mask == one.value;
        let said = |clauses| alternatives(clauses).any(|clause| clause.iter().all(holds));
        let (allowed, denied) = (said(gated.allow), said(gated.deny));
        assert_ne!(allowed, denied, "{} {arguments:x?} is said both ways, or neither", gated.syscall.name);
        allowed
    }

    fn allows(gated: &Gated, arguments: [u32; 3]) -> bool {
        let holds = |check: &Check| match *check {
            Check::Is(at, value) => arguments[usize::from(at)] == value,
            Check::IsNot(at, value) => arguments[usize::from(at)] != value,
            Check::Lacks(at, bits) => arguments[usize::from(at)] & bits == 0,
            Check::Has(at, bits) => arguments[usize::from(at)] & bits == bits,
        };
        gated.allow.iter().any(|clause| clause.iter().all(holds))
    }

    #[test]
    fn both_words_for_a_judged_call_mean_the_same() {
        let near = |value: u32| [value, value ^ 1, value.wrapping_add(1), value.wrapping_sub(1)];
        let mentioned =
            GATED.iter().flat_map(|gated| gated.allow).copied().flatten().map(|check| match *check {
                Check::Is(_, value)
                | Check::IsNot(_, value)
                | Check::Lacks(_, value)
                | Check::Has(_, value) => value,
            });
        let values: Vec<u32> = mentioned.chain((0..BITS).map(|bit| 1 << bit)).flat_map(near).collect();
        for gated in GATED {
            let mut answers = Vec::new();
            for value in &values {
                for other in [0, 1, 2, *value] {
                    let arguments = [*value, *value, other];
                    let answer = allows(gated, arguments);
                    assert_eq!(
                        lets_through(gated, arguments),
                        answer,
                        "{} {arguments:x?}",
                        gated.syscall.name
                    );
                    answers.push(answer);
                }
            }
            assert!(answers.contains(&true) && answers.contains(&false), "{}", gated.syscall.name);
        }
    }

    #[test]
    fn no_alternative_looks_at_an_argument_twice() {
        for clause in GATED.iter().flat_map(|gated| gated.allow).flat_map(|clause| expand(clause)) {
            let mut seen: Vec<u8> = clause.iter().map(|one| one.argument).collect();
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), clause.len());
        }
    }
}
