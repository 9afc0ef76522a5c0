//! The leak counter: what is on the host now that was not there before.
//!
//! A [`Snapshot`] lists everything that [`Marks`] recognise as ours. Two snapshots around a piece of work
//! give its leaks. The kernel takes namespaces and cgroups down some time after the last process in them
//! has gone, hence [`Snapshot::settle`]: a leak is what is still there when the deadline has passed.

mod marks;
mod places;
mod processes;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, poll};

pub use marks::Marks;

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(10);

/// Something that was left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// What kind of thing.
    pub kind: LeakKind,
    /// Which one, in enough words to find it.
    pub what: String,
}

/// Kinds of things that can be left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeakKind {
    /// A process, zombies included.
    Process,
    /// A cgroup's folder.
    Cgroup,
    /// A mount.
    Mount,
    /// A namespace that a process or a mount keeps alive.
    Namespace,
    /// A file or folder.
    File,
    /// An open file descriptor of this process.
    Descriptor,
    /// A unix socket.
    Socket,
    /// A file in memory, held open by some process.
    MemoryFile,
}

impl fmt::Display for Leak {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}: {}", self.kind, self.what)
    }
}

/// Things of one kind, by what makes each unique, with the words to find it.
type Found = BTreeMap<String, String>;

/// Everything that was recognised at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    marks: Marks,
    found: BTreeMap<LeakKind, Found>,
}

impl Snapshot {
    /// Looks now.
    #[must_use]
    pub fn take(marks: &Marks) -> Self {
        let processes = processes::marked(marks);
        let found = BTreeMap::from([
            (LeakKind::Namespace, processes::namespaces(&processes, marks)),
            (LeakKind::Process, processes::described(&processes)),
            (LeakKind::MemoryFile, processes::memory_files(marks)),
            (
                LeakKind::Descriptor,
                if marks.descriptors { processes::own_descriptors() } else { Found::new() },
            ),
            (LeakKind::Cgroup, places::cgroups(marks)),
            (LeakKind::Mount, places::mounts(marks)),
            (LeakKind::File, places::files(marks)),
            (LeakKind::Socket, places::sockets(marks)),
        ]);
        Self { marks: marks.clone(), found }
    }

    /// What is here and was not there before.
    #[must_use]
    pub fn leaked_since(&self, before: &Self) -> Vec<Leak> {
        let mut leaks = Vec::new();
        for (kind, found) in &self.found {
            let earlier = before.found.get(kind);
            // A program may close one descriptor and open another: only more of them are a leak.
            let may_change = *kind == LeakKind::Descriptor && found.len() <= earlier.map_or(0, BTreeMap::len);
            if !may_change {
                let is_new = |key: &String| earlier.is_none_or(|earlier| !earlier.contains_key(key));
                let new = found.iter().filter(|(key, _)| is_new(key));
                leaks.extend(new.map(|(_, what)| Leak { kind: *kind, what: what.clone() }));
            }
        }
        leaks
    }

    /// What has been left since this snapshot, once nothing has been left or the deadline has passed.
    /// Blocks the thread; in a test that has an async runtime, use [`Snapshot::settled`].
    #[must_use]
    pub fn settle(&self, deadline: Duration) -> Vec<Leak> {
        let begin = Instant::now();
        loop {
            let leaks = Self::take(&self.marks).leaked_since(self);
            if leaks.is_empty() || begin.elapsed() >= deadline {
                return leaks;
            }
            pause();
        }
    }

    /// Like [`Snapshot::settle`], for tests whose clean-up needs the async runtime to go on.
    pub async fn settled(&self, deadline: Duration) -> Vec<Leak> {
        let begin = Instant::now();
        loop {
            let leaks = Self::take(&self.marks).leaked_since(self);
            if leaks.is_empty() || begin.elapsed() >= deadline {
                return leaks;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// How many open file descriptors this process had.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.found.get(&LeakKind::Descriptor).map_or(0, BTreeMap::len)
    }
}

/// Waits for nothing, with a deadline. Being woken early by a signal is as good.
fn pause() {
    let pause = Timespec::try_from(PAUSE).expect("a short time");
    poll(&mut [], Some(&pause)).ok();
}

/// Leaks as lines for a message.
#[must_use]
pub fn describe(leaks: &[Leak]) -> String {
    leaks.iter().map(|leak| format!("\n  {leak}")).collect()
}

#[cfg(test)]
mod tests;
