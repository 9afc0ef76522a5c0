//! Firecracker's machines: it listens on two sockets in a folder of its own, in a jail where we are root.

use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agentkernel_core::{Error, ErrorKind, Result};
use agentkernel_link::still_held;

use super::MicrovmBackend;
use super::holdings::Holdings;
use super::parts::Parts;
use super::qemu::kvm_group;
use super::start::{ANSWER_DEADLINE, Launched, WHAT, Way, host};
use crate::api::Api;
use crate::control::Control;
use crate::folder::gone;
use crate::plan::firecracker::{KERNEL, MEMORY, ROOT, STATE};
use crate::plan::{Beginning, INITRAMFS, VmPlan};
use crate::probe::JailTools;
use crate::renewal;
use crate::vmm::{Given, Jailed, Launch, Vmm};

/// What has no name any more once the machine runs. The sockets keep theirs: each order is a call on the one, and whenever the
/// machine is kept its agent is called anew on the other.
const READ_ONCE: [&str; 5] = [KERNEL, ROOT, INITRAMFS, STATE, MEMORY];

impl MicrovmBackend {
    /// Below this are the folders of machines, by the name of their VMM's program.
    pub(super) fn machines(&self, parts: &Parts) -> PathBuf {
        parts.tools.home.join("machines")
    }

    pub(super) async fn launch_firecracker(
        &self,
        plan: &VmPlan,
        parts: &Parts,
        holdings: &Arc<Holdings>,
        way: Way<'_>,
    ) -> Result<Launched> {
        let host = |why: io::Error| host(why).on(holdings.path().display());
        let folder = self.furnish(plan, parts, holdings, way).map_err(host)?;
        let vmm = self.execute(plan, parts, holdings, way)?;
        // From here on an error drops it, which ends it.
        let api = Api::new(&folder, self.at_most(ANSWER_DEADLINE)).map_err(host)?;
        let told = async {
            vmm.is_worked_by(api.is_there().await?);
            for request in plan.requests() {
                api.ask(&request).await?;
            }
            Ok(())
        };
        self.talks(plan, &vmm, told).await?;
        let calls = async {
            Ok(match way {
                Way::Boots => api.call().await,
                Way::ContinuesFrom(_) => api.call_back(async |stream| renewal::wait(stream).await).await,
                Way::GoesOnFrom(_) => api.call_back(async |stream| still_held(stream).await).await,
            })
        };
        let stream = self.while_it_boots(plan, &vmm, calls).await?;
        for name in READ_ONCE {
            fs::remove_file(folder.join(name)).or_else(|why| gone(&why)).map_err(host)?;
        }
        Ok(Launched { vmm, control: Control::Api(api), stream })
    }

    /// Starts its program, in its jail if it has one.
    fn execute(&self, plan: &VmPlan, parts: &Parts, holdings: &Arc<Holdings>, way: Way<'_>) -> Result<Vmm> {
        let (tools, base) = (&parts.tools, self.machines(parts));
        let kernel = self.store(&tools.home).image();
        let launch = match &tools.jail {
            Some(JailTools { jailer, unshare }) => Launch::Jailed(Jailed {
                setpriv: &tools.setpriv,
                unshare,
                jailer,
                program: &tools.program,
                base: &base,
                name: &plan.name,
                user: plan.user,
            }),
            None => Launch::Given(Given {
                setpriv: &tools.setpriv,
                program: &tools.program,
                given: [&kernel, &parts.root, holdings.path()],
                snapshot: way.files(),
                user: holdings.own_id(),
                group: kvm_group(tools.accelerator),
            }),
        };
        let failed = |why: io::Error| Error::new(ErrorKind::Boot, WHAT, why).on(&plan.name);
        Vmm::start(&launch, plan, holdings).map_err(failed)
    }

    /// Puts what the VMM needs into its folder, or its jail, and lets it in. In a jail files have names of their own, so that none
    /// is copied; whoever they belong to, they stay ours.
    fn furnish(
        &self,
        plan: &VmPlan,
        parts: &Parts,
        holdings: &Holdings,
        way: Way<'_>,
    ) -> io::Result<PathBuf> {
        let folder = holdings.folder_of_firecracker(plan);
        if plan.jailed {
            fs::create_dir(&folder)?;
            let link = |from: &Path, name: &str| fs::hard_link(from, folder.join(name));
            link(&parts.root, ROOT)?;
            if plan.beginning == Beginning::Boot {
                link(&self.store(&parts.tools.home).image(), KERNEL)?;
            }
            for (file, name) in way.files().iter().zip([STATE, MEMORY]) {
                link(file, name)?;
            }
        }
        if plan.beginning == Beginning::Boot {
            parts.initramfs.write(&folder.join(INITRAMFS))?;
        }
        if plan.jailed {
            return chown(&folder, Some(plan.user), Some(plan.user)).map(|()| folder);
        }
        holdings.give().map(|()| folder)
    }
}
