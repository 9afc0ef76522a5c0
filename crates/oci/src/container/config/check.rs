//! What a configuration may not say, and what it may not leave out: nothing in it is without effect.

use agentkernel_cgroup::DeviceRule;

use super::{Config, Mount, MountKind, NamespaceKind};
use crate::plan::Plan;

impl Config {
    /// Refuses what would be passed over in silence.
    pub(super) fn check(&self) -> Result<(), String> {
        if !self.oci_version.starts_with("1.") {
            return Err(format!("the bundle is of OCI version {:?}, and not of 1", self.oci_version));
        }
        if self.process.terminal {
            return Err("the bundle asks for a terminal, and the guest agent makes those".into());
        }
        if self.process.cwd != "/" {
            return Err(format!("the bundle begins in {:?}, and the guest agent in /", self.process.cwd));
        }
        if !self.has(NamespaceKind::Mount) {
            return Err("the bundle lacks the mount namespace, and the host's mounts are not touched".into());
        }
        match (&self.hostname, self.has(NamespaceKind::Uts)) {
            (Some(_), false) => {
                Err("the bundle lacks the uts namespace, and the host's name is not touched".into())
            }
            // A new namespace begins with the name of the old one.
            (None, true) => Err("the bundle lacks a hostname: the host's would be seen".into()),
            _ => self.check_lists(),
        }
    }

    fn check_lists(&self) -> Result<(), String> {
        self.mounts.iter().try_for_each(Mount::check)?;
        let mut paths = self.linux.masked_paths.iter().chain(&self.linux.readonly_paths);
        if let Some(path) = paths.find(|path| !path.starts_with('/')) {
            return Err(format!("the bundle hides or locks {path:?}, which is not an absolute path"));
        }
        let devices = self.linux.resources.iter().filter_map(|resources| resources.devices.as_ref());
        devices.flatten().try_for_each(DeviceRule::check)
    }

    /// Refuses one that differs from the rest of its plan, by which the supervisor goes.
    pub(super) fn is_of(&self, plan: &Plan) -> Result<(), String> {
        if self.hostname.as_ref().is_some_and(|name| *name != plan.hostname) {
            return Err("the bundle's hostname is not the sandbox's".into());
        }
        let group = plan.cgroup.as_ref().map(|group| &group.path);
        if self.linux.cgroups_path.as_ref() != group {
            return Err("the bundle's cgroupsPath is not the sandbox's control group".into());
        }
        if self.linux.resources.is_some() != group.is_some() {
            return Err("the bundle has resources without a control group, or the other way round".into());
        }
        Ok(())
    }
}

impl Mount {
    fn check(&self) -> Result<(), String> {
        let place = &self.destination;
        let known: &[&str] = match self.kind {
            MountKind::Bind => &["rbind", "ro", "rw", "nosuid", "nodev", "noexec"],
            MountKind::Proc => &["ro", "nosuid", "nodev", "noexec"],
            // The kernel is handed the rest, and refuses what it does not know.
            MountKind::Tmpfs | MountKind::Devpts => &[],
        };
        let unknown = self.options.iter().find(|option| !known.contains(&option.as_str()));
        if let (false, Some(option)) = (known.is_empty(), unknown) {
            return Err(format!("the bundle mounts {place} with {option:?}, which is unknown"));
        }
        match self.kind {
            MountKind::Bind => {
                if self.options.iter().all(|option| option != "rbind") {
                    return Err(format!("the bundle mounts {place} without \"rbind\", and all binds are so"));
                }
                Ok(())
            }
            // It stands in the list of mounts, and for nothing.
            _ if self.source != self.kind.name() => {
                Err(format!("the bundle mounts {place} from {:?}, where there is no source", self.source))
            }
            _ => Ok(()),
        }
    }
}
