//! `config.json` and the root folder of a sandbox, by a pure function from its description.

mod host_image;
mod limits;
mod runtime;

use std::path::{Path, PathBuf};

use agentkernel_cgroup::CgroupPlan;
use agentkernel_core::{
    Access, ByteSize, Error, ErrorKind, HostSocket, Image, Limits, Profile, Result, SandboxSpec, User,
};
use agentkernel_hardening::limits::{SHM_BYTES, tmpfs_inodes};
use agentkernel_hardening::lists::OWN_FOLDERS;
use serde_json::{Value, json};

pub(crate) use agentkernel_hardening::lists::{
    DEVICE_NUMBERS, DEVICES, MASKED_PATHS, READ_ONLY_PATHS, ROOT_CAPABILITIES,
};
pub(crate) use limits::rlimit_values;

use crate::capability;
use crate::engine::Runtime;
use crate::plan::{BindOptions, IdMap, Launch, Owners, Plan, Privilege, SeccompPlan, Step};

/// Where the supervisor mounts the stage, in its own mount namespace. A folder that every Linux has,
/// and that everybody may pass through: the sandbox's root comes here with an id that owns nothing.
pub(crate) const STAGE: &str = "/tmp";

/// The root folder, below the stage.
pub(crate) const ROOTFS: &str = "rootfs";

/// Where commands start, and HOME.
pub(crate) const WORKSPACE: &str = "/workspace";

/// Places inside that can be written to, each a tmpfs of its own.
pub(crate) const WRITABLE: [&str; 3] = [WORKSPACE, "/tmp", "/dev/shm"];

/// Facts of the host that a plan depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFacts {
    /// Who we are and which ids the sandbox gets.
    pub privilege: Privilege,
    /// Name of the control group, if one can be had.
    pub cgroup: Option<String>,
    /// Whether the host has swap space: then it must be limited too, else there is none to limit.
    pub swap: bool,
    /// Whether control groups have rules for devices here.
    pub device_rules: bool,
    /// The caller's own hard limit of open files, which it may not exceed.
    pub open_files_max: u64,
    /// The caller's own hard limit of pending signals, likewise.
    pub signals_max: u64,
    /// Where programs and libraries are, for the host image.
    pub host_layout: HostLayout,
    /// The runtime that makes the container, unless we do.
    pub runtime: Option<Runtime>,
}

/// Top-level folders of the host: real, or links into /usr.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLayout {
    /// Name (`bin`) and, if it is a link, what it says (`usr/bin`).
    pub folders: Vec<(String, Option<PathBuf>)>,
}

/// Decides everything about one sandbox, or refuses with the name of what cannot be enforced.
pub fn plan(spec: &SandboxSpec, facts: &PlanFacts) -> Result<Plan> {
    runtime::refuse_without_root(facts)?;
    refuse_what_cannot_be_enforced(spec, facts)?;
    Ok(Plan {
        name: spec.name().to_string(),
        hostname: spec.hostname().to_string(),
        privilege: facts.privilege,
        stage: stage(spec, facts),
        config: config(spec, facts),
        cgroup: facts.cgroup.as_ref().map(|path| cgroup_plan(spec, path, facts)),
        around: match (&facts.runtime, &facts.cgroup) {
            (Some(_), Some(path)) => limits::resources(&cgroup_plan(spec, path, facts), facts),
            _ => Value::Null,
        },
        lifetime_ms: spec.lifetime().map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        seccomp: SeccompPlan::Full,
        launch: match &facts.runtime {
            Some(runtime) => Launch::Program(runtime.launcher(spec.name().as_str())),
            None => Launch::Embedded,
        },
    })
}

fn cgroup_plan(spec: &SandboxSpec, path: &str, facts: &PlanFacts) -> CgroupPlan {
    let limits = spec.limits();
    CgroupPlan {
        path: path.to_owned(),
        memory_bytes: limits.memory.value().map(ByteSize::get),
        cpu_milli: limits.cpus.value().map(|cpus| u64::from(cpus.as_milli())),
        pids: limits.pids.value().map(|pids| runtime::host_pids(facts.runtime.as_ref(), u64::from(pids))),
    }
}

