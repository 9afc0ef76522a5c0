//! What the kernel would answer, computed instead of asked: the only way to try *every* number and
//! architecture without one of the calls acting.

use super::{
    GATED, SeccompFilters, allowed_names, argument::Check, denied_names, gated_names, syscall_number,
    unlisted,
};
use seccompiler::sock_filter;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();

const X86_64: u32 = 0xc000_003e;
const AARCH64: u32 = 0xc000_00b7;
const I386: u32 = 0x4000_0003;
const ARM: u32 = 0x4000_0028;
const HERE: u32 = if cfg!(target_arch = "x86_64") { X86_64 } else { AARCH64 };

/// One call as the kernel shows it to a filter.
struct Call {
    number: u32,
    architecture: u32,
    arguments: [u64; 6],
}

impl Call {
    fn new(number: i64, arguments: [u64; 6]) -> Self {
        let number = u32::try_from(number).expect("system call numbers are small");
        Self { number, architecture: HERE, arguments }
    }

    /// `struct seccomp_data` as 32-bit words, little-endian.
    #[expect(clippy::cast_possible_truncation, reason = "the halves of a register")]
    fn words(&self) -> [u32; 16] {
        let mut words = [0; 16];
        words[0] = self.number;
        words[1] = self.architecture;
        for (index, argument) in self.arguments.iter().enumerate() {
            words[4 + 2 * index] = *argument as u32;
            words[5 + 2 * index] = (*argument >> 32) as u32;
        }
        words
    }
}

/// The kernel's interpreter, as far as `seccompiler` writes programs for it.
fn run(program: &[sock_filter], words: &[u32; 16]) -> u32 {
    let mut accumulator = 0;
    let mut at = 0;
    loop {
        let sock_filter { code, jt, jf, k } = program[at];
        let branch = |taken: bool| usize::from(if taken { jt } else { jf });
        at += 1;
        match code {
            0x20 => accumulator = words[k as usize / 4],
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => at += branch(accumulator == k),
            0x25 => at += branch(accumulator > k),
            0x35 => at += branch(accumulator >= k),
            0x06 => return k,
            other => panic!("unexpected instruction {other:#x}"),
        }
    }
}

/// The answer of the stack: the last filter first, another only if it is strictly more restrictive.
fn verdict(filters: &SeccompFilters, call: &Call) -> u32 {
    let rank = |answer: u32| (answer & libc::SECCOMP_RET_ACTION_FULL).cast_signed();
    let words = call.words();
    let [last, first] = [run(&filters.deny, &words), run(&filters.allow, &words)];
    if rank(first) < rank(last) { first } else { last }
}

fn filters() -> SeccompFilters {
    SeccompFilters::compile().expect("the lists compile")
}

fn number(name: &str) -> i64 {
    syscall_number(name).unwrap_or_else(|| panic!("{name} is in no list"))
}

const WILD: [[u64; 6]; 3] = [[0; 6], [u64::MAX; 6], [0x1234_5678_9abc_def0; 6]];

#[test]
fn each_list_gets_its_answer_whatever_the_arguments() {
    let filters = filters();
    let unlisted_names = || unlisted().map(|(name, _)| name);
    for arguments in WILD {
        let answer = |name| verdict(&filters, &Call::new(number(name), arguments));
        assert_eq!(allowed_names().find(|name| answer(name) != ALLOW), None);
        assert_eq!(denied_names().find(|name| answer(name) != EPERM), None);
        assert_eq!(unlisted_names().find(|name| answer(name) != ENOSYS), None);
    }
}

#[test]
fn a_number_in_no_list_answers_enosys() {
    let filters = filters();
    let listed: Vec<i64> = allowed_names().chain(denied_names()).chain(gated_names()).map(number).collect();
    for number in (0..2048).filter(|number| !listed.contains(number)) {
        assert_eq!(verdict(&filters, &Call::new(number, WILD[1])), ENOSYS, "{number}");
    }
}

#[test]
fn every_x32_number_answers_enosys() {
    let filters = filters();
    for number in 0..2048 {
        let call = Call::new(number | 0x4000_0000, [0; 6]);
        assert_eq!(verdict(&filters, &call), ENOSYS, "{number}");
    }
}

