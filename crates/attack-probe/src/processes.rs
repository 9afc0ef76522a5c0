//! The processes that the probe can see, and which of them are its own tree.

use std::fs;

use crate::attempt::{Errno, errno_of};
use crate::situation::Situation;

/// One visible process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: i32,
    /// Its parent's id; 0 where the parent is not visible.
    pub parent: i32,
    /// Its state: `R`, `S`, `T`, `Z` …
    pub state: char,
    /// Its short name.
    pub name: String,
    /// Whether it is a thread of the kernel.
    pub is_kernel: bool,
}

/// `PF_KTHREAD` of the kernel's headers.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// How many processes are looked at.
const PROCESSES_MAX: usize = 10_000;

/// Every process in /proc.
pub fn visible() -> Result<Vec<Process>, Errno> {
    let entries = fs::read_dir("/proc").map_err(|error| errno_of(&error))?;
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.take(PROCESSES_MAX).filter_map(of_pid).collect())
}

/// One process, if it is visible.
pub fn of_pid(pid: i32) -> Option<Process> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The line is `pid (name) state parent group session tty tpgid flags …`; the name may hold anything.
fn parse(pid: i32, line: &str) -> Option<Process> {
    let (front, rest) = line.rsplit_once(')')?;
    let name = front.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let state = fields.first()?.chars().next()?;
    let parent = fields.get(1)?.parse().ok()?;
    // Emulated kernels may leave the flags out.
    let flags: u64 = fields.get(6).and_then(|flags| flags.parse().ok()).unwrap_or(0);
    Some(Process { pid, parent, state, name, is_kernel: flags & KERNEL_THREAD != 0 })
}

/// Visible processes that are neither PID 1, nor the kernel's, nor among the probe's ancestors and descendants.
pub fn foreign(situation: &Situation) -> Result<Vec<Process>, Errno> {
    let all = visible()?;
    let is_foreign = |one: &&Process| {
        one.pid != 1
            && !one.is_kernel
            && !is_ancestor_or_self(&all, one.pid, situation.pid)
            && !is_ancestor_or_self(&all, situation.pid, one.pid)
    };
    Ok(all.iter().filter(is_foreign).cloned().collect())
}

fn is_ancestor_or_self(all: &[Process], ancestor: i32, pid: i32) -> bool {
    let mut at = pid;
    // Parents cannot form a ring, but processes come and go while they are read.
    for _ in 0..all.len() + 1 {
        if at == ancestor {
            return true;
        }
        match all.iter().find(|one| one.pid == at) {
            Some(one) if one.parent > 0 => at = one.parent,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_blanks_is_read() {
        let process = parse(7, "7 (a) b (c) S 3 7 7 0 -1 2129984 0").expect("parses");
        assert_eq!((process.parent, process.state, process.name.as_str()), (3, 'S', "a) b (c"));
        assert!(process.is_kernel);
    }

    #[test]
    fn ancestry_is_followed_and_ends() {
        let one = |pid, parent| Process { pid, parent, state: 'S', name: String::new(), is_kernel: false };
        let all = [one(1, 0), one(2, 1), one(3, 2), one(4, 1), one(5, 6), one(6, 5)];
        assert!(is_ancestor_or_self(&all, 1, 3));
        assert!(!is_ancestor_or_self(&all, 2, 4));
        assert!(!is_ancestor_or_self(&all, 1, 5));
    }
}
