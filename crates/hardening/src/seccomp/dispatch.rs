//! A decision tree over system call numbers, put before the rules that look at arguments.
//!
//! `seccompiler` asks number after number: 1,580 instructions for our lists. When a filter is loaded the kernel
//! tries every number on it, to remember which always pass, and that took 0.9 ms of each start. A tree asks
//! about ten times (0.1 ms).

use seccompiler::{BpfProgram, SeccompAction, sock_filter};

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS: a word of `struct seccomp_data`
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_IF_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offset of the number in `struct seccomp_data`, bytes.
const NUMBER: u32 = 0;
/// Offset of the architecture.
const ARCHITECTURE: u32 = 4;

/// What is known from a call's number alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The answer.
    Answer(SeccompAction),
    /// Its arguments decide.
    Judge,
}

/// Calls with the same verdict: from this number to the next one's.
type Stretch = (u32, Verdict);

/// A program that answers by number where that is enough, kills calls of another architecture, and goes on
/// with `judge` for the rest. `verdicts` are sorted by number; a number that is not there has the verdict
/// `otherwise`.
pub(super) fn before(
    judge: BpfProgram,
    architecture: u32,
    verdicts: &[(u32, Verdict)],
    otherwise: &Verdict,
) -> BpfProgram {
    let mut program = vec![
        instruction(LOAD, ARCHITECTURE),
        sock_filter { code: JUMP_IF_EQUAL, jt: 1, jf: 0, k: architecture },
        instruction(RETURN, u32::from(SeccompAction::KillProcess)),
        instruction(LOAD, NUMBER),
    ];
    program.extend(tree(&stretches(verdicts, otherwise)));
    let length = program.len();
    for (at, one) in program.iter_mut().enumerate().filter(|(_, one)| is_to_judge(one)) {
        one.k = far(length - at - 1);
    }
    program.extend(judge);
    program
}

fn instruction(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// A jump to the judging part, before its distance is known: `jt` of an unconditional jump means nothing.
fn to_judge() -> sock_filter {
    sock_filter { code: JUMP, jt: 1, jf: 0, k: 0 }
}

fn is_to_judge(one: &sock_filter) -> bool {
    one.code == JUMP && one.jt == 1
}

/// A distance in a program, of which the kernel takes 4,096 instructions at most.
fn far(distance: usize) -> u32 {
    u32::try_from(distance).unwrap_or(u32::MAX)
}

fn stretches(verdicts: &[(u32, Verdict)], otherwise: &Verdict) -> Vec<Stretch> {
    let mut all: Vec<Stretch> = vec![(0, otherwise.clone())];
    let mut add = |from: u32, verdict: &Verdict| match all.last_mut() {
        Some(last) if last.0 == from => last.1 = verdict.clone(),
        Some(last) if last.1 == *verdict => {}
        _ => all.push((from, verdict.clone())),
    };
    for (index, (number, verdict)) in verdicts.iter().enumerate() {
        add(*number, verdict);
        if verdicts.get(index + 1).is_none_or(|(next, _)| *next > number + 1) {
            add(number + 1, otherwise);
        }
    }
    all
}

fn tree(stretches: &[Stretch]) -> Vec<sock_filter> {
    match stretches {
        [] => Vec::new(),
        [(_, Verdict::Judge)] => vec![to_judge()],
        [(_, Verdict::Answer(action))] => vec![instruction(RETURN, u32::from(action.clone()))],
        _ => {
            let (low, high) = stretches.split_at(stretches.len() / 2);
            let (first_high, _) = high[0];
            let low = tree(low);
            let greater = |jt, jf| sock_filter { code: JUMP_IF_GREATER, jt, jf, k: first_high - 1 };
            let mut program = match u8::try_from(low.len()) {
                Ok(length) => vec![greater(length, 0)],
                // Conditional jumps reach 255 instructions, unconditional ones anywhere.
                Err(_) => vec![greater(0, 1), instruction(JUMP, far(low.len()))],
            };
            program.extend(low);
            program.extend(tree(high));
            program
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_with_one_verdict_are_one_stretch() {
        let (allow, otherwise) =
            (Verdict::Answer(SeccompAction::Allow), Verdict::Answer(SeccompAction::Trap));
        let verdicts = [(0, allow.clone()), (1, allow.clone()), (3, Verdict::Judge), (4, allow.clone())];
        let expected = [
            (0, allow.clone()),
            (2, otherwise.clone()),
            (3, Verdict::Judge),
            (4, allow),
            (5, otherwise.clone()),
        ];
        assert_eq!(stretches(&verdicts, &otherwise), expected);
    }
}
