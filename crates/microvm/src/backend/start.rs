//! From a description to a machine that waits to be renewed.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result, SandboxSpec};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::MicrovmBackend;
use super::holdings::Holdings;
use super::parts::Parts;
use crate::control::Control;
use crate::group::Groups;
use crate::plan::{Beginning, VmPlan, VmmKind};
use crate::state::State;
use crate::vmm::Vmm;

pub(super) const WHAT: &str = "start the sandbox";

/// How long a VMM may take until it can be talked to: its own start, and the reading of the kernel.
const CALL_DEADLINE: Duration = Duration::from_secs(20);

/// How long it may take to answer a question.
pub(super) const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// A machine that waits to be renewed.
pub(super) struct Started {
    pub(super) holdings: Arc<Holdings>,
    pub(super) plan: VmPlan,
    pub(super) vmm: Vmm,
    pub(super) control: Control,
    pub(super) stream: UnixStream,
    /// The memory that it continues from, where a snapshot of it has only what was touched since.
    pub(super) base: Option<Arc<File>>,
}

/// Where a machine comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// It boots.
    Boots,
    /// It continues from the snapshot in these files, of a machine that nobody has used.
    ContinuesFrom(&'a [PathBuf]),
    /// It goes on from the snapshot in these files, of a machine in use.
    GoesOnFrom(&'a [PathBuf]),
}

impl Way<'_> {
    /// The files of the snapshot, if there is one.
    pub(super) fn files(&self) -> &[PathBuf] {
        match self {
            Self::Boots => &[],
            Self::ContinuesFrom(files) | Self::GoesOnFrom(files) => files,
        }
    }
}

/// A VMM with the ways to it and to its guest.
pub(super) struct Launched {
    pub(super) vmm: Vmm,
    pub(super) control: Control,
    pub(super) stream: UnixStream,
}

impl MicrovmBackend {
    /// Starts the machine; it waits soon.
    pub(super) async fn start(&self, spec: &SandboxSpec, parts: &Parts, way: Way<'_>) -> Result<Started> {
        let above = self.above(parts);
        let groups = Groups::of(self.hierarchy(), &above, &parts.tools.home);
        let holdings = Holdings::take(&above, spec.name(), groups.as_ref())?;
        let beginning = if way.files().is_empty() { Beginning::Boot } else { Beginning::Restore };
        let plan = parts.plan(self.vmm, spec, holdings.user(), beginning);
        let holdings = Arc::new(holdings.limited(&plan, groups.as_ref())?);
        // Others may forget it as soon as the machine has it.
        let base = way.files().last().filter(|_| plan.sparse && self.vmm == VmmKind::Firecracker);
        let base = base.map(File::open).transpose().map_err(host)?.map(Arc::new);
        let Launched { vmm, control, stream } = match self.vmm {
            VmmKind::Qemu => self.launch_qemu(&plan, parts, &holdings, way).await?,
            VmmKind::Firecracker => self.launch_firecracker(&plan, parts, &holdings, way).await?,
        };
        Ok(Started { holdings, plan, vmm, control, stream, base })
    }

    /// Where the folders of its machines are: Firecracker's hold names of what is kept, and so are on the same file system.
    fn above(&self, parts: &Parts) -> PathBuf {
        match self.vmm {
            VmmKind::Qemu => self.settings.runtime_dir.join("microvm"),
            VmmKind::Firecracker => {
                let name = parts.tools.program.file_name().unwrap_or_default();
                self.machines(parts).join(name)
            }
        }
    }

    /// Waits until a VMM can be talked to, unless it ends first.
    pub(super) async fn talks<T>(
        &self,
        plan: &VmPlan,
        vmm: &Vmm,
        talk: impl Future<Output = io::Result<T>>,
    ) -> Result<T> {
        let patience = self.at_most(CALL_DEADLINE);
        let why = tokio::select! {
            // Whatever else it does: one that has ended has said why.
            biased;
            how = vmm.ended() => format!("the VMM {how}"),
            talked = timeout(patience, talk) => match talked {
                Ok(Ok(talked)) => return Ok(talked),
                Ok(Err(why)) => format!("the VMM: {why}"),
                Err(_) => format!("the VMM has not called and answered within {} ms", patience.as_millis()),
            },
        };
        vmm.kill();
        let why = format!("in phase {}: {why}{}", State::Configured, vmm.end().last_words().await);
        Err(Error::new(ErrorKind::Boot, WHAT, why).on(&plan.name))
    }
}

/// A step on the host that failed.
pub(super) fn host(why: io::Error) -> Error {
    Error::new(ErrorKind::Host, WHAT, why)
}
