//! The part of the OCI runtime configuration that is carried out here. Anything else is refused, so that
//! whatever a bundle says is also what holds.

use serde::Deserialize;
use serde_json::Value;

use crate::capability;

/// `config.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    #[serde(rename = "ociVersion")]
    _oci_version: String,
    pub(super) hostname: Option<String>,
    pub(super) root: Root,
    pub(super) process: Process,
    pub(super) mounts: Vec<Mount>,
    pub(super) linux: Linux,
}

/// `root`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Root {
    pub(super) path: String,
    pub(super) readonly: bool,
}

/// `process`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Process {
    /// False always: the guest agent makes the terminals.
    #[serde(rename = "terminal")]
    _terminal: bool,
    pub(super) user: User,
    pub(super) args: Vec<String>,
    /// Empty always: the guest agent gets its commands' variables by its stream.
    #[serde(rename = "env")]
    _env: [String; 0],
    pub(super) cwd: String,
    pub(super) no_new_privileges: bool,
    pub(super) capabilities: Capabilities,
    pub(super) rlimits: Vec<Rlimit>,
}

/// `process.user`, with ids as seen inside.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    #[serde(default)]
    pub(super) additional_gids: Vec<u32>,
}

/// `process.capabilities`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Capabilities {
    pub(super) bounding: capability::Set,
    pub(super) permitted: capability::Set,
    pub(super) effective: capability::Set,
    pub(super) inheritable: capability::Set,
    pub(super) ambient: capability::Set,
}

/// One of `process.rlimits`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rlimit {
    #[serde(rename = "type")]
    pub(super) kind: RlimitKind,
    pub(super) soft: u64,
    pub(super) hard: u64,
}

/// The limits that a bundle of ours sets.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) enum RlimitKind {
    #[serde(rename = "RLIMIT_NOFILE")]
    OpenFiles,
    #[serde(rename = "RLIMIT_CORE")]
    Core,
    #[serde(rename = "RLIMIT_MEMLOCK")]
    LockedMemory,
    #[serde(rename = "RLIMIT_FSIZE")]
    FileSize,
    #[serde(rename = "RLIMIT_NPROC")]
    Processes,
}

/// One of `mounts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mount {
    pub(super) destination: String,
    #[serde(rename = "type")]
    pub(super) kind: MountKind,
    pub(super) source: String,
    pub(super) options: Vec<String>,
}

/// The file systems that a bundle of ours mounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum MountKind {
    /// Processes.
    Proc,
    /// In memory.
    Tmpfs,
    /// Terminals.
    Devpts,
    /// A folder or file of the stage.
    Bind,
}

impl MountKind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Proc => "proc",
            Self::Tmpfs => "tmpfs",
            Self::Devpts => "devpts",
            Self::Bind => "bind",
        }
    }
}

/// `linux`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Linux {
    pub(super) namespaces: Vec<Namespace>,
    pub(super) masked_paths: Vec<String>,
    pub(super) readonly_paths: Vec<String>,
    /// Private always.
    #[serde(rename = "rootfsPropagation")]
    _rootfs_propagation: Private,
    #[serde(default)]
    pub(super) uid_mappings: Vec<IdMapping>,
    #[serde(default)]
    pub(super) gid_mappings: Vec<IdMapping>,
    /// The control group is made by the supervisor, see [`crate::cgroup`].
    #[serde(rename = "cgroupsPath")]
    _cgroups_path: Option<String>,
    #[serde(rename = "resources")]
    _resources: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Private {
    Private,
}

/// One of `linux.namespaces`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Namespace {
    #[serde(rename = "type")]
    pub(super) kind: NamespaceKind,
}

/// The namespaces of Linux but that of time, of which nobody has asked for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum NamespaceKind {
    Pid,
    Network,
    Ipc,
    Uts,
    Mount,
    Cgroup,
    User,
}

/// One of `linux.uidMappings` or `linux.gidMappings`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IdMapping {
    #[serde(rename = "containerID")]
    pub(super) inside: u32,
    #[serde(rename = "hostID")]
    pub(super) outside: u32,
    pub(super) size: u32,
}

impl IdMapping {
    /// A line of `/proc/PID/uid_map`.
    pub(super) fn line(self) -> String {
        format!("{} {} {}\n", self.inside, self.outside, self.size)
    }
}

impl Config {
    /// Reads a configuration, and refuses one that asks for what is not done here.
    pub(crate) fn read(value: &Value) -> Result<Self, String> {
        let config: Self = serde_json::from_value(value.clone()).map_err(|why| why.to_string())?;
        if !config.has(NamespaceKind::Mount) {
            return Err("the bundle lacks the mount namespace, and the host's mounts are not touched".into());
        }
        if config.hostname.is_some() && !config.has(NamespaceKind::Uts) {
            return Err("the bundle lacks the uts namespace, and the host's name is not touched".into());
        }
        Ok(config)
    }

    pub(super) fn has(&self, kind: NamespaceKind) -> bool {
        self.linux.namespaces.iter().any(|namespace| namespace.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn bundle() -> Value {
        json!({
            "ociVersion": "1.0.2",
            "hostname": "x",
            "root": {"path": "rootfs", "readonly": true},
            "process": {
                "terminal": false,
                "user": {"uid": 1, "gid": 1},
                "args": ["a"],
                "env": [],
                "cwd": "/",
                "noNewPrivileges": true,
                "capabilities": {
                    "bounding": ["CAP_CHOWN"], "permitted": [], "effective": [], "inheritable": [], "ambient": []
                },
                "rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}],
            },
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]}],
            "linux": {
                "namespaces": [{"type": "mount"}, {"type": "uts"}],
                "maskedPaths": [],
                "readonlyPaths": [],
                "rootfsPropagation": "private",
            },
        })
    }

    #[test]
    fn a_bundle_of_ours_is_understood() {
        let config = Config::read(&bundle()).expect("understood");
        assert!(config.has(NamespaceKind::Uts) && !config.has(NamespaceKind::User));
        assert_eq!(config.process.capabilities.bounding.bits(), 1);
    }

    #[test]
    fn what_is_not_carried_out_is_refused_by_name() {
        let changes: [(&str, Value); 8] = [
            ("/hooks", json!({})),
            ("/annotations", json!({"dev.gvisor.flag.host-uds": "all"})),
            ("/process/apparmorProfile", json!("unconfined")),
            ("/process/env", json!(["LD_PRELOAD=/x"])),
            ("/process/rlimits/0/type", json!("RLIMIT_RTPRIO")),
            ("/process/capabilities/bounding", json!(["CAP_NONSENSE"])),
            ("/linux/rootfsPropagation", json!("shared")),
            ("/mounts/0/type", json!("cgroup")),
        ];
        for (pointer, value) in changes {
            let mut changed = bundle();
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            changed.pointer_mut(parent).expect("there")[name] = value;
            assert!(Config::read(&changed).is_err(), "{pointer} was accepted");
        }
    }

    #[test]
    fn the_hosts_mounts_and_name_are_never_touched() {
        let mut without = bundle();
        without["linux"]["namespaces"] = json!([{"type": "uts"}]);
        assert!(Config::read(&without).expect_err("refused").contains("mount namespace"));
        without["linux"]["namespaces"] = json!([{"type": "mount"}]);
        assert!(Config::read(&without).expect_err("refused").contains("uts namespace"));
    }
}
