//! Where the host has its control groups, and which of them are ours to fill.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use crate::group::Group;
use crate::kernel_file;
use crate::mountinfo::MountLine;

const ROOT: &str = "/sys/fs/cgroup";

/// Controllers without which a limit cannot be enforced.
pub const NEEDED: [&str; 3] = ["memory", "cpu", "pids"];

/// Controllers of v1 in which a sandbox has a group.
const USED: [&str; 6] = ["memory", "cpu", "cpuacct", "pids", "devices", "freezer"];

/// A group of v2 that is ours to fill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Its path from the root of the tree, empty for the root itself.
    pub path: PathBuf,
    /// What it has to give to its children.
    pub controllers: Vec<String>,
}

/// How this host's control groups are mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hierarchy {
    /// One tree for all controllers.
    V2 {
        /// The group below which this user may make others, from the root of the tree, and the controllers that it
        /// has; or `None` if there is no such group.
        base: Option<Base>,
    },
    /// A tree for each controller, by controller; with a controller-less v2 tree beside them it is
    /// called hybrid.
    V1 {
        /// Mount point of each controller, named hierarchies included.
        mounts: BTreeMap<String, PathBuf>,
        /// Whether a v2 tree is mounted as well.
        hybrid: bool,
    },
    /// None that can be used, and why.
    None(String),
}

impl Hierarchy {
    /// Looks at the host.
    #[must_use]
    pub fn detect() -> Self {
        match kernel_file::read_text("/proc/self/mountinfo") {
            Ok(mountinfo) => Self::parse(&mountinfo, || v2_base(Path::new(ROOT))),
            Err(error) => Self::None(format!("/proc/self/mountinfo: {error}")),
        }
    }

    fn parse(mountinfo: &str, v2_base: impl Fn() -> Option<Base>) -> Self {
        let mut mounts = BTreeMap::new();
        let mut hybrid = false;
        for mount in mountinfo.lines().filter_map(MountLine::parse) {
            match mount.kind {
                "cgroup2" if mount.place == ROOT => return Self::V2 { base: v2_base() },
                "cgroup2" => hybrid = true,
                "cgroup" => {
                    for option in mount.super_options.split(',').filter(|option| *option != "rw") {
                        mounts.insert(option.to_owned(), PathBuf::from(&mount.place));
                    }
                }
                _ => {}
            }
        }
        if mounts.is_empty() {
            Self::None("no control group file system is mounted below /sys/fs/cgroup".into())
        } else {
            Self::V1 { mounts, hybrid }
        }
    }

    /// For a person.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::V2 { .. } => "v2".into(),
            Self::V1 { hybrid: true, .. } => "v1 (hybrid)".into(),
            Self::V1 { hybrid: false, .. } => "v1".into(),
            Self::None(why) => format!("none: {why}"),
        }
    }

    /// Whether this controller of v1 has a tree.
    pub fn has(&self, controller: &str) -> bool {
        matches!(self, Self::V1 { mounts, .. } if mounts.contains_key(controller))
    }

    /// The needed controllers that this host does not have.
    pub fn missing(&self) -> Vec<&'static str> {
        let has = |name: &str| match self {
            Self::V2 { base: Some(base) } => base.controllers.iter().any(|controller| controller == name),
            Self::V2 { base: None } => true, // this user's lack, not the host's
            Self::V1 { mounts, .. } => mounts.contains_key(name),
            Self::None(_) => false,
        };
        NEEDED.into_iter().filter(|name| !has(name)).collect()
    }

    /// Whether the calling user may make groups where ours go.
    pub fn is_writable(&self) -> bool {
        match self {
            Self::V2 { base } => base.is_some(),
            Self::V1 { mounts, .. } => {
                NEEDED.iter().all(|name| mounts.get(*name).is_some_and(|mount| is_writable(mount)))
            }
            Self::None(_) => false,
        }
    }

    /// Whether the calling user may make groups with limits.
    #[must_use]
    pub fn can_limit(&self) -> bool {
        self.missing().is_empty() && self.is_writable()
    }

    /// The whole name of a group that we call so: the path that [`Self::group`] wants.
    pub fn name(&self, own: &str) -> String {
        match self {
            Self::V2 { base: Some(base) } => Path::new("/").join(&base.path).join(own).display().to_string(),
            _ => format!("/{own}"),
        }
    }

    /// The group called `name`, which need not exist.
    pub fn group(&self, name: &str) -> Group {
        let name = name.trim_start_matches('/');
        match self {
            Self::V2 { .. } => Group::V2(Path::new(ROOT).join(name)),
            Self::V1 { mounts, .. } => {
                let folder =
                    |(controller, mount): (&String, &PathBuf)| (controller.clone(), mount.join(name));
                let (folders, others): (BTreeMap<_, _>, BTreeMap<_, _>) = mounts
                    .iter()
                    .map(folder)
                    .partition(|(controller, _)| USED.contains(&controller.as_str()));
                Group::V1 { folders, others: others.into_values().collect() }
            }
            Self::None(_) => Group::V1 { folders: BTreeMap::new(), others: Vec::new() },
        }
    }
}

