//! Processes that a runtime leaves behind: they become our children, and so none of them can hide.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, wait};

use super::client::{has_ended, open_process};

/// How long what is left may take to end by itself: a sandbox's helpers may end a moment after the runtime's program.
const GRACE: Duration = Duration::from_secs(2);

/// How long it may take once it was killed.
const KILL_GRACE: Duration = Duration::from_secs(10);

/// From now on, whoever loses its parent below us becomes our child.
pub fn adopt() -> io::Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Waits for what is left to end, and kills what does not. Gives what had to be killed, by number and name. Nobody may be
/// running any more on purpose: every child of ours is meant.
pub fn end_all() -> io::Result<Vec<String>> {
    let left = wait_for_children(GRACE)?;
    let names = left.iter().map(|pid| format!("process {pid} ({})", name(*pid))).collect();
    let until = Instant::now() + KILL_GRACE;
    let mut alive = left;
    // Killed parents leave us their children.
    while !alive.is_empty() {
        for pid in alive.iter().filter_map(|pid| i32::try_from(*pid).ok().and_then(Pid::from_raw)) {
            // It may have ended just now.
            kill_process(pid, Signal::KILL).ok();
        }
        if Instant::now() > until {
            return Err(io::Error::other(format!("these processes cannot be killed: {alive:?}")));
        }
        alive = wait_for_children(Duration::from_millis(200))?;
    }
    Ok(names)
}

/// Those that have not ended by then.
fn wait_for_children(deadline: Duration) -> io::Result<Vec<u32>> {
    let until = Instant::now() + deadline;
    loop {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        let children = children()?;
        let left = until.saturating_duration_since(Instant::now());
        let Some(first) = children.first() else { return Ok(children) };
        if left.is_zero() {
            return Ok(children);
        }
        match open_process(*first) {
            Ok(process) => drop(has_ended(&process, left)?),
            // It has ended, and the next look no longer finds it.
            Err(why) if why.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {}
            Err(why) => return Err(why),
        }
    }
}

/// Our children that have not been waited for.
fn children() -> io::Result<Vec<u32>> {
    let us = std::process::id();
    let numbers = fs::read_dir("/proc")?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(numbers.filter(|pid| parent(*pid) == Some(us)).collect())
}

/// The fourth field of `/proc/PID/stat`; the second may hold spaces and parentheses.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}
