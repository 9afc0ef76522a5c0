//! From a description to a VMM that has called on both of its sockets.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result, SandboxName, SandboxSpec};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::QemuBackend;
use super::parts::{Parts, plan};
use crate::folder::PrivateFolder;
use crate::identity::OwnId;
use crate::plan::{Accelerator, Beginning, CONTROL, INITRAMFS, STREAM, VmPlan};
use crate::qmp::Qmp;
use crate::state::State;
use crate::vmm::{Launch, Vmm};

pub(super) const WHAT: &str = "start the sandbox";

/// How long a VMM may take until it has called on both sockets, and answers: its own start, and the reading of the kernel.
const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// How long it may take to answer a question.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// What a machine holds on the host as long as it lives, beside its VMM.
#[derive(Debug)]
pub(crate) struct Holdings {
    /// Its name is taken by it.
    folder: PrivateFolder,
    user: Option<OwnId>,
}

/// A machine that waits to be renewed.
pub(super) struct Started {
    pub(super) holdings: Holdings,
    pub(super) plan: VmPlan,
    pub(super) vmm: Vmm,
    pub(super) qmp: Qmp,
    pub(super) stream: UnixStream,
}

/// Where a machine comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// It boots.
    Boots,
    /// It continues from the snapshot in this file.
    ContinuesFrom(&'a Path),
}

impl QemuBackend {
    /// Starts the machine, and waits until it waits.
    pub(super) async fn start(&self, spec: &SandboxSpec, parts: &Parts, way: Way<'_>) -> Result<Started> {
        let Parts { tools, size, root, initramfs } = parts;
        let above = self.settings.runtime_dir.join("microvm");
        let host = |why: io::Error| Error::new(ErrorKind::Host, WHAT, why).on(above.display());
        let holdings = Holdings::take(&above, spec.name())?;
        let (beginning, snapshot) = match way {
            Way::Boots => (Beginning::Boot, None),
            Way::ContinuesFrom(file) => (Beginning::Restore, Some(file)),
        };
        let plan = plan(tools, spec, *size, holdings.user(), beginning);
        let path = |name: &str| holdings.folder.path().join(name);
        if beginning == Beginning::Boot {
            fs::write(path(INITRAMFS), initramfs).map_err(host)?;
        }
        let listen = |name: &str| UnixListener::bind(path(name)).map_err(host);
        let (stream, control) = (listen(STREAM)?, listen(CONTROL)?);
        holdings.give().map_err(host)?;
        let failed = |why: io::Error| Error::new(ErrorKind::Boot, WHAT, why).on(spec.name());
        let launch = Launch {
            setpriv: &tools.setpriv,
            program: &tools.qemu,
            given: [&self.store(&tools.home).image(), root, holdings.folder.path()],
            snapshot,
            user: holdings.user.as_ref().map(OwnId::get),
            group: kvm_group(tools.accelerator),
        };
        let vmm = Vmm::start(&launch, &plan.argv()).map_err(failed)?;
        // From here on an error drops it, which ends it.
        let (stream, qmp) = match self.calls(&vmm, &stream, &control).await {
            Ok(called) => called,
            Err(why) => {
                vmm.kill();
                let why = format!("in phase {}: {why}{}", State::Configured, vmm.end().last_words().await);
                return Err(Error::new(ErrorKind::Boot, WHAT, why).on(spec.name()));
            }
        };
        // The VMM has read what it needed, and nobody else can call.
        holdings.folder.clear().map_err(host)?;
        Ok(Started { holdings, plan, vmm, qmp, stream })
    }

    /// Waits until the VMM has called on both sockets and answers, unless it ends first.
    async fn calls(
        &self,
        vmm: &Vmm,
        stream: &UnixListener,
        control: &UnixListener,
    ) -> Result<(UnixStream, Qmp), String> {
        let patience = self.at_most(CALL_DEADLINE);
        let both = async {
            let (stream, control) = tokio::try_join!(call_of(vmm, stream), call_of(vmm, control))?;
            Ok::<_, io::Error>((stream, Qmp::greet(control, self.at_most(ANSWER_DEADLINE)).await?))
        };
        tokio::select! {
            // Whatever else it does: one that has ended has said why.
            biased;
            how = vmm.ended() => Err(format!("the VMM {how}")),
            both = timeout(patience, both) => match both {
                Ok(Ok(both)) => Ok(both),
                Ok(Err(why)) => Err(format!("the VMM: {why}")),
                Err(_) => Err(format!("the VMM has not called and answered within {} ms", patience.as_millis())),
            },
        }
    }
}

impl Holdings {
    fn take(above: &Path, name: &SandboxName) -> Result<Self> {
        let folder = PrivateFolder::make(above, name.as_str()).map_err(|why| match why.kind() {
            io::ErrorKind::AlreadyExists => {
                let why = "another sandbox has this name";
                Error::new(ErrorKind::NameTaken, WHAT, why)
                    .on(name)
                    .hint("choose another name, or stop that one")
            }
            _ => Error::new(ErrorKind::Host, WHAT, why).on(above.display()),
        })?;
        let user = OwnId::take().map_err(|why| Error::new(ErrorKind::Host, "take an id for the VMM", why))?;
        Ok(Self { folder, user })
    }

    /// As whom the VMM runs.
    fn user(&self) -> u32 {
        self.user.as_ref().map_or_else(|| rustix::process::geteuid().as_raw(), OwnId::get)
    }

    /// Lets the VMM into the folder.
    fn give(&self) -> io::Result<()> {
        self.user.as_ref().map_or(Ok(()), |user| self.folder.give(user.get()))
    }
}

/// The group that may use the processor's virtualisation where not everybody may: never root's.
fn kvm_group(accelerator: Accelerator) -> Option<u32> {
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