fn is_writable(path: &Path) -> bool {
    access(path, Access::WRITE_OK).is_ok()
}

/// The nearest group, from the caller's own upwards, below which he may make groups with limits. It gives all the
/// controllers to its children already; or it has no processes of its own, for then it can be made to. A service
/// manager delegates such a group to each user (`user@1000.service`); for root it is the root of the tree.
fn v2_base(root: &Path) -> Option<Base> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let candidates = if is_writable(root) { Path::new("") } else { Path::new(own) };
    candidates.ancestors().find_map(|path| usable_base(root, path))
}

fn usable_base(root: &Path, path: &Path) -> Option<Base> {
    let folder = root.join(path);
    let list = |name: &str| -> Option<Vec<String>> {
        let text = fs::read_to_string(folder.join(name)).ok()?;
        Some(text.split_whitespace().map(str::to_owned).collect())
    };
    let has_all = |list: &[String]| NEEDED.iter().all(|name| list.iter().any(|has| has == name));
    let ours =
        ["", "cgroup.procs", "cgroup.subtree_control"].iter().all(|name| is_writable(&folder.join(name)));
    let controllers = list("cgroup.controllers")?;
    // The root of the whole tree may have both processes and children with limits; that of a container's view may not.
    let is_whole_tree = path == Path::new("") && !folder.join("cgroup.events").exists();
    let can_give =
        is_whole_tree || has_all(&list("cgroup.subtree_control")?) || list("cgroup.procs")?.is_empty();
    (ours && has_all(&controllers) && can_give).then(|| Base { path: path.to_owned(), controllers })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
31 30 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
32 30 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
34 30 0:31 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
";

    #[test]
    fn a_hybrid_host_is_recognised_with_every_mount() {
        let hierarchy = Hierarchy::parse(HYBRID, || None);
        assert_eq!(hierarchy.describe(), "v1 (hybrid)");
        assert_eq!(hierarchy.missing(), ["pids"]);
        let Group::V1 { folders, .. } = hierarchy.group("/agentkernel-x") else { panic!("v1") };
        assert_eq!(folders["cpu"], Path::new("/sys/fs/cgroup/cpu,cpuacct/agentkernel-x"));
        assert_eq!(folders["cpuacct"], folders["cpu"], "they are mounted together here");
        assert!(!folders.contains_key("name=systemd"), "only where there is something to limit");
    }

    #[test]
    fn a_unified_host_is_recognised_with_its_controllers() {
        let line = "30 24 0:27 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        let controllers = ["cpu", "memory", "pids"].map(str::to_owned).to_vec();
        let base = Base { path: "user.slice/user@7.service".into(), controllers };
        let hierarchy = Hierarchy::parse(line, || Some(base.clone()));
        assert_eq!(hierarchy.describe(), "v2");
        assert!(hierarchy.missing().is_empty() && hierarchy.is_writable());
        let name = hierarchy.name("agentkernel-x");
        assert_eq!(name, "/user.slice/user@7.service/agentkernel-x");
        let Group::V2(folder) = hierarchy.group(&name) else { panic!("v2") };
        assert_eq!(folder, Path::new("/sys/fs/cgroup/user.slice/user@7.service/agentkernel-x"));
    }

    #[test]
    fn the_nearest_group_that_can_give_limits_is_the_base() {
        let root = tempfile::tempdir().expect("temp dir");
        let make = |path: &str, controllers: &str, given: &str, processes: &str| {
            let folder = root.path().join(path);
            fs::create_dir_all(&folder).expect("made");
            fs::write(folder.join("cgroup.controllers"), controllers).expect("written");
            fs::write(folder.join("cgroup.subtree_control"), given).expect("written");
            fs::write(folder.join("cgroup.procs"), processes).expect("written");
        };
        make("user", "cpu memory pids", "memory pids", "");
        make("user/app", "memory pids", "", "");
        make("user/app/busy", "cpu memory pids", "", "17\n");
        make("user/app/giving", "cpu memory pids", "cpu memory pids", "17\n");
        let usable = |path: &str| usable_base(root.path(), Path::new(path)).map(|base| base.path);
        assert_eq!(usable("user"), Some("user".into()));
        assert_eq!(usable("user/app"), None, "it has no cpu controller");
        assert_eq!(usable("user/app/busy"), None, "its processes are in the way");
        assert_eq!(usable("user/app/giving"), Some("user/app/giving".into()));
    }
}
