//! What the process table knows: processes, their namespaces, descriptors and files in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::{Found, Marks};

/// One line of the process table.
pub struct Process {
    pid: u32,
    parent: u32,
    /// In clock ticks since the machine started: with the PID it is unique.
    started: u64,
    /// Name in brackets, and the letter of its state.
    name: String,
}

impl Process {
    fn read(folder: &Path) -> Option<Self> {
        let pid = folder.file_name()?.to_str()?.parse().ok()?;
        let stat = fs::read(folder.join("stat")).ok()?;
        let text = String::from_utf8_lossy(&stat);
        // The name may hold anything, brackets and spaces included; nothing after it does.
        let (name, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let name = format!("{}) {}", name.split_once(' ')?.1, fields.first()?);
        Some(Self { pid, parent: fields.get(1)?.parse().ok()?, started: fields.get(19)?.parse().ok()?, name })
    }

    fn folder(&self) -> PathBuf {
        Path::new("/proc").join(self.pid.to_string())
    }

    fn mentioned_by(&self, marks: &Marks) -> bool {
        let says = |file: &str| fs::read(self.folder().join(file)).is_ok_and(|text| marks.mention(&text));
        let leads = |link: &str| {
            fs::read_link(self.folder().join(link))
                .is_ok_and(|target| marks.mention(target.as_os_str().as_bytes()))
        };
        marks.mention(self.name.as_bytes())
            || ["cmdline", "cgroup", "environ"].into_iter().any(says)
            || ["cwd", "root", "exe"].into_iter().any(leads)
    }

    fn description(&self) -> String {
        let words = fs::read(self.folder().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words).replace('\0', " ");
        format!("pid {} (parent {}) {} {words}", self.pid, self.parent, self.name)
    }
}

/// Every process that exists and can be read.
fn all() -> Vec<Process> {
    let Ok(folders) = fs::read_dir("/proc") else { return Vec::new() };
    folders.flatten().filter_map(|folder| Process::read(&folder.path())).collect()
}

/// Every process that is ours, apart from this one.
pub fn marked(marks: &Marks) -> Vec<Process> {
    let all = all();
    let descendants = descendants(&all, &marks.ancestors);
    let own = std::process::id();
    let is_marked = |process: &Process| {
        process.pid != own && (descendants.contains(&process.pid) || process.mentioned_by(marks))
    };
    all.into_iter().filter(is_marked).collect()
}

fn descendants(all: &[Process], ancestors: &[u32]) -> BTreeSet<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for process in all {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let mut found = BTreeSet::new();
    let mut parents = ancestors.to_vec();
    while let Some(parent) = parents.pop() {
        let new = children.remove(&parent).unwrap_or_default();
        found.extend(new.iter().copied());
        parents.extend(new);
    }
    found
}

pub fn described(processes: &[Process]) -> Found {
    let entry = |process: &Process| (format!("{} {}", process.pid, process.started), process.description());
    processes.iter().map(entry).collect()
}

/// Namespaces other than this process's own that are kept alive by marked processes (or by any), or by
/// a mount.
pub fn namespaces(processes: &[Process], marks: &Marks) -> Found {
    let own: BTreeSet<OsString> = links(Path::new("/proc/self/ns")).map(|(_, target)| target).collect();
    let everyone = if marks.every_namespace { all() } else { Vec::new() };
    let mut found = Found::new();
    for process in processes.iter().chain(&everyone) {
        for (_, target) in links(&process.folder().join("ns")) {
            if !own.contains(&target) {
                let name = target.to_string_lossy().into_owned();
                found.entry(name.clone()).or_insert_with(|| format!("{name} of {}", process.description()));
            }
        }
    }
    found
}

/// This process's open file descriptors.
pub fn own_descriptors() -> Found {
    let own_listing = format!("/proc/{}/fd", std::process::id());
    let is_listing = |target: &OsString| target.to_str() == Some(&own_listing);
    links(Path::new("/proc/self/fd"))
        .filter(|(_, target)| !is_listing(target))
        .map(|(name, target)| format!("{} -> {}", name.to_string_lossy(), target.to_string_lossy()))
        .map(|line| (line.clone(), line))
        .collect()
}

/// Files in memory that carry one of the words in their names, whoever holds them.
pub fn memory_files(marks: &Marks) -> Found {
    let mut found = Found::new();
    for process in all() {
        for (number, target) in links(&process.folder().join("fd")) {
            let is_memory = target.as_bytes().starts_with(b"/memfd:");
            if is_memory && marks.mention(target.as_bytes()) {
                let (number, target) = (number.to_string_lossy(), target.to_string_lossy());
                let key = format!("{} {number} {target}", process.pid);
                found.insert(key, format!("{target} at descriptor {number} of {}", process.description()));
            }
        }
    }
    found
}

/// The symbolic links in a folder of `/proc`, as far as they can be read.
fn links(folder: &Path) -> impl Iterator<Item = (OsString, OsString)> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| Some((entry.file_name(), fs::read_link(entry.path()).ok()?.into_os_string())))
}
