//! Kills a process with everything that descends from it.

use std::collections::BTreeSet;
use std::fs::{File, read_dir};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;

use crate::sys;

/// How often new descendants are looked for. Whoever was found is stopped and has no more of them, so
/// that a second look finds the last; the rest is for forks that were under way.
const ROUNDS_MAX: usize = 64;

/// Kills `root` and all of its descendants, those that have left its session or group included.
pub fn kill(root: i32) {
    let mut found = BTreeSet::from([root]);
    sys::kill(root, libc::SIGSTOP);
    stop_descendants(root, &mut found);
    for pid in found {
        sys::kill(pid, libc::SIGKILL);
    }
}

/// Kills all descendants of `root`, but not `root`.
pub fn kill_below(root: i32) {
    let mut found = BTreeSet::from([root]);
    stop_descendants(root, &mut found);
    for pid in found.into_iter().filter(|pid| *pid != root) {
        sys::kill(pid, libc::SIGKILL);
    }
}

/// Stops first and kills later: what is stopped cannot fork away from a walk that is under way.
fn stop_descendants(root: i32, found: &mut BTreeSet<i32>) {
    for _ in 0..ROUNDS_MAX {
        let new = descendants(root, &snapshot(), found);
        if new.is_empty() {
            return;
        }
        for pid in new {
            sys::kill(pid, libc::SIGSTOP);
            found.insert(pid);
        }
    }
}

/// One line of the process table.
struct Entry {
    pid: i32,
    parent: i32,
    session: i32,
}

/// The process table, sorted by parent.
fn snapshot() -> Vec<Entry> {
    // Without /proc there is only the process itself to kill.
    let Ok(folders) = read_dir("/proc") else { return Vec::new() };
    let names = folders.flatten().map(|folder| folder.file_name());
    let pids = names.filter(|name| name.as_bytes().first().is_some_and(u8::is_ascii_digit));
    let mut entries: Vec<_> = pids.filter_map(|pid| entry(pid.to_str()?)).collect();
    entries.sort_unstable_by_key(|entry| entry.parent);
    entries
}

fn entry(pid: &str) -> Option<Entry> {
    let mut stat = [0; 512];
    let len = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
    let (parent, session) = parent_and_session(&stat[..len])?;
    Some(Entry { pid: pid.parse().ok()?, parent, session })
}

/// The fields of `/proc/PID/stat` that matter. The name before them may hold anything, even brackets.
fn parent_and_session(stat: &[u8]) -> Option<(i32, i32)> {
    let name_end = stat.iter().rposition(|byte| *byte == b')')?;
    let mut fields = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?; // after the state
    let session = fields.nth(1)?.parse().ok()?; // after the group
    Some((parent, session))
}

/// Who is below `root`, or in the session that it leads, and not among `known`.
fn descendants(root: i32, table: &[Entry], known: &BTreeSet<i32>) -> BTreeSet<i32> {
    let in_session = table.iter().filter(|entry| entry.session == root).map(|entry| entry.pid);
    let mut parents: Vec<i32> = in_session.chain(known.iter().copied()).collect();
    let mut new: BTreeSet<i32> = parents.iter().copied().filter(|pid| !known.contains(pid)).collect();
    while let Some(parent) = parents.pop() {
        let first = table.partition_point(|entry| entry.parent < parent);
        for child in table[first..].iter().take_while(|entry| entry.parent == parent) {
            if !known.contains(&child.pid) && new.insert(child.pid) {
                parents.push(child.pid);
            }
        }
    }
    new
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_hides_nothing() {
        assert_eq!(parent_and_session(b"7 (a) S 1 (b)) S 42 43 44 0 -1"), Some((42, 44)));
        assert_eq!(parent_and_session(b"7 (cut off"), None);
        assert_eq!(parent_and_session(b""), None);
    }

    #[test]
    fn descendants_are_found_by_parent_and_by_session() {
        let table = [(2, 1, 1), (10, 2, 10), (11, 10, 10), (12, 1, 10), (13, 12, 13), (20, 2, 20)];
        let mut table: Vec<_> =
            table.map(|(pid, parent, session)| Entry { pid, parent, session }).into_iter().collect();
        table.sort_unstable_by_key(|entry| entry.parent);
        let new = descendants(10, &table, &BTreeSet::from([10]));
        assert_eq!(new, BTreeSet::from([11, 12, 13]));
    }
}
