//! What this process holds: the daemon is a part of it.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are not connections, generously.
const OTHER_FILES: u64 = 500;

static ALONE: Mutex<()> = Mutex::new(());

/// Runs a test while no other test of this program runs, or has as much as a runtime.
pub fn alone(test: impl Future<Output = ()>) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test);
}

/// Resident memory.
pub fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').nth(1).expect("resident").parse().expect("a number");
    pages * 4096
}

/// What the open file descriptors lead to; what is like another is named like it.
pub fn descriptors() -> Vec<String> {
    let all = fs::read_dir("/proc/self/fd").expect("Linux").flatten();
    let mut names: Vec<_> = all
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .map(|target| target.to_string_lossy().split(":[").next().unwrap_or_default().to_owned())
        .collect();
    names.sort_unstable();
    names
}

/// Processes that this one has started and that are there still.
pub fn children() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("Linux").flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists.map(|list| list.split_whitespace().count()).sum()
}

/// Length of all files in this folder.
pub fn folder_bytes(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).expect("a folder").flatten();
    files.filter_map(|file| file.metadata().ok()).map(|facts| facts.len()).sum()
}

/// As many connections as this process may have both ends of, at most `wanted`; says it loudly if they are fewer.
pub fn connections(wanted: u64) -> usize {
    let needed = 2 * wanted + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    let raised = |maximum| Rlimit { current: Some(needed.max(current)), maximum };
    if current < needed && setrlimit(Resource::Nofile, raised(maximum)).is_err() {
        // Without a privilege, the hard limit is the end.
        let most = limit.maximum.map_or(needed, |maximum| maximum.min(needed));
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), ..limit }).ok();
    }
    let have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let count = wanted.min(have.saturating_sub(OTHER_FILES) / 2);
    if count < wanted {
        say(&format!("LESS than {wanted} connections: {count}, for {have} files may be open\n"));
    }
    usize::try_from(count).expect("some thousands")
}

/// To file descriptor 2: what the test runner captures nobody reads.
fn say(line: &str) {
    rustix::io::write(rustix::stdio::stderr(), line.as_bytes()).ok();
}
