//! What Apple's container cannot enforce, by the name of the field.

use std::fmt::Display;
use std::path::{Component, Path};

use agentkernel_core::{
    ByteSize, CpuCount, Error, ErrorKind, Image, ImageName, Limit, Network, Result, SandboxSpec,
};
use agentkernel_hardening::limits::SHM_BYTES;

use super::Facts;
use crate::apple::argv::ContainerName;
use crate::apple::version::{NEEDED, SHM_SIZE, missing};
use crate::plan::{runs_no_module, shm_bytes};

/// Least memory of a machine, MiB: the program makes none with less.
const MEMORY_MIN_MIB: u64 = 200;

const MIB: u64 = 1 << 20;

/// What a description is in the program's units.
pub(super) struct Checked<'a> {
    pub(super) name: ContainerName,
    pub(super) image: &'a ImageName,
    pub(super) cpus: u32,
    pub(super) memory_mib: u64,
    pub(super) disk_mib: u64,
    pub(super) shm_mib: u64,
}

/// Finds what cannot be enforced.
pub(super) fn check<'a>(spec: &'a SandboxSpec, facts: &Facts) -> Result<Checked<'a>> {
    let Network::None = spec.network();
    let image = image(spec)?;
    let limits = spec.limits();
    version(facts, shm_bytes(limits))?;
    let name = ContainerName::of(spec)
        .map_err(|why| refused(format!("name {}", spec.name()), why).hint("choose a shorter --name"))?;
    let cpus = cpus(limits.cpus)?;
    let memory_mib = memory(limits.memory)?;
    let disk_mib = whole_mib("disk", limits.disk)?;
    if spec.user().uid == 0 && limits.pids != Limit::Unlimited {
        let why = "its processes are counted by their user there, and nobody counts root's";
        return Err(refused(format!("user {} with pids {}", spec.user(), limits.pids), why)
            .hint("use another user, or --pids unlimited"));
    }
    path(&facts.agent_folder, "the folder of the guest agent", "set AGENTKERNEL_HOME to another folder")?;
    for mount in spec.mounts() {
        for place in [mount.source(), mount.target()] {
            path(place, "mount", "rename it")?;
        }
    }
    // Whole ones, as both are of which it is the smaller.
    let shm_mib = shm_bytes(limits) / MIB;
    Ok(Checked { name, image, cpus, memory_mib, disk_mib, shm_mib })
}

fn image(spec: &SandboxSpec) -> Result<&ImageName> {
    const HINT: &str = "name one with --image, as in --image docker.io/library/python:3.13";
    match spec.image() {
        Image::Named(name) => Ok(name),
        Image::Host => {
            let why = "programs of this host do not run in a Linux machine of Apple's container, which needs an image";
            Err(refused("image host".into(), why).hint(HINT))
        }
        Image::Rootfs(folder) => {
            let why = "Apple's container makes machines of images and not of folders";
            Err(refused(format!("root folder {}", folder.display()), why).hint(HINT))
        }
        Image::Module(module) => Err(runs_no_module(module)),
    }
}

fn version(facts: &Facts, shm: u64) -> Result<()> {
    let of_size = (shm != SHM_BYTES && facts.version < SHM_SIZE.since).then_some(SHM_SIZE);
    let Some(feature) = missing(facts.version).or(of_size) else { return Ok(()) };
    let why = format!(
        "Apple's container has {} since version {}, and this is {}",
        feature.words, feature.since, facts.version
    );
    let needed = NEEDED[NEEDED.len() - 1].since.max(feature.since);
    Err(refused(feature.field.into(), why).hint(format!("upgrade it to {needed} or newer")))
}

fn cpus(limit: Limit<CpuCount>) -> Result<u32> {
    let milli = limit.value().map(CpuCount::as_milli);
    match milli.map(u64::from) {
        Some(milli) if milli >= 1000 && milli % 1000 == 0 => u32::try_from(milli / 1000)
            .map_err(|why| refused(format!("cpus {limit}"), why).hint("ask for fewer")),
        _ => Err(refused(format!("cpus {limit}"), "a machine of Apple's container has whole processors")
            .hint("use --cpus 1, or another whole number")),
    }
}

fn memory(limit: Limit<ByteSize>) -> Result<u64> {
    let Some(memory) = limit.value() else {
        let why = "a machine of Apple's container has so much memory and no more";
        return Err(refused("memory unlimited".into(), why).hint("name a size, as in --memory 4G"));
    };
    let mib = whole_mib("memory", memory)?;
    if mib < MEMORY_MIN_MIB {
        let why = format!("a machine of Apple's container has {MEMORY_MIN_MIB} MiB at least");
        return Err(refused(format!("memory {memory}"), why).hint(format!("use --memory {MEMORY_MIN_MIB}M")));
    }
    Ok(mib)
}

fn whole_mib(what: &str, size: ByteSize) -> Result<u64> {
    let bytes = size.get();
    if bytes >= MIB && bytes.is_multiple_of(MIB) {
        return Ok(bytes / MIB);
    }
    Err(refused(format!("{what} {size}"), "Apple's container counts in whole MiB")
        .hint(format!("use --{what} {}M", bytes.div_ceil(MIB))))
}

/// Paths go between commas, behind an equals sign.
fn path(path: &Path, what: &str, hint: &str) -> Result<()> {
    let is_plain = |letter: char| !letter.is_control() && !",=".contains(letter);
    let is_direct = path.components().all(|part| part != Component::ParentDir);
    if path.is_absolute() && is_direct && path.to_str().is_some_and(|text| text.chars().all(is_plain)) {
        return Ok(());
    }
    let why = "Apple's container takes paths of UTF-8 without ',', '=', '..' and control characters";
    Err(refused(format!("{what} {}", path.display().to_string().escape_debug()), why).hint(hint))
}

pub(super) fn refused(subject: String, why: impl Display) -> Error {
    Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(subject)
}