fn refuse_what_cannot_be_enforced(spec: &SandboxSpec, facts: &PlanFacts) -> Result<()> {
    spec.image().refuse_unless_files()?;
    let least = u64::from(Limits::OPEN_FILES_MIN);
    if facts.open_files_max < least {
        let why = format!(
            "this user may open {} at most, and a sandbox itself needs {least}",
            facts.open_files_max
        );
        return Err(Error::new(ErrorKind::ControlRefused, "start the sandbox", why)
            .on("open files")
            .hint(format!("raise the hard limit to {least} or more (ulimit -n)")));
    }
    if facts.cgroup.is_some() {
        return Ok(());
    }
    // Processes are limited by RLIMIT_NPROC as well, which counts by user namespace.
    spec.limits().refuse_unenforced(
        &["memory", "cpus"],
        "this limit needs a control group, and this user may not make one",
        "run as root, or on a host with cgroup v2 in a delegated group (systemd-run --user --scope agentkernel …)",
    )
}

fn stage(spec: &SandboxSpec, facts: &PlanFacts) -> Vec<Step> {
    let mut steps = vec![Step::Folder { path: ROOTFS.into(), mode: 0o755 }];
    match spec.image() {
        // Of a named one there is nothing: it was refused.
        Image::Named(_) | Image::Module(_) => {}
        Image::Host => steps.extend(host_image::steps(spec, &facts.host_layout)),
        Image::Rootfs(folder) => {
            steps.extend(own_places());
            steps.push(Step::Entries {
                path: ROOTFS.into(),
                source: folder.clone(),
                except: OWN_FOLDERS.iter().map(|(name, _)| (*name).to_owned()).collect(),
            });
        }
    }
    if !spec.mounts().is_empty() {
        steps.push(Step::Folder { path: "mounts".into(), mode: 0o711 });
    }
    for (index, mount) in spec.mounts().iter().enumerate() {
        let owners = match facts.privilege {
            Privilege::Root { .. } => {
                let made_by_root = runtime::makes_files_as_root(facts.runtime.as_ref());
                Owners::RootAs { uid: spec.user().uid, gid: spec.user().gid, made_by_root }
            }
            // The only id inside is the caller's own: his files are his there too.
            Privilege::Rootless { .. } => Owners::Unmapped,
        };
        let options = BindOptions { read_only: mount.access() == Access::ReadOnly, optional: false, owners };
        steps.push(Step::Bind { path: staged_mount(index), source: mount.source().to_owned(), options });
        // The writable places are mounted later and are the container's own.
        if !WRITABLE.iter().any(|place| mount.target().starts_with(place)) {
            steps.push(Step::MountPoint { path: mount.target().to_owned(), like: staged_mount(index) });
        }
    }
    steps
}

/// The folders that the sandbox provides itself, and the link to its sockets.
fn own_places() -> impl Iterator<Item = Step> {
    let shown = HostSocket::SHOWN_FOLDER.trim_start_matches('/');
    let link = Step::Link { path: Path::new(ROOTFS).join(shown), target: HostSocket::FOLDER.into() };
    OWN_FOLDERS.iter().map(|(name, mode)| own_folder(name, *mode)).chain([link])
}

fn own_folder(name: &str, mode: u32) -> Step {
    Step::Folder { path: Path::new(ROOTFS).join(name), mode }
}

fn staged_mount(index: usize) -> PathBuf {
    Path::new("mounts").join(index.to_string())
}

