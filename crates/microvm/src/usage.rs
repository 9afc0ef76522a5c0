//! What a VMM uses of the host, as the kernel tells.

use std::fs;
use std::time::Duration;

/// Units of the kernel's clock in `/proc/PID/stat`: 100 a second for every program on Linux (`USER_HZ`).
const TICK: Duration = Duration::from_millis(10);

/// A size in `/proc/PID/status`.
pub(crate) fn status_bytes(pid: i32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib * 1024)
}

/// Processor time that a process has had, its threads' included.
pub(crate) fn processor_time(pid: i32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Fields 14 and 15 (proc(5)); the second is a name in parentheses, which may hold anything.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u32>().ok()?.checked_add(fields.next()?.parse().ok()?)?;
    Some(TICK * ticks)
}
