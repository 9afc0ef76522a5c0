//! The control group of all that the agent starts, where the agent itself is beside it: how children enter it, and what is
//! done when its memory is full and nothing in it can go on.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::{Errno, fcntl_dupfd_cloexec, write};

use crate::sys;

/// When to look: all that runs waited for memory for so long of so long a time, microseconds. The kernel hears it every
/// tenth of the second; work that goes on slowly has less (Documentation/accounting/psi.rst).
const TRIGGER: &[u8] = b"full 1500000 5000000\0";

/// What can be dropped is this part of what cannot, at most, where a group is full: where there is more, it works on.
const DROPPABLE_PART: u64 = 16;

/// Bytes of `memory.stat` that are read: what is looked for comes first.
const STAT_LEN: usize = 4096;

/// How long what runs may take to stop, nanoseconds, and how long to wait before it is looked at again.
const FREEZE_WAIT_NS: u64 = 10_000_000_000;
const FREEZE_PAUSE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// Bytes of `cgroup.events`, which has two short lines.
const EVENTS_LEN: usize = 128;

/// A group, opened while there was a right to.
pub struct Group {
    processes: OwnedFd,
    freeze: OwnedFd,
    events: File,
    guard: Option<Guard>,
}

/// Where the kernel tells that a group is full, and where that is ended.
struct Guard {
    pressure: OwnedFd,
    stat: File,
    kill: OwnedFd,
}

impl Group {
    /// Opens a group by its folder. Who may enter is decided now, by the rights of whoever opens it: the kernel asks no
    /// more when it is written to (`__cgroup_procs_write` in kernel/cgroup/cgroup.c).
    pub fn open(folder: &str) -> rustix::io::Result<Self> {
        let file = |name: &str, flags: OFlags| {
            open(format!("{folder}/{name}"), flags | OFlags::CLOEXEC, Mode::empty())
        };
        let guard = || {
            let pressure = file("memory.pressure", OFlags::RDWR | OFlags::NONBLOCK)?;
            write(&pressure, TRIGGER)?;
            let stat = File::from(file("memory.stat", OFlags::RDONLY)?);
            Ok::<_, Errno>(Guard { pressure, stat, kill: file("cgroup.kill", OFlags::WRONLY)? })
        };
        let (processes, freeze) =
            (file("cgroup.procs", OFlags::WRONLY)?, file("cgroup.freeze", OFlags::WRONLY)?);
        let events = File::from(file("cgroup.events", OFlags::RDONLY)?);
        // A kernel that does not tell is none that lies: its sandbox waits until its command's time is up.
        Ok(Self { processes, freeze, events, guard: guard().ok() })
    }

    /// The same with descriptors of these numbers and above.
    pub fn moved(self, least: RawFd) -> rustix::io::Result<Self> {
        let moved = |fd: BorrowedFd<'_>| fcntl_dupfd_cloexec(fd, least);
        let guard = self.guard.map(|guard| {
            let (pressure, kill) = (moved(guard.pressure.as_fd())?, moved(guard.kill.as_fd())?);
            Ok::<_, Errno>(Guard { pressure, stat: moved(guard.stat.as_fd())?.into(), kill })
        });
        let (processes, freeze) = (moved(self.processes.as_fd())?, moved(self.freeze.as_fd())?);
        Ok(Self { processes, freeze, events: moved(self.events.as_fd())?.into(), guard: guard.transpose()? })
    }

    /// Every descriptor that is kept for it.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> {
        let of_guard =
            |guard: &Guard| [guard.pressure.as_raw_fd(), guard.stat.as_raw_fd(), guard.kill.as_raw_fd()];
        let of_guard = self.guard.as_ref().map(of_guard);
        let own = [self.entrance(), self.freeze.as_raw_fd(), self.events.as_raw_fd()];
        own.into_iter().chain(of_guard.into_iter().flatten())
    }

    /// Where a child writes 0 to be in it.
    pub fn entrance(&self) -> RawFd {
        self.processes.as_raw_fd()
    }

    /// Lets nothing in it go on, or all of it. Returns once that is so: a process deep in the kernel may take a while.
    pub fn freeze(&self, frozen: bool) -> io::Result<()> {
        let (order, state) = if frozen { (b"1", "frozen 1") } else { (b"0", "frozen 0") };
        write(&self.freeze, order)?;
        let until_ns = sys::monotonic_ns().saturating_add(FREEZE_WAIT_NS);
        loop {
            let mut bytes = [0; EVENTS_LEN];
            let count = self.events.read_at(&mut bytes, 0)?;
            if String::from_utf8_lossy(&bytes[..count]).lines().any(|line| line == state) {
                return Ok(());
            }
            if sys::monotonic_ns() >= until_ns {
                return Err(io::Error::other("some of its processes do not stop"));
            }
            // The kernel has an exceptional condition for each change.
            let mut changes = [PollFd::new(&self.events, PollFlags::PRI)];
            poll(&mut changes, Some(&FREEZE_PAUSE)).ok();
        }
    }

    /// Has an exceptional condition when its memory is short.
    pub fn pressure(&self) -> Option<BorrowedFd<'_>> {
        self.guard.as_ref().map(|guard| guard.pressure.as_fd())
    }

    /// Memory is short. If it is full of what cannot be dropped, files in memory above all, then the kernel finds a page of
    /// some program to drop again and again, which is needed at once, and never kills anything. Everything is then ended, as
    /// the kernel would end it, and the console is told in its words.
    pub fn relieve(&self) {
        let Some(guard) = &self.guard else { return };
        if guard.is_full().unwrap_or(false) && write(&guard.kill, b"1").is_ok() {
            eprintln!("agentkernel-guest: out of memory: Killed processes that could not go on");
        }
    }
}

impl Guard {
    fn is_full(&self) -> io::Result<bool> {
        let mut bytes = [0; STAT_LEN];
        let count = self.stat.read_at(&mut bytes, 0)?;
        Ok(is_full(&String::from_utf8_lossy(&bytes[..count])))
    }
}

/// What the kernel says of a group's memory, in bytes (Documentation/admin-guide/cgroup-v2.rst).
fn is_full(stat: &str) -> bool {
    let value = |name: &str| {
        let words = stat.lines().filter_map(|line| line.split_once(' '));
        words.into_iter().find(|(of, _)| *of == name).and_then(|(_, value)| value.parse().ok())
    };
    let (Some(anon), Some(file), Some(shmem)) = (value("anon"), value("file"), value("shmem")) else {
        return false;
    };
    let (anon, shmem): (u64, u64) = (anon, shmem);
    let droppable = u64::saturating_sub(file, shmem);
    droppable < anon.saturating_add(shmem) / DROPPABLE_PART
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_full_when_next_to_nothing_of_it_can_be_dropped() {
        assert!(is_full("anon 100000\nfile 66600000\nkernel 1\nshmem 66500000\n"));
        assert!(is_full("anon 66000000\nfile 50000\nshmem 0\n"));
        assert!(!is_full("anon 30000000\nfile 36000000\nshmem 1000\n"));
        assert!(!is_full("anon 1\n") && !is_full(""));
    }
}