/// The OCI runtime configuration. Annotations and hooks do not exist here: no image, label or
/// request has a way to add any.
fn config(spec: &SandboxSpec, facts: &PlanFacts) -> Value {
    let user = spec.user();
    let mut config = json!({
        "ociVersion": "1.0.2",
        "hostname": spec.hostname().as_str(),
        "root": {"path": ROOTFS, "readonly": true},
        "process": {
            "terminal": false,
            "user": {"uid": user.uid, "gid": user.gid},
            "args": ["agentkernel-guest", "--door"],
            "env": [],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": capability_sets(spec, facts.privilege),
            "rlimits": limits::rlimits(spec, facts),
        },
        "mounts": mounts(spec),
        "linux": {
            "namespaces": NAMESPACES.map(|kind| json!({"type": kind})),
            "maskedPaths": MASKED_PATHS,
            "readonlyPaths": READ_ONLY_PATHS,
            "rootfsPropagation": "private",
        },
    });
    let linux = &mut config["linux"];
    let (uids, gids) = facts.privilege.id_maps();
    let mapping = |map: IdMap| json!([{"containerID": map.inside, "hostID": map.outside, "size": map.count}]);
    linux["uidMappings"] = mapping(uids);
    linux["gidMappings"] = mapping(gids);
    if let Some(cgroup) = &facts.cgroup {
        linux["cgroupsPath"] = json!(cgroup);
        linux["resources"] = limits::resources(&cgroup_plan(spec, cgroup, facts), facts);
    }
    if let Some(runtime) = &facts.runtime {
        runtime::adapt(&mut config, runtime, user);
    }
    config
}

const NAMESPACES: [&str; 7] = ["pid", "network", "ipc", "uts", "mount", "cgroup", "user"];

/// The capabilities of a sandbox's processes. Without root nobody has any: even a root inside has one id to do
/// things with.
pub(crate) fn capabilities(spec: &SandboxSpec, privilege: Privilege) -> capability::Set {
    capability::Set::of(capability_names(spec, privilege).iter().copied()).unwrap_or_default()
}

fn capability_names(spec: &SandboxSpec, privilege: Privilege) -> &'static [&'static str] {
    let is_root = spec.profile() == Profile::Permissive && spec.user() == User::ROOT;
    match privilege {
        Privilege::Root { .. } if is_root => ROOT_CAPABILITIES,
        Privilege::Root { .. } | Privilege::Rootless { .. } => &[],
    }
}

fn capability_sets(spec: &SandboxSpec, privilege: Privilege) -> Value {
    let names = capability_names(spec, privilege);
    json!({"bounding": names, "permitted": names, "effective": names, "inheritable": [], "ambient": []})
}

fn mounts(spec: &SandboxSpec) -> Value {
    let user = spec.user();
    let owner = format!("uid={},gid={}", user.uid, user.gid);
    let tmpfs = |target: &str, bytes: u64, options: &str| {
        let inodes = tmpfs_inodes(bytes);
        let options = format!("nosuid,nodev,size={bytes},nr_inodes={inodes},{options}");
        mount(target, "tmpfs", "tmpfs", &options)
    };
    let disk = spec.limits().disk.get();
    let mut mounts = vec![
        mount("/proc", "proc", "proc", "nosuid,noexec,nodev"),
        tmpfs("/dev", 64 << 10, "noexec,strictatime,mode=755"),
        mount("/dev/pts", "devpts", "devpts", "nosuid,noexec,newinstance,ptmxmode=0666,mode=0620"),
        tmpfs("/dev/shm", SHM_BYTES.min(disk), "noexec,mode=1777"),
        tmpfs("/tmp", disk, "mode=1777"),
        tmpfs(WORKSPACE, disk, &format!("mode=755,{owner}")),
    ];
    for (index, bind) in spec.mounts().iter().enumerate() {
        let source = Path::new(STAGE).join(staged_mount(index));
        let access = if bind.access() == Access::ReadOnly { "ro" } else { "rw" };
        let target = bind.target().to_string_lossy();
        let options = format!("rbind,nosuid,nodev,{access}");
        mounts.push(mount(&target, "bind", &source.to_string_lossy(), &options));
    }
    Value::Array(mounts)
}

fn mount(target: &str, kind: &str, source: &str, options: &str) -> Value {
    let options: Vec<&str> = options.split(',').collect();
    json!({"destination": target, "type": kind, "source": source, "options": options})
}

#[cfg(test)]
mod tests;
