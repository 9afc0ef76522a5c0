//! Moving processes between control groups without a wait for the rest of the host.
//!
//! Whoever writes a PID to `cgroup.procs` takes a lock of the whole kernel (`cgroup_threadgroup_rwsem`), and the first to
//! do so waits for an RCU grace period: 8 to 21 ms measured. Container runtimes do it in the middle of each start, gVisor's
//! several times. But who comes within a grace period of another writer waits for nothing (`rcu_sync_enter` in
//! kernel/rcu/sync.c): so the wait is begun before the runtime is, and is over when that needs it. The mount option
//! `favordynmods` (Linux 6.0) has the kernel do the same always, and for as long all forks of the host are a little slower.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use crate::membership::Membership;

/// Time between two writes: less than the shortest grace period.
const INTERVAL: Duration = Duration::from_millis(3);

/// While one is held, processes are moved between control groups at once. It moves nothing itself: this process is written
/// into the group that it is in. Where it may not write there, nothing is gained, and nothing lost.
#[derive(Debug)]
pub struct QuickMoves {
    /// What the thread waits on: it ends with the last that holds it.
    _held: Arc<Sender<()>>,
}

/// That of all who hold one now.
static HELD: Mutex<Weak<Sender<()>>> = Mutex::new(Weak::new());

impl QuickMoves {
    /// Begins it, or takes part in what has begun. Returns at once.
    #[must_use]
    pub fn hold() -> Self {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.upgrade() {
            return Self { _held: held };
        }
        let (sender, ended) = mpsc::channel();
        // Where there is no such group, or no thread for it, moves are as slow as they are.
        let write = move || drop(write_until(&ended));
        drop(thread::Builder::new().name("ak-quick-moves".into()).stack_size(1 << 16).spawn(write));
        let sender = Arc::new(sender);
        *held = Arc::downgrade(&sender);
        Self { _held: sender }
    }
}

fn write_until(ended: &Receiver<()>) -> io::Result<()> {
    let mut own = own_group()?;
    loop {
        own.write_all(b"0")?;
        if ended.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
            return Ok(());
        }
    }
}

/// The list of processes of a group that this process is in. The kernel has one lock for all trees.
fn own_group() -> io::Result<File> {
    let open = |list| OpenOptions::new().write(true).open(list);
    let lists = Membership::own()?;
    let mut lists = lists.folders().map(|folder| folder.join("cgroup.procs"));
    lists.find_map(|list| open(list).ok()).ok_or_else(|| io::ErrorKind::NotFound.into())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::pause;

    fn threads() -> usize {
        let tasks = fs::read_dir("/proc/self/task").expect("threads");
        let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.trim() == "ak-quick-moves").count()
    }

    /// One test: what it looks at is the whole process's.
    #[test]
    fn it_moves_nothing_is_shared_and_ends_with_the_last_that_holds_it() {
        if own_group().is_err() {
            eprintln!("SKIPPED: this user may not write the list of processes of any group that he is in");
            return;
        }
        let groups = || fs::read_to_string("/proc/self/cgroup").expect("read");
        let (before, one, other) = (groups(), QuickMoves::hold(), QuickMoves::hold());
        pause(200);
        assert_eq!((groups(), threads()), (before.clone(), 1));
        drop(one);
        pause(100);
        assert_eq!(threads(), 1, "it is still held");
        drop(other);
        let mut waited = 0;
        while threads() > 0 && waited < 200 {
            pause(50);
            waited += 1;
        }
        assert_eq!((groups(), threads()), (before, 0));
    }
}
