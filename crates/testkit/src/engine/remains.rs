//! What an engine leaves, above all one that was killed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use super::{PATIENCE, POLL};

/// Ends what an engine leaves that was killed, and what still cleans up after its containers: whatever was started with a
/// path in its folder.
pub fn end_all_of(folder: &Path) {
    let mark = folder.display().to_string();
    let is_ours = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&words).contains(&mark)
    };
    let until = Instant::now() + PATIENCE;
    loop {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let ours: Vec<_> = pids.filter(is_ours).filter_map(Pid::from_raw).collect();
        if ours.is_empty() || Instant::now() > until {
            return;
        }
        for pid in ours {
            // It may end just now.
            kill_process(pid, Signal::KILL).ok();
        }
        std::thread::park_timeout(POLL);
    }
}

/// Unmounts what is mounted in a folder: a killed engine leaves the roots of its containers, and Podman its storage.
pub fn unmount_all_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for place in places.filter(|place| Path::new(place).starts_with(folder)) {
        rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

/// The folders of a control group, in each tree that there is.
fn folders_of(group: &str) -> Vec<PathBuf> {
    let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    let all = roots.map(|root| root.join(group)).chain([Path::new("/sys/fs/cgroup").join(group)]);
    all.filter(|folder| folder.is_dir()).collect()
}

/// Ends what runs on in a container of an engine that was killed, should anything, and removes the engine's own group. A
/// process that was killed is in its group until it has ended.
pub fn end_group(group: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        folders_of(group).iter().for_each(|folder| end_all_in(folder));
        remove_group(group);
        if folders_of(group).is_empty() || Instant::now() > until {
            return;
        }
        std::thread::park_timeout(POLL);
    }
}

fn end_all_in(folder: &Path) {
    for below in fs::read_dir(folder).into_iter().flatten().flatten() {
        let pids = fs::read_to_string(below.path().join("cgroup.procs")).unwrap_or_default();
        for pid in pids.lines().filter_map(|pid| pid.parse().ok()).filter_map(Pid::from_raw) {
            // It may end just now.
            kill_process(pid, Signal::KILL).ok();
        }
    }
}

/// Removes a group and those in it, as far as nobody is in them.
pub fn remove_group(name: &str) {
    for group in folders_of(name) {
        for below in fs::read_dir(&group).into_iter().flatten().flatten() {
            if below.path().is_dir() {
                fs::remove_dir(below.path()).ok();
            }
        }
        fs::remove_dir(group).ok();
    }
}
