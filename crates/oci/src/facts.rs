//! What this host offers to containers.

use agentkernel_cgroup::{self as cgroup, Hierarchy, NEEDED};
use agentkernel_core::{Availability, SandboxSpec};
use agentkernel_hardening::layout::program_folders;
use rustix::process::{Resource, getegid, geteuid, getrlimit};

use crate::bundle::{HostLayout, PlanFacts};
use crate::idblock::BLOCK_SIZE;
use crate::kernel_file;
use crate::plan::Privilege;

/// Oldest kernel with `mount_setattr`, on which read-only mounts rest.
const KERNEL_MIN: (u32, u32) = (5, 12);

/// Facts of the host, gathered by looking. Whether they suffice is found by trying.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Whether sandboxes get id blocks of their own: root, in a namespace that has them.
    pub root: bool,
    uid: u32,
    gid: u32,
    /// Control groups.
    pub hierarchy: Hierarchy,
    /// Whether groups with limits can be made there: asked of the host once, for each start wants to know it.
    limits: bool,
    /// Whether there is swap space.
    pub swap: bool,
    /// Release of the kernel.
    pub kernel: String,
    open_files_max: u64,
    signals_max: u64,
    host_layout: HostLayout,
}

impl HostFacts {
    /// Looks at the host.
    #[must_use]
    pub fn gather() -> Self {
        let hierarchy = Hierarchy::detect();
        Self {
            root: geteuid().is_root() && maps_every_id(),
            uid: geteuid().as_raw(),
            gid: getegid().as_raw(),
            limits: hierarchy.can_limit(),
            hierarchy,
            swap: cgroup::has_swap(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            open_files_max: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            signals_max: getrlimit(Resource::Sigpending).maximum.unwrap_or(u64::MAX),
            host_layout: HostLayout { folders: program_folders() },
        }
    }

    /// Whether this user may make control groups with all the controllers that limits need.
    #[must_use]
    pub fn can_limit(&self) -> bool {
        self.limits
    }

    /// Whether time can be stopped in a control group.
    #[must_use]
    pub fn can_pause(&self) -> bool {
        let has_freezer = match &self.hierarchy {
            Hierarchy::V2 { .. } => true, // since Linux 5.2
            hierarchy => hierarchy.has("freezer"),
        };
        has_freezer && self.can_limit()
    }

    /// The facts for one plan. `first_id` is the sandbox's block, if it has one.
    #[must_use]
    pub fn for_plan(&self, spec: &SandboxSpec, first_id: Option<u32>) -> PlanFacts {
        let privilege = match first_id {
            Some(first_id) => Privilege::Root { first_id },
            None => Privilege::Rootless {
                uid: self.uid,
                gid: self.gid,
                inside_uid: spec.user().uid,
                inside_gid: spec.user().gid,
            },
        };
        // Flat, so that no folder stays behind for want of somebody to remove it; with the block or
        // the user in it, so that equal names under different homes do not meet.
        let owner = first_id.unwrap_or(self.uid);
        PlanFacts {
            runtime: None,
            privilege,
            cgroup: self
                .can_limit()
                .then(|| self.hierarchy.name(&format!("agentkernel-{owner}-{}", spec.name()))),
            swap: self.swap,
            device_rules: self.hierarchy.has("devices"),
            open_files_max: self.open_files_max,
            signals_max: self.signals_max,
            host_layout: self.host_layout.clone(),
        }
    }

    /// What is plainly missing, before anything is tried.
    #[must_use]
    pub fn obstacle(&self) -> Option<Availability> {
        let unavailable = |needs: String, hint: &str| Availability::Unavailable { needs, hint: hint.into() };
        if kernel_version(&self.kernel).is_none_or(|version| version < KERNEL_MIN) {
            let (major, minor) = KERNEL_MIN;
            let needs = format!("Linux {major}.{minor} or later; this is {}", self.kernel);
            return Some(unavailable(needs, "update the kernel"));
        }
        if read_number("/proc/sys/user/max_user_namespaces") == Some(0) {
            let needs = "user namespaces, which are switched off".to_owned();
            return Some(unavailable(needs, "sysctl -w user.max_user_namespaces=15000"));
        }
        if !self.root && read_number("/proc/sys/kernel/unprivileged_userns_clone") == Some(0) {
            let needs = "user namespaces for ordinary users, which are switched off".to_owned();
            return Some(unavailable(needs, "sysctl -w kernel.unprivileged_userns_clone=1, or run as root"));
        }
        None
    }

    /// Facts for doctor.
    pub(crate) fn describe(&self) -> Vec<(String, String)> {
        let limits = if self.can_limit() {
            "memory, cpus, pids".to_owned()
        } else if self.hierarchy.missing().is_empty() {
            "pids only: this user may not make control groups".to_owned()
        } else {
            format!("pids only: no controller for {}", self.hierarchy.missing().join(", "))
        };
        vec![
            (
                "mode".into(),
                if self.root { "root, with a block of ids for each sandbox" } else { "rootless" }.into(),
            ),
            ("cgroups".into(), self.hierarchy.describe()),
            ("limits".into(), limits),
            ("controllers".into(), NEEDED.join(", ")),
        ]
    }
}

/// Whether the ids from which blocks are taken exist in our user namespace.
fn maps_every_id() -> bool {
    let last = 1_879_048_192_u64 + 4_094 * u64::from(BLOCK_SIZE);
    kernel_file::read_text("/proc/self/uid_map").is_ok_and(|map| {
        map.lines().any(|line| {
            let numbers: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
            matches!(numbers[..], [0, 0, count] if count >= last)
        })
    })
}

/// Major and minor version of a release.
pub(crate) fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn read_number(path: &str) -> Option<u64> {
    kernel_file::read_text(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_compare_by_number() {
        assert_eq!(kernel_version("6.1.0-18-amd64"), Some((6, 1)));
        assert!(kernel_version("5.4.0").is_some_and(|version| version < KERNEL_MIN));
        assert!(kernel_version("5.15-generic").is_some_and(|version| version > KERNEL_MIN));
        assert_eq!(kernel_version("strange"), None);
    }
}
