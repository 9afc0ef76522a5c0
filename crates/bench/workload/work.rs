//! The work that is timed.

use std::fs;
use std::io;
use std::path::Path;

use crate::amounts::{MULTIPLIER, SUMMAND};

/// The loop, without any system call.
pub fn integer_loop(rounds: u64, start: u64) -> u64 {
    let mut value = start;
    for _ in 0..rounds {
        // Hidden from the optimiser, which would take many rounds at once.
        value = std::hint::black_box(value.wrapping_mul(MULTIPLIER).wrapping_add(SUMMAND));
    }
    value
}

/// What a walk has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// Files and folders that were looked at.
    pub entries: u64,
    /// The sum of the files' sizes.
    pub bytes: u64,
}

/// Looks at every entry below a folder, as `find -size` does: one `stat` for each.
pub fn walk(folder: &Path, seen: &mut Seen) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let facts = fs::symlink_metadata(&path)?;
        seen.entries += 1;
        if facts.is_dir() {
            walk(&path, seen)?;
        } else {
            seen.bytes += facts.len();
        }
    }
    Ok(())
}
