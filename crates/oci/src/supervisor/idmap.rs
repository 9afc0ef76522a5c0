//! User namespaces that exist only to say how the owners of a mount are shown.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;

use crate::idblock::BLOCK_SIZE;
use crate::plan::{Owners, Privilege};
use crate::sys::{self, Forked};

/// Makes the namespaces for one sandbox's mounts.
pub(super) struct IdMaps {
    privilege: Privilege,
}

impl IdMaps {
    pub(super) fn new(privilege: Privilege) -> Self {
        Self { privilege }
    }

    /// The namespace that shows `owners` as asked, for a mount whose root belongs to `owner` on disk.
    /// `None` where nothing is to be mapped.
    pub(super) fn namespace(&self, owners: Owners, owner: (u32, u32)) -> io::Result<Option<OwnedFd>> {
        let Privilege::Root { first_id } = self.privilege else {
            return Ok(None); // mapping owners is the privilege of the host's root
        };
        let maps = match owners {
            Owners::Unmapped => return Ok(None),
            Owners::RootAs { uid, gid } => {
                (format!("{} {} 1", owner.0, first_id + uid), format!("{} {} 1", owner.1, first_id + gid))
            }
            Owners::Same => {
                let whole = format!("0 {first_id} {BLOCK_SIZE}");
                (whole.clone(), whole)
            }
        };
        make_namespace(&maps.0, &maps.1).map(Some)
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
