//! Bytes that nothing can guess, compress or line up with itself.

use rustix::rand::{GetRandomFlags, getrandom};

/// 64 bits from the kernel.
#[must_use]
pub fn random_u64() -> u64 {
    let mut bits = [0; 8];
    // Eight bytes are never cut short, and an early boot is long over where tests run.
    let filled = getrandom(&mut bits, GetRandomFlags::empty()).is_ok();
    assert!(filled, "the kernel gives no random bytes");
    u64::from_ne_bytes(bits)
}

/// So many bytes, different each time.
#[must_use]
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = random_u64() | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // Marsaglia's xorshift64: enough to catch a byte that is lost, doubled or out of place.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_has_the_length_asked_for_and_differs_each_time() {
        assert_eq!(noise(0).len(), 0);
        assert_eq!(noise(1_000_003).len(), 1_000_003);
        assert_ne!(noise(64), noise(64));
    }
}
