//! The part of the OCI runtime configuration that is carried out here. Anything else is refused, so that
//! whatever a bundle says is also what holds.

mod check;

use agentkernel_cgroup::DeviceRule;
use serde::Deserialize;
use serde_json::Value;

use crate::capability;
use crate::plan::Plan;

/// `config.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Config {
    oci_version: String,
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
    terminal: bool,
    pub(super) user: User,
    pub(super) args: Vec<String>,
    /// Empty always: the guest agent gets its commands' variables by its stream.
    #[serde(rename = "env")]
    _env: [String; 0],
    /// The root always: the guest agent goes there.
    cwd: String,
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
    #[serde(rename = "RLIMIT_SIGPENDING")]
    PendingSignals,
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
    cgroups_path: Option<String>,
    resources: Option<Resources>,
}

/// `linux.resources`: the keys that the supervisor carries out.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resources {
    devices: Option<Vec<DeviceRule>>,
    #[serde(rename = "memory")]
    _memory: Option<Memory>,
    #[serde(rename = "cpu")]
    _cpu: Option<Cpu>,
    #[serde(rename = "pids")]
    _pids: Option<Pids>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Memory {
    #[serde(rename = "limit")]
    _limit: u64,
    #[serde(rename = "swap")]
    _swap: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cpu {
    #[serde(rename = "quota")]
    _quota: u64,
    #[serde(rename = "period")]
    _period: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pids {
    #[serde(rename = "limit")]
    _limit: u64,
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
    /// Reads the configuration of a plan, and refuses one that asks for what is not done here, or that is
    /// not the plan's.
    pub(crate) fn of(plan: &Plan) -> Result<Self, String> {
        let config = Self::read(&plan.config)?;
        config.is_of(plan)?;
        Ok(config)
    }

    fn read(value: &Value) -> Result<Self, String> {
        let config: Self = serde_json::from_value(value.clone()).map_err(|why| why.to_string())?;
        config.check()?;
        Ok(config)
    }

    pub(super) fn has(&self, kind: NamespaceKind) -> bool {
        self.linux.namespaces.iter().any(|namespace| namespace.kind == kind)
    }
}

#[cfg(test)]
mod tests;
