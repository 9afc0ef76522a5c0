//! What a machine holds on the host as long as it lives, beside its VMM.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use agentkernel_core::{Error, ErrorKind, Result, SandboxName};
use agentkernel_process::OwnId;

use super::start::WHAT;
use crate::folder::PrivateFolder;
use crate::group::{Groups, VmmGroup};
use crate::plan::VmPlan;
use crate::plan::firecracker::JAIL;

/// Its group, its folder and its user; given up in this order.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// None where none can be made.
    group: Option<VmmGroup>,
    /// Its name is taken by it.
    pub(super) folder: PrivateFolder,
    user: Option<OwnId>,
}

impl Holdings {
    pub(super) fn take(above: &Path, name: &SandboxName, groups: Option<&Groups>) -> Result<Self> {
        let forget = |machine: &OsStr| groups.map_or(Ok(()), |groups| groups.forget(machine));
        let folder =
            PrivateFolder::make_after(above, name.as_str(), &forget).map_err(|why| match why.kind() {
                io::ErrorKind::AlreadyExists => {
                    let why = "another sandbox has this name";
                    Error::new(ErrorKind::NameTaken, WHAT, why)
                        .on(name)
                        .hint("choose another name, or stop that one")
                }
                _ => Error::new(ErrorKind::Host, WHAT, why).on(above.display()),
            })?;
        let user = OwnId::take().map_err(|why| Error::new(ErrorKind::Host, "take an id for the VMM", why))?;
        Ok(Self { group: None, folder, user })
    }

    /// The same, with a group for such a VMM.
    pub(super) fn limited(mut self, plan: &VmPlan, groups: Option<&Groups>) -> Result<Self> {
        let made = groups.map(|groups| groups.make(plan)).transpose();
        self.group = made.map_err(|why| Error::new(ErrorKind::Host, "limit the VMM", why).on(&plan.name))?;
        Ok(self)
    }

    /// The group that its VMM is in.
    pub(crate) fn group(&self) -> Option<&VmmGroup> {
        self.group.as_ref()
    }

    /// Its folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Where Firecracker has its files and sockets: in its jail, if it has one.
    pub(crate) fn folder_of_firecracker(&self, plan: &VmPlan) -> PathBuf {
        if plan.jailed { self.path().join(JAIL) } else { self.path().to_owned() }
    }

    /// As whom the VMM runs, if that is not us.
    pub(super) fn own_id(&self) -> Option<u32> {
        self.user.as_ref().map(OwnId::get)
    }

    /// As whom the VMM runs.
    pub(super) fn user(&self) -> u32 {
        self.own_id().unwrap_or_else(|| rustix::process::geteuid().as_raw())
    }

    /// Lets the VMM into the folder.
    pub(super) fn give(&self) -> io::Result<()> {
        self.own_id().map_or(Ok(()), |user| self.folder.give(user))
    }
}
