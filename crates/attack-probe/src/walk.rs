//! Walks through directories, with a limit on entries, depth and time.

use std::collections::VecDeque;
use std::fs::{self, Metadata};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How far a walk goes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Directories below a root that are entered.
    pub depth: usize,
    /// Entries that are looked at in all.
    pub entries: usize,
}

/// How a walk ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Walked {
    /// Everything was seen: so many entries.
    All(usize),
    /// The visitor had enough.
    Stopped,
    /// A limit was reached after so many entries: what is beyond is unknown.
    Truncated(usize),
}

/// A walk ends before the deadline of an attempt does.
const TIME_MAX: Duration = Duration::from_secs(8);

/// Shows the visitor everything below the roots, what lies near them first, never following a symbolic link.
/// What cannot be listed is refused to an attacker too, and skipped.
pub fn walk(
    roots: &[&str],
    limits: Limits,
    mut visit: impl FnMut(&Path, &Metadata) -> ControlFlow<()>,
) -> Walked {
    let deadline = Instant::now() + TIME_MAX;
    let mut pending: VecDeque<(PathBuf, usize)> = roots.iter().map(|root| (PathBuf::from(root), 0)).collect();
    let mut seen = 0;
    let mut too_deep = false;
    while let Some((directory, depth)) = pending.pop_front() {
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            if seen >= limits.entries || Instant::now() > deadline {
                return Walked::Truncated(seen);
            }
            seen += 1;
            let Ok(metadata) = entry.metadata() else { continue };
            if visit(&entry.path(), &metadata).is_break() {
                return Walked::Stopped;
            }
            if metadata.is_dir() {
                too_deep |= depth >= limits.depth;
                if depth < limits.depth {
                    pending.push_back((entry.path(), depth + 1));
                }
            }
        }
    }
    if too_deep { Walked::Truncated(seen) } else { Walked::All(seen) }
}
