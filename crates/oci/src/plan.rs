//! What the supervisor is to do, as data: decided by the host side, printed in tests, carried out
//! elsewhere.

use std::path::PathBuf;

pub use agentkernel_cgroup::CgroupPlan;
use serde::{Deserialize, Serialize};

use crate::engine::Launcher;
use crate::idblock::BLOCK_SIZE;

/// Everything that one sandbox needs to come up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Its name, which is also its container id.
    pub name: String,
    /// What it calls itself.
    pub hostname: String,
    /// Who the host side is.
    pub privilege: Privilege,
    /// The root folder and all that is in it, in the order to be made.
    pub stage: Vec<Step>,
    /// The OCI runtime configuration, `config.json`.
    pub config: serde_json::Value,
    /// Its control group, if it has one.
    pub cgroup: Option<CgroupPlan>,
    /// What that group allows, as `linux.resources`, where the configuration says nothing of it: a runtime would make it
    /// the limits of a group of its own.
    pub around: serde_json::Value,
    /// Killed after so many milliseconds.
    pub lifetime_ms: Option<u64>,
    /// The system call filter.
    pub seccomp: SeccompPlan,
    /// Who makes the container.
    pub launch: Launch,
}

impl Plan {
    /// What the control group allows, as `linux.resources` of an OCI configuration.
    pub(crate) fn resources(&self) -> &serde_json::Value {
        match self.launch {
            Launch::Embedded => &self.config["linux"]["resources"],
            Launch::Program(_) => &self.around,
        }
    }
}

/// Who makes a container out of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Launch {
    /// We do.
    Embedded,
    /// A container runtime of the host, by this order.
    Program(Launcher),
}

/// The system call filter of a sandbox. [`crate::bundle::plan`] only ever says [`SeccompPlan::Full`];
/// the other two are for tests that show what the filter is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SeccompPlan {
    /// Everything that can be blocked is.
    Full,
    /// All but these calls.
    Without(Vec<String>),
    /// No filter.
    Off,
}

/// What the host side may do, and so how identities inside map to identities outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Privilege {
    /// Root: the sandbox's ids 0 to 65535 are a block of host ids of its own.
    Root {
        /// Host id of id 0.
        first_id: u32,
    },
    /// An ordinary user: one id inside, which is the user's own outside.
    Rootless {
        /// The user.
        uid: u32,
        /// His primary group.
        gid: u32,
        /// The sandbox's user, in the inner namespace.
        inside_uid: u32,
        /// The sandbox's group, in the inner namespace.
        inside_gid: u32,
    },
}

/// A line of a user namespace's map, in the host's ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IdMap {
    pub(crate) inside: u32,
    pub(crate) outside: u32,
    pub(crate) count: u32,
}

impl std::fmt::Display for IdMap {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} {} {}", self.inside, self.outside, self.count)
    }
}

impl Privilege {
    /// The maps of the sandbox's user namespace: users and groups.
    pub(crate) fn id_maps(self) -> (IdMap, IdMap) {
        match self {
            Self::Root { first_id } => {
                let block = IdMap { inside: 0, outside: first_id, count: BLOCK_SIZE };
                (block, block)
            }
            Self::Rootless { uid, gid, inside_uid, inside_gid } => (
                IdMap { inside: inside_uid, outside: uid, count: 1 },
                IdMap { inside: inside_gid, outside: gid, count: 1 },
            ),
        }
    }

    /// The host's id for the uid that the sandbox's processes run as.
    pub(crate) fn host_uid(self, inside: u32) -> u32 {
        match self {
            Self::Root { first_id } => first_id + inside,
            Self::Rootless { uid, .. } => uid,
        }
    }
}

/// One step of building the stage: a tmpfs in a mount namespace of the supervisor's own, so that
/// nothing of it ever exists on the host. Paths are relative to the stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// A folder.
    Folder {
        /// Where.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where.
        path: PathBuf,
        /// What it says.
        target: PathBuf,
    },
    /// A file with this content.
    File {
        /// Where.
        path: PathBuf,
        /// What is in it.
        content: String,
    },
    /// A host file or folder, with everything mounted below it; nosuid and nodev always.
    Bind {
        /// Where.
        path: PathBuf,
        /// On the host.
        source: PathBuf,
        /// How.
        options: BindOptions,
    },
    /// An empty folder or file for a mount that comes later, made here because the container's own root
    /// may not write into the stage.
    MountPoint {
        /// Where, in the sandbox.
        path: PathBuf,
        /// The staged folder or file that will be mounted on it.
        like: PathBuf,
    },
    /// A copy of a small host file, if there is one: cheaper than a mount, each of which makes every
    /// later look at the mounts longer.
    Copy {
        /// Where.
        path: PathBuf,
        /// On the host.
        source: PathBuf,
    },
    /// Every entry of a host folder but those named, read-only.
    Entries {
        /// Where.
        path: PathBuf,
        /// On the host.
        source: PathBuf,
        /// Names that the sandbox provides itself.
        except: Vec<String>,
    },
}

/// How a host file or folder is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindOptions {
    /// Nothing can be changed through it.
    pub read_only: bool,
    /// Its absence is no error.
    pub optional: bool,
    /// Whom its files belong to, seen from inside.
    pub owners: Owners,
}

/// Whom the files of a mount belong to, seen from inside. On disk nothing changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owners {
    /// As the user namespace shows them: whoever is not mapped is nobody.
    Unmapped,
    /// The owner of the mount's root is shown as this user and group, and what they make belongs to
    /// him on disk.
    RootAs {
        /// User inside.
        uid: u32,
        /// Group inside.
        gid: u32,
        /// Whether it is the sandbox's root who makes them, and gives them to him: so does gVisor's gofer. Until then they
        /// belong to the host's id of that root on disk, which is nobody else's.
        made_by_root: bool,
    },
    /// Ids 0 to 65535 on disk are the same ids inside.
    Same,
}

impl BindOptions {
    /// Read-only, must exist, owners as they are.
    pub(crate) const READ_ONLY: Self = Self { read_only: true, optional: false, owners: Owners::Unmapped };
    /// Read-only if it exists.
    pub(crate) const IF_PRESENT: Self = Self { read_only: true, optional: true, owners: Owners::Unmapped };
}
