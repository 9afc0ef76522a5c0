//! QEMU's machines: it calls on two sockets of ours, whose names are gone when it has.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;

use agentkernel_core::{Error, ErrorKind, Result};
use tokio::net::{UnixListener, UnixStream};

use super::MicrovmBackend;
use super::holdings::Holdings;
use super::parts::Parts;
use super::start::{ANSWER_DEADLINE, Launched, WHAT, Way, host};
use crate::control::Control;
use crate::plan::{Accelerator, Beginning, CONTROL, INITRAMFS, STREAM, VmPlan};
use crate::qmp::Qmp;
use crate::vmm::{Given, Launch, Vmm};

impl MicrovmBackend {
    pub(super) async fn launch_qemu(
        &self,
        plan: &VmPlan,
        parts: &Parts,
        holdings: &Arc<Holdings>,
        way: Way<'_>,
    ) -> Result<Launched> {
        let Parts { tools, root, initramfs, .. } = parts;
        let host = |why: io::Error| host(why).on(holdings.path().display());
        let path = |name: &str| holdings.path().join(name);
        if plan.beginning == Beginning::Boot {
            initramfs.write(&path(INITRAMFS)).map_err(host)?;
        }
        let listen = |name: &str| UnixListener::bind(path(name)).map_err(host);
        let (stream, control) = (listen(STREAM)?, listen(CONTROL)?);
        holdings.give().map_err(host)?;
        let launch = Launch::Given(Given {
            setpriv: &tools.setpriv,
            program: &tools.program,
            given: [&self.store(&tools.home).image(), root, holdings.path()],
            snapshot: way.files(),
            user: holdings.own_id(),
            group: kvm_group(tools.accelerator),
        });
        let failed = |why: io::Error| Error::new(ErrorKind::Boot, WHAT, why).on(&plan.name);
        let vmm = Vmm::start(&launch, plan, holdings).map_err(failed)?;
        // From here on an error drops it, which ends it.
        let both = async {
            let (stream, control) = tokio::try_join!(call_of(&vmm, &stream), call_of(&vmm, &control))?;
            Ok((stream, Qmp::greet(control, self.at_most(ANSWER_DEADLINE)).await?))
        };
        let (stream, qmp) = self.talks(plan, &vmm, both).await?;
        // The VMM has read what it needed, and nobody else can call.
        holdings.folder.clear().map_err(host)?;
        Ok(Launched { vmm, control: Control::Qmp(qmp), stream })
    }
}

/// The group that may use the processor's virtualisation where not everybody may: never root's.
pub(super) fn kvm_group(accelerator: Accelerator) -> Option<u32> {
    let facts = (accelerator == Accelerator::Kvm).then(|| fs::metadata("/dev/kvm").ok()).flatten()?;
    (facts.mode() & 0o006 != 0o006 && facts.mode() & 0o060 == 0o060 && facts.gid() != 0).then(|| facts.gid())
}

/// One call, by the VMM and nobody else.
async fn call_of(vmm: &Vmm, listener: &UnixListener) -> io::Result<UnixStream> {
    let (stream, _) = listener.accept().await?;
    let caller = stream.peer_cred()?.pid();
    if caller == Some(vmm.pid().as_raw_pid()) {
        return Ok(stream);
    }
    Err(io::Error::other(format!("process {caller:?} has called in its place")))
}
