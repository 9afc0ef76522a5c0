//! Who the processes of a container are: ids, groups, limits, capabilities.

use std::fs;
use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, Gid, Uid};

use super::config::{Capabilities, Config, IdMapping, NamespaceKind, RlimitKind};
use super::{Failure, during};
use crate::plan::Privilege;
use crate::sys;

/// Writes the maps of the caller's own new user namespace: one id each, as (inside, outside).
pub(super) fn map_self(uid: (u32, u32), gid: (u32, u32)) -> io::Result<()> {
    // An undumpable process's /proc files are root's.
    sys::prctl(libc::PR_SET_DUMPABLE, 1)?;
    // Without the right to drop groups nobody may write a group map (CVE-2014-8989).
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{} {} 1", uid.0, uid.1))?;
    fs::write("/proc/self/gid_map", format!("{} {} 1", gid.0, gid.1))?;
    sys::prctl(libc::PR_SET_DUMPABLE, 0)
}

/// Whose the container's own files are, in the ids of whoever makes it.
pub(super) struct Owners {
    pub(super) uid: u32,
    pub(super) gid: u32,
    uids: Vec<IdMapping>,
    gids: Vec<IdMapping>,
    rootless: bool,
}

impl Owners {
    pub(super) fn new(config: &Config, privilege: Privilege) -> Self {
        let mapped = config.has(NamespaceKind::User);
        let of = |maps: &[IdMapping]| if mapped { maps.to_vec() } else { Vec::new() };
        let mut owners = Self {
            uid: 0,
            gid: 0,
            uids: of(&config.linux.uid_mappings),
            gids: of(&config.linux.gid_mappings),
            rootless: matches!(privilege, Privilege::Rootless { .. }),
        };
        owners.uid = owners.uid_of(config.process.user.uid);
        owners.gid = owners.gid_of(config.process.user.gid);
        owners
    }

    /// The maker's id for a user inside. Without root the maker has one id, its own, which is 0 to him.
    pub(super) fn uid_of(&self, inside: u32) -> u32 {
        if self.rootless { 0 } else { outside(&self.uids, inside) }
    }

    /// The maker's id for a group inside.
    pub(super) fn gid_of(&self, inside: u32) -> u32 {
        if self.rootless { 0 } else { outside(&self.gids, inside) }
    }
}

fn outside(maps: &[IdMapping], inside: u32) -> u32 {
    let offset = |map: &IdMapping| inside.checked_sub(map.inside).filter(|offset| *offset < map.size);
    maps.iter().find_map(|map| Some(map.outside + offset(map)?)).unwrap_or(inside)
}

/// Takes the container's identity, and gives up all that it does not grant.
pub(super) fn take(config: &Config, privilege: Privilege) -> Result<(), Failure> {
    for limit in &config.process.rlimits {
        let value = Rlimit { current: Some(limit.soft), maximum: Some(limit.hard) };
        setrlimit(resource(limit.kind), value).map_err(during(&format!("set the limit {:?}", limit.kind)))?;
    }
    let capabilities = &config.process.capabilities;
    bound(capabilities.bounding.bits()).map_err(during("drop capabilities"))?;
    let user = &config.process.user;
    if matches!(privilege, Privilege::Root { .. }) {
        let groups: Vec<Gid> = user.additional_gids.iter().map(|gid| Gid::from_raw(*gid)).collect();
        rustix::thread::set_thread_groups(&groups).map_err(during("leave the groups"))?;
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        rustix::thread::set_thread_res_gid(gid, gid, gid).map_err(during("take the group"))?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).map_err(during("take the user"))?;
    }
    hold(capabilities).map_err(during("drop capabilities"))?;
    if config.process.no_new_privileges {
        rustix::thread::set_no_new_privs(true).map_err(during("give up new privileges"))?;
    }
    Ok(())
}

fn resource(kind: RlimitKind) -> Resource {
    match kind {
        RlimitKind::OpenFiles => Resource::Nofile,
        RlimitKind::Core => Resource::Core,
        RlimitKind::LockedMemory => Resource::Memlock,
        RlimitKind::FileSize => Resource::Fsize,
        RlimitKind::Processes => Resource::Nproc,
        RlimitKind::PendingSignals => Resource::Sigpending,
    }
}

/// Drops all but these from the bounding set.
fn bound(keep: u64) -> io::Result<()> {
    for number in (0..64).filter(|number| keep & (1 << number) == 0) {
        match sys::prctl(libc::PR_CAPBSET_DROP, number) {
            Ok(()) => {}
            // Beyond the last one that this kernel knows.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Holds exactly these from now on.
fn hold(capabilities: &Capabilities) -> io::Result<()> {
    sys::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong)?;
    let set = |set: crate::capability::Set| CapabilitySet::from_bits_retain(set.bits());
    let sets = CapabilitySets {
        effective: set(capabilities.effective),
        permitted: set(capabilities.permitted),
        inheritable: set(capabilities.inheritable),
    };
    rustix::thread::set_capabilities(None, sets)?;
    for number in (0..64).filter(|number| capabilities.ambient.bits() & (1 << number) != 0) {
        sys::raise_ambient(number)?;
    }
    Ok(())
}