#[test]
fn another_architecture_is_killed() {
    let filters = filters();
    for architecture in [X86_64, AARCH64, I386, ARM, 0].into_iter().filter(|other| *other != HERE) {
        for number in 0..2048 {
            let call = Call { architecture, ..Call::new(number, [0; 6]) };
            assert_eq!(verdict(&filters, &call), libc::SECCOMP_RET_KILL_PROCESS, "{number}");
        }
    }
}

#[test]
fn without_a_rule_that_call_and_no_other_goes_through() {
    let full = filters();
    for name in denied_names().chain(gated_names()).chain(unlisted().map(|(name, _)| name)) {
        let weaker = SeccompFilters::compile_without(&[name]).expect("a blocked name");
        for other in 0..512 {
            for arguments in WILD {
                let call = Call::new(other, arguments);
                let expected = if other == number(name) { ALLOW } else { verdict(&full, &call) };
                assert_eq!(verdict(&weaker, &call), expected, "{other} without {name}");
            }
        }
    }
}

#[test]
fn gated_calls_go_through_or_answer_eperm_and_the_words_say_which() {
    let filters = filters();
    for name in gated_names() {
        let mut seen = Vec::new();
        for low in interesting_values() {
            for other in [0, 1, 0x8_0000, 0xffff_ffff] {
                for junk in [0, 0xffff_ffff_0000_0000] {
                    let arguments = in_order(name, low | junk, other | junk);
                    let answer = verdict(&filters, &Call::new(number(name), arguments));
                    assert_eq!(answer == ALLOW, is_fine(name, low, other), "{name}({low:#x}, {other:#x})");
                    assert!([ALLOW, EPERM].contains(&answer), "{name}({low:#x}) answers {answer:#x}");
                    seen.push(answer);
                }
            }
        }
        assert!(seen.contains(&ALLOW) && seen.contains(&EPERM), "{name} was tried one way only");
    }
}

/// The rule in Rust's words instead of the tables': `low` is the argument that is judged, `other` the
/// protocol.
#[expect(clippy::cast_possible_truncation, reason = "the values tried are 32 bits wide")]
fn is_fine(name: &str, low: u64, other: u64) -> bool {
    match name {
        "clone" => low & 0x7e02_0000 == 0,
        "socket" => match low as i32 {
            libc::AF_UNIX | libc::AF_INET | libc::AF_INET6 => true,
            libc::AF_NETLINK => other == 0,
            _ => false,
        },
        "socketpair" => low as i32 == libc::AF_UNIX,
        "personality" => [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff].contains(&low),
        "ioctl" => ![0x5412, 0x541c].contains(&low),
        unknown => panic!("no words for {unknown}"),
    }
}

fn in_order(name: &str, low: u64, other: u64) -> [u64; 6] {
    match name {
        "ioctl" => [other, low, 0, 0, 0, 0],
        _ => [low, 2, other, 0, 0, 0],
    }
}

/// Small numbers, every single bit and its neighbours, and what the tables themselves mention with its
/// neighbours.
fn interesting_values() -> Vec<u64> {
    let checks = GATED.iter().flat_map(|gated| gated.allow.iter().chain(gated.deny)).copied().flatten();
    let mentioned = checks.map(|check| match *check {
        Check::Is(_, value) | Check::IsNot(_, value) | Check::Lacks(_, value) | Check::Has(_, value) => value,
    });
    let bits = (0..u32::BITS).map(|bit| 1 << bit);
    let centres = (0..256).chain(bits).chain(mentioned);
    centres
        .flat_map(|v: u32| [v, v.wrapping_add(1), v.wrapping_sub(1), !v, v | 0x11])
        .map(u64::from)
        .collect()
}

#[test]
fn nothing_can_be_left_out_that_is_not_blocked() {
    for name in ["read", "AF_VSOCK", ""] {
        let error = SeccompFilters::compile_without(&["mount", name]).expect_err("not blocked");
        assert_eq!(
            error.to_string(),
            format!("seccomp blocks nothing by the name of {name:?}, so it cannot be left out")
        );
    }
}

#[test]
fn both_programs_fit_the_kernels_limit() {
    let SeccompFilters { allow, deny } = filters();
    println!("{} and {} instructions", allow.len(), deny.len());
    assert!(allow.len() < 4096 && deny.len() < 4096);
}
