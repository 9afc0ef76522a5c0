//! Data that a seed gives again: written inside, and known outside.

use super::amounts::{MULTIPLIER, SUMMAND};

/// Fills a block. Two blocks of one seed are different, and so are two seeds' blocks.
pub fn fill(seed: u64, block: u64, bytes: &mut [u8]) {
    let mut value = seed.wrapping_add(block).wrapping_mul(MULTIPLIER).wrapping_add(SUMMAND);
    for word in bytes.chunks_mut(size_of::<u64>()) {
        word.copy_from_slice(&value.to_le_bytes()[..word.len()]);
        value = value.wrapping_mul(MULTIPLIER).wrapping_add(SUMMAND);
    }
}

/// Adds a block to a sum in which the order counts.
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    let words =
        bytes.chunks_exact(size_of::<u64>()).map(|word| word.try_into().map_or(0, u64::from_le_bytes));
    words.fold(sum, |sum, word| sum.rotate_left(1).wrapping_add(word))
}

/// Numbers a block of a flood, whose blocks are the same but for this: none can be missing, or come twice.
pub fn number(block: u64, bytes: &mut [u8]) {
    let number = block.to_le_bytes();
    bytes[..number.len()].copy_from_slice(&number);
}
