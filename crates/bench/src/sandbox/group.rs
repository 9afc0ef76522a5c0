//! The control group of the sandbox that is measured: who is in it, what it allows, its end.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::client::{has_ended, open_process};

/// How long killed processes may take to be gone, and their group with them.
const GRACE: Duration = Duration::from_secs(10);

/// Where a group of this name is, or would be: runtimes make it in every tree that there is.
#[derive(Debug, Clone)]
pub struct Group {
    folders: Vec<PathBuf>,
}

impl Group {
    /// The group at this path of every tree of this host. Whoever is in it will be killed: a group that is not one of ours is
    /// refused.
    pub fn at(path: &str) -> io::Result<Self> {
        let name = path.rsplit('/').next().unwrap_or_default();
        if !name.starts_with("agentkernel-") || path.split('/').any(|part| part == "..") {
            return Err(io::Error::other(format!("{path:?} is no control group of ours")));
        }
        let mounts = fs::read_to_string("/proc/self/mounts")?;
        Ok(Self { folders: folders(&mounts, path) })
    }

    /// No group, for what makes none.
    #[must_use]
    pub fn none() -> Self {
        Self { folders: Vec::new() }
    }

    /// All processes in it and below it.
    #[must_use]
    pub fn processes(&self) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        for folder in &self.folders {
            collect(folder, &mut found);
        }
        found
    }

    /// A file of it, in whichever tree has it.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<String> {
        let read = |folder: &PathBuf| fs::read_to_string(folder.join(name)).ok();
        self.folders.iter().find_map(read).map(|text| text.trim().to_owned())
    }

    /// Kills whoever is in it and removes it. Gives what was there.
    pub fn end(&self) -> io::Result<Vec<String>> {
        let mut left: Vec<String> = self.processes().iter().map(|pid| format!("process {pid}")).collect();
        let until = Instant::now() + GRACE;
        loop {
            let alive = self.processes();
            let Some(first) = alive.first() else { break };
            for pid in alive.iter().filter_map(|pid| i32::try_from(*pid).ok().and_then(Pid::from_raw)) {
                // It may have ended just now.
                kill_process(pid, Signal::KILL).ok();
            }
            if Instant::now() > until {
                return Err(io::Error::other(format!("these processes cannot be killed: {alive:?}")));
            }
            if let Ok(process) = open_process(*first) {
                has_ended(&process, Duration::from_millis(200))?;
            }
        }
        for folder in self.folders.iter().filter(|folder| folder.exists()) {
            left.push(format!("control group {}", folder.display()));
            remove(folder)?;
        }
        Ok(left)
    }
}

/// All who are in the control group of this process, and below it. Where that is our own group too, it is nobody's in
/// particular: then the process and all that it has started.
///
/// # Errors
/// The process is gone.
pub fn processes_with(pid: u32) -> io::Result<BTreeSet<u32>> {
    let path = path_of(&format!("{pid}"))?;
    if !is_own(pid) {
        let mut found = BTreeSet::new();
        descendants(pid, &mut found);
        return Ok(found);
    }
    let mut found = BTreeSet::new();
    folders(&fs::read_to_string("/proc/self/mounts")?, &path)
        .iter()
        .for_each(|folder| collect(folder, &mut found));
    Ok(found)
}

/// Whether the control group of this process is another than our own.
#[must_use]
pub fn is_own(pid: u32) -> bool {
    let (path, ours) = (path_of(&format!("{pid}")), path_of("self"));
    path.ok().zip(ours.ok()).is_some_and(|(path, ours)| path != "/" && path != ours)
}

/// A file of the control group of this process, in whichever tree has it.
#[must_use]
pub fn file_with(pid: u32, name: &str) -> Option<String> {
    file_at(&path_of(&format!("{pid}")).ok()?, name)
}

/// What such a file limits the process to: it may be the group's, or that of one around it.
#[must_use]
pub fn limit_with(pid: u32, name: &str) -> Option<String> {
    let path = path_of(&format!("{pid}")).ok()?;
    let around = Path::new(&path).ancestors().filter_map(|path| file_at(path.to_str()?, name));
    let found: Vec<String> = around.collect();
    found.iter().find(|limit| is_limit(limit)).or(found.first()).cloned()
}

/// By version 1, memory without a limit is the highest number of pages, in bytes.
fn is_limit(text: &str) -> bool {
    const UNLIMITED: u64 = 1 << 62;
    match text.split(' ').next() {
        Some("max" | "-1") | None => false,
        Some(number) => number.parse::<u64>().is_ok_and(|number| number < UNLIMITED),
    }
}

fn file_at(path: &str, name: &str) -> Option<String> {
    let folders = folders(&fs::read_to_string("/proc/self/mounts").ok()?, path);
    let read = |folder: PathBuf| fs::read_to_string(folder.join(name)).ok();
    folders.into_iter().find_map(read).map(|text| text.trim().to_owned())
}

/// The group's path: by version 1 that of memory, else the only one.
fn path_of(process: &str) -> io::Result<String> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    let lines = || text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    let of_memory = lines().find(|(controllers, _)| controllers.split(',').any(|one| one == "memory"));
    let found = of_memory.or_else(|| lines().find(|(controllers, _)| controllers.is_empty()));
    Ok(found.map_or("/", |(_, path)| path).to_owned())
}

fn descendants(pid: u32, found: &mut BTreeSet<u32>) {
    if !found.insert(pid) {
        return;
    }
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    for thread in threads {
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .for_each(|pid| descendants(pid, found));
    }
}

fn folders(mounts: &str, path: &str) -> Vec<PathBuf> {
    let path = path.trim_start_matches('/');
    let places = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let place = fields.next()?;
        matches!(fields.next()?, "cgroup" | "cgroup2").then(|| Path::new(place).join(path))
    });
    places.collect()
}

fn below(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

fn collect(folder: &Path, found: &mut BTreeSet<u32>) {
    let text = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()).filter(|pid| *pid != 0));
    below(folder).for_each(|child| collect(&child, found));
}

/// From the leaves up: a group with groups in it cannot be removed.
fn remove(folder: &Path) -> io::Result<()> {
    below(folder).try_for_each(|child| remove(&child))?;
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_of_somebody_else_is_never_touched() {
        for path in ["", "/", "/system.slice", "/agentkernel-1/..", "/agentkernel-1/../x"] {
            assert!(Group::at(path).is_err(), "{path}");
        }
        assert!(Group::at("/agentkernel-no-such-group").expect("ours").processes().is_empty());
    }

    #[test]
    fn no_limit_is_told_from_a_limit() {
        assert!(["0", "256", "536870912", "100000 100000"].iter().all(|text| is_limit(text)));
        assert!(["", "max", "max 100000", "-1", "9223372036854771712"].iter().all(|text| !is_limit(text)));
    }

    #[test]
    fn a_group_is_looked_for_in_every_tree() {
        let mounts = "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                      proc /proc proc rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(
            folders(mounts, "/bench"),
            [Path::new("/sys/fs/cgroup/cpu/bench"), Path::new("/sys/fs/cgroup/unified/bench")]
        );
    }
}
