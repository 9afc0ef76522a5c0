//! The control groups that a process is in, as the host has them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::kernel_file;
use crate::mountinfo::MountLine;

/// The folders of a process's control groups: by controller, or one for all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    v1: BTreeMap<String, PathBuf>,
    v2: Option<PathBuf>,
}

impl Membership {
    /// Those of this process.
    pub(crate) fn own() -> io::Result<Self> {
        let groups = kernel_file::read_text("/proc/self/cgroup")?;
        Ok(Self::parse(&groups, &kernel_file::read_text("/proc/self/mountinfo")?))
    }

    /// Those of a process in a container that has this in the name of its group. None of another's: an engine that runs
    /// elsewhere tells numbers of processes elsewhere.
    #[must_use]
    pub fn in_container(pid: i32, container: &str) -> Option<Self> {
        let groups = kernel_file::read_text(format!("/proc/{pid}/cgroup")).ok()?;
        let mounts = kernel_file::read_text("/proc/self/mountinfo").ok()?;
        groups.contains(container).then(|| Self::parse(&groups, &mounts))
    }

    /// Reads proc(5)'s `NUMBER:CONTROLLERS:PATH` lines; those of a group without controllers are of v2.
    fn parse(groups: &str, mountinfo: &str) -> Self {
        let mounts = MountLine::all(mountinfo);
        let mut found = Self::default();
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
            let path = path.trim_start_matches('/');
            if controllers.is_empty() {
                let unified = mounts.iter().find(|mount| mount.kind == "cgroup2");
                found.v2 = unified.map(|mount| PathBuf::from(&mount.place).join(path));
            }
            for controller in controllers.split(',').filter(|name| !name.is_empty()) {
                let has = |mount: &&MountLine<'_>| {
                    mount.kind == "cgroup"
                        && mount.super_options.split(',').any(|option| option == controller)
                };
                if let Some(mount) = mounts.iter().find(has) {
                    found.v1.insert(controller.to_owned(), PathBuf::from(&mount.place).join(path));
                }
            }
        }
        found
    }

    /// Whether this controller is of v1.
    pub fn is_v1(&self, controller: &str) -> bool {
        self.v1.contains_key(controller)
    }

    /// Its folders, those of v1 first.
    pub(crate) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.v1.values().chain(&self.v2)
    }

    /// A file of a controller, by its names in v1 and v2.
    pub fn read(&self, controller: &str, v1: &str, v2: &str) -> Option<String> {
        let file = match self.v1.get(controller) {
            Some(folder) => folder.join(v1),
            None => self.v2.as_ref()?.join(v2),
        };
        kernel_file::read_text(file).ok().map(|text| text.trim().to_owned())
    }

    /// The same, of one that has a number in it.
    pub fn number(&self, controller: &str, v1: &str, v2: &str) -> Option<u64> {
        self.read(controller, v1, v2)?.parse().ok()
    }

    /// Processes that the kernel killed for want of memory.
    pub fn out_of_memory_kills(&self) -> u64 {
        let text = self.read("memory", "memory.oom_control", "memory.events").unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
    }

    /// Most memory at once, bytes.
    pub fn memory_peak(&self) -> Option<u64> {
        self.number("memory", "memory.max_usage_in_bytes", "memory.peak")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_in_every_tree_that_there_is() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                      31 25 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                      32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let group =
            Membership::parse("5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/docker/ab\n", mounts);
        let place = |text: &str| PathBuf::from(text);
        assert_eq!(group.v1["memory"], place("/sys/fs/cgroup/memory/docker/ab"));
        assert_eq!(group.v1["cpu"], place("/sys/fs/cgroup/cpu,cpuacct/docker/ab"));
        assert_eq!(group.v2, Some(place("/sys/fs/cgroup/unified/docker/ab")));
        let unified = "26 20 0:23 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        let group = Membership::parse("0::/system.slice/docker-ab.scope\n", unified);
        assert_eq!(group.v2, Some(place("/sys/fs/cgroup/system.slice/docker-ab.scope")));
        assert!(!group.is_v1("memory"));
    }

    #[test]
    fn the_group_of_a_stranger_is_nobodys() {
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert_eq!(Membership::in_container(own, "no-container-has-this-name"), None);
    }
}
