//! User namespaces that exist only to say how the owners of a mount are shown.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use crate::idblock::BLOCK_SIZE;
use crate::plan::{Owners, Plan, Privilege, Step};
use crate::sys::{self, Forked};

/// The namespaces for one sandbox's mounts, by what is written into their maps. They are made by the supervisor:
/// in the container's PID namespace the host's /proc knows no process by its number.
pub(super) struct IdMaps {
    privilege: Privilege,
    namespaces: BTreeMap<(String, String), OwnedFd>,
}

impl IdMaps {
    /// Makes all that a plan needs.
    pub(super) fn prepare(plan: &Plan) -> io::Result<Self> {
        let mut maps = Self { privilege: plan.privilege, namespaces: BTreeMap::new() };
        for step in &plan.stage {
            let (source, owners) = match step {
                Step::Bind { source, options, .. } => (source, options.owners),
                Step::Entries { source, .. } => (source, Owners::Same),
                _ => continue,
            };
            // If it is not there, that is said when it is opened.
            let Ok(facts) = fs::metadata(source) else { continue };
            if let Some(key) = maps.texts(owners, (facts.uid(), facts.gid()))
                && !maps.namespaces.contains_key(&key)
            {
                let namespace = make_namespace(&key.0, &key.1)?;
                maps.namespaces.insert(key, namespace);
            }
        }
        Ok(maps)
    }

    /// The namespace that shows `owners` as asked, for a mount whose root belongs to `owner` on disk. `None`
    /// where nothing is to be mapped.
    pub(super) fn namespace(&self, owners: Owners, owner: (u32, u32)) -> io::Result<Option<BorrowedFd<'_>>> {
        let Some(key) = self.texts(owners, owner) else { return Ok(None) };
        let changed = || io::Error::other("its owner has changed meanwhile");
        self.namespaces.get(&key).map(|namespace| Some(namespace.as_fd())).ok_or_else(changed)
    }

    fn texts(&self, owners: Owners, owner: (u32, u32)) -> Option<(String, String)> {
        let Privilege::Root { first_id } = self.privilege else {
            return None; // mapping owners is the privilege of the host's root
        };
        match owners {
            Owners::Unmapped => None,
            Owners::RootAs { uid, gid, made_by_root } => {
                // No id can be shown twice, nor be two.
                let root = |on_disk: u32, inside: u32| {
                    let is_free = made_by_root && inside != 0 && on_disk != first_id;
                    if is_free { format!("\n{first_id} {first_id} 1") } else { String::new() }
                };
                let map =
                    |on_disk, inside| format!("{on_disk} {} 1{}", first_id + inside, root(on_disk, inside));
                Some((map(owner.0, uid), map(owner.1, gid)))
            }
            Owners::Same => {
                let whole = format!("0 {first_id} {BLOCK_SIZE}");
                Some((whole.clone(), whole))
            }
        }
    }
}

/// A user namespace with these maps, kept alive by the returned descriptor alone.
fn make_namespace(uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    let (ready, tell) = io::pipe()?;
    let (wait, done) = io::pipe()?;
    match sys::fork()? {
        Forked::Child => {
            drop((ready, done));
            let result = sys::unshare(libc::CLONE_NEWUSER);
            let code = i32::from(result.is_err());
            drop(tell); // the parent sees the end of file
            let mut wait = wait;
            // Nothing is ever written: this returns when the parent has finished, or has died.
            let finished = wait.read(&mut [0]).is_ok();
            sys::exit_now(if finished { code } else { 1 })
        }
        Forked::Parent(pid) => {
            drop((tell, wait));
            let mut ready = ready;
            ready.read_to_end(&mut Vec::new())?;
            let namespace = write_maps(pid, uid_map, gid_map);
            drop(done);
            sys::wait_for(pid)?;
            namespace
        }
    }
}

fn write_maps(pid: i32, uid_map: &str, gid_map: &str) -> io::Result<OwnedFd> {
    fs::write(format!("/proc/{pid}/uid_map"), uid_map)?;
    fs::write(format!("/proc/{pid}/gid_map"), gid_map)?;
    Ok(File::open(format!("/proc/{pid}/ns/user"))?.into())
}
