//! The proof that the lists are complete: every number is claimed once, or this file does not compile.

use super::{ALLOWED, DENIED, Syscall, UNLISTED};
use crate::seccomp::argument::GATED;

/// The highest number that the lists account for: Linux 6.19.
pub(super) const HIGHEST: usize = 470;

/// Numbers up to [`HIGHEST`] that Linux has not handed out on this architecture, first and last of each gap.
#[cfg(target_arch = "x86_64")]
const UNASSIGNED: &[(i64, i64)] = &[(337, 423)];
#[cfg(target_arch = "aarch64")]
const UNASSIGNED: &[(i64, i64)] = &[(244, 259), (295, 423)];

/// How many times each number is claimed by a list or by a gap.
const fn claims() -> [u8; HIGHEST + 1] {
    let mut claims = [0; HIGHEST + 1];
    claim_lists(&mut claims, ALLOWED);
    claim_lists(&mut claims, DENIED);
    let mut list = 0;
    while list < UNLISTED.len() {
        let mut entry = 0;
        while entry < UNLISTED[list].len() {
            claim(&mut claims, UNLISTED[list][entry].syscall.number);
            entry += 1;
        }
        list += 1;
    }
    let mut gated = 0;
    while gated < GATED.len() {
        claim(&mut claims, GATED[gated].syscall.number);
        gated += 1;
    }
    claim_gaps(&mut claims);
    claims
}

const fn claim_lists(claims: &mut [u8], lists: &[&[Syscall]]) {
    let mut list = 0;
    while list < lists.len() {
        let mut entry = 0;
        while entry < lists[list].len() {
            claim(claims, lists[list][entry].number);
            entry += 1;
        }
        list += 1;
    }
}

const fn claim_gaps(claims: &mut [u8]) {
    let mut gap = 0;
    while gap < UNASSIGNED.len() {
        let (mut number, last) = UNASSIGNED[gap];
        while number <= last {
            claim(claims, number);
            number += 1;
        }
        gap += 1;
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an index out of range does not compile"
)]
const fn claim(claims: &mut [u8], number: i64) {
    claims[number as usize] += 1;
}

const _: () = {
    let claims = claims();
    let mut number = 0;
    while number < claims.len() {
        if claims[number] != 1 {
            // The compiler's complaint about this index names the number that is in no list, or in two.
            let _the_number: () = [][number];
        }
        number += 1;
    }
};
