//! Much output, compared while it comes: it is never held, and comparing costs next to nothing beside the pipe.

use std::io::{self, Read};

use super::amounts::{FLOOD_BLOCK_BYTES, FLOOD_BLOCKS};
use super::blocks;

/// What is to come.
#[derive(Debug, Clone, Copy)]
pub struct Flood {
    /// The seed that the work is told.
    pub seed: u64,
}

impl Flood {
    /// What is said of one that is right, in place of itself.
    #[must_use]
    pub fn right() -> String {
        format!("{} bytes, all right", FLOOD_BLOCKS * FLOOD_BLOCK_BYTES as u64)
    }

    /// Hears all of it, and says what it was.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn heard(self, source: &mut impl Read) -> io::Result<String> {
        let mut expected = vec![0; FLOOD_BLOCK_BYTES];
        blocks::fill(self.seed, 0, &mut expected);
        let (mut block, mut at, mut bytes, mut wrong_at) = (0_u64, 0, 0_u64, None);
        blocks::number(block, &mut expected);
        let mut chunk = vec![0; 64 << 10];
        loop {
            // No chunk reaches into two blocks.
            let room = chunk.len().min(expected.len() - at);
            let length = match source.read(&mut chunk[..room]) {
                Ok(0) => break,
                Ok(length) => length,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => return Err(why),
            };
            let is_right = block < FLOOD_BLOCKS && chunk[..length] == expected[at..at + length];
            wrong_at = wrong_at.or((!is_right).then_some(bytes));
            (at, bytes) = (at + length, bytes + length as u64);
            if at == expected.len() {
                (at, block) = (0, block + 1);
                blocks::number(block, &mut expected);
            }
        }
        Ok(wrong_at.map_or_else(
            || format!("{bytes} bytes, all right"),
            |at| format!("{bytes} bytes, wrong within 64 KiB after {at}"),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flood(seed: u64) -> Vec<u8> {
        let mut block = vec![0; FLOOD_BLOCK_BYTES];
        blocks::fill(seed, 0, &mut block);
        let numbered = |number| {
            blocks::number(number, &mut block);
            block.clone()
        };
        (0..FLOOD_BLOCKS).flat_map(numbered).collect()
    }

    fn heard(bytes: &[u8]) -> String {
        Flood { seed: 7 }.heard(&mut &*bytes).expect("read")
    }

    #[test]
    fn only_the_whole_flood_of_this_seed_in_its_order_is_right() {
        let mut right = flood(7);
        assert_eq!(heard(&right), Flood::right());
        assert_ne!(heard(&right[1..]), Flood::right());
        assert_ne!(heard(&right[..right.len() - 1]), Flood::right());
        assert_ne!(heard(&[&right[..], b"x"].concat()), Flood::right());
        assert_ne!(heard(&flood(8)), Flood::right());
        assert_eq!(heard(b""), "0 bytes, all right");
        right[FLOOD_BLOCK_BYTES + 9] ^= 1;
        assert_eq!(heard(&right), "100000000 bytes, wrong within 64 KiB after 1000000");
        let (first, second) = (flood(7)[..FLOOD_BLOCK_BYTES].to_vec(), &flood(7)[FLOOD_BLOCK_BYTES..]);
        let twice = [&first[..], &first[..], &second[FLOOD_BLOCK_BYTES..]].concat();
        assert_ne!(heard(&twice), Flood::right(), "a block came twice");
    }
}
