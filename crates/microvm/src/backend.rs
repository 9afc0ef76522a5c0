//! The backend: from a description to a machine whose posture is proven.

mod firecracker;
mod holdings;
mod initramfs;
mod machine;
mod parts;
mod qemu;
mod restore;
mod start;
mod warmed;

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use agentkernel_cgroup::Hierarchy;
use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Error, ErrorKind, Restored, Result, Sandbox,
    SandboxSpec, SnapshotInfo, SnapshotName,
};
use agentkernel_link::{ExecDefaults, HelloOptions, LinkedSandbox, Token};
use agentkernel_process::locate;
use async_trait::async_trait;

use crate::kernel::KernelStore;
use crate::layout::AGENT;
use crate::plan::{Accelerator, VmmKind};
use crate::probe::{JailTools, Unusable};
use crate::vmm::End;
pub(crate) use holdings::Holdings;
pub(crate) use machine::write as write_snapshot;
use parts::Parts;
pub(crate) use restore::Keeping;

/// How long a guest may take from its first instruction until its agent answers. Hardware takes less than a second, and much
/// longer where the host itself is a guest; an emulator took 3 on an idle machine.
const READY_DEADLINE: Duration = Duration::from_secs(60);
const READY_DEADLINE_EMULATED: Duration = Duration::from_secs(90);

/// What the backend must know of its host. It reads no environment.
#[derive(Debug, Clone)]
pub struct MicrovmSettings {
    /// Where the kernel and the root devices are kept.
    pub home: Option<PathBuf>,
    /// Where sockets are while a machine begins.
    pub runtime_dir: PathBuf,
    /// Absolute folders in which programs are looked for, in this order.
    pub search_path: Vec<PathBuf>,
    /// Whether machines continue from snapshots, which are made where there is none.
    pub snapshots: bool,
    /// Whether guests run on hardware virtualisation; if not, why.
    pub hardware: fn() -> Result<(), String>,
}

/// Makes machines by one VMM.
pub struct MicrovmBackend {
    pub(crate) vmm: VmmKind,
    pub(crate) settings: MicrovmSettings,
    pub(crate) version: OnceLock<Result<String, Unusable>>,
    pub(crate) jail: OnceLock<Result<Option<JailTools>, Unusable>>,
    hierarchy: OnceLock<Hierarchy>,
    patience: Option<Duration>,
}

impl MicrovmBackend {
    /// QEMU, as these settings say.
    #[must_use]
    pub fn qemu(settings: MicrovmSettings) -> Self {
        Self {
            vmm: VmmKind::Qemu,
            settings,
            version: OnceLock::new(),
            jail: OnceLock::new(),
            hierarchy: OnceLock::new(),
            patience: None,
        }
    }

    /// Firecracker, likewise.
    #[must_use]
    pub fn firecracker(settings: MicrovmSettings) -> Self {
        Self { vmm: VmmKind::Firecracker, ..Self::qemu(settings) }
    }

    /// The same backend that waits no longer than this in each phase. For tests of what hangs.
    #[doc(hidden)]
    #[must_use]
    pub fn hasty(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }

    pub(crate) fn store(&self, home: &Path) -> KernelStore {
        KernelStore::below(home)
    }

    /// Where the host has its control groups.
    pub(crate) fn hierarchy(&self) -> &Hierarchy {
        self.hierarchy.get_or_init(Hierarchy::detect)
    }

    /// So long at most.
    fn at_most(&self, deadline: Duration) -> Duration {
        self.patience.unwrap_or(deadline)
    }

    fn hello(&self, accelerator: Accelerator) -> Result<HelloOptions> {
        let mut token = [0; 32];
        rustix::rand::getrandom(&mut token, rustix::rand::GetRandomFlags::empty())
            .map_err(|why| Error::new(ErrorKind::Host, "draw random bytes", why))?;
        Ok(HelloOptions {
            token: Token(token),
            mounts: Vec::new(),
            deadline: self.ready_deadline(accelerator),
        })
    }

    fn ready_deadline(&self, accelerator: Accelerator) -> Duration {
        self.at_most(match accelerator {
            Accelerator::Kvm => READY_DEADLINE,
            Accelerator::Tcg => READY_DEADLINE_EMULATED,
        })
    }
}

impl MicrovmBackend {
    /// A sandbox that is as planned, and how long its machine took since it was begun.
    async fn boot_as_planned(
        &self,
        spec: &SandboxSpec,
        parts: &Parts,
        keeping: &Keeping,
        began: Instant,
    ) -> Result<(LinkedSandbox, Duration)> {
        let started = self.machine(spec, parts).await?;
        let boot = began.elapsed();
        let hello = self.hello(started.plan.accelerator)?;
        let end = started.vmm.end();
        let (boundary, stream) = self.boundary(started, parts, keeping);
        let sandbox = match LinkedSandbox::attach(spec, boundary, stream, hello, defaults()).await {
            Ok((sandbox, _ready)) => sandbox,
            Err(error) => return Err(with_last_words(error, end).await),
        };
        Ok((proven(sandbox, spec).await?, boot))
    }
}

/// How commands are run where none says otherwise.
fn defaults() -> ExecDefaults {
    let rehearsal = Some(vec![format!("/{AGENT}").into_bytes(), b"--rehearse".to_vec()]);
    ExecDefaults { rehearsal, ..ExecDefaults::default() }
}

/// A machine whose guest could not be greeted was dropped with what it held, and is gone when this is told.
async fn with_last_words(mut error: Error, end: End) -> Error {
    let last = end.last_words().await;
    if error.kind == ErrorKind::Boot && !error.why.contains("the VMM ") {
        error.why.push_str(&last);
    }
    error
}

/// A sandbox that is as planned.
async fn proven(sandbox: LinkedSandbox, spec: &SandboxSpec) -> Result<LinkedSandbox> {
    let posture = sandbox.posture().await?;
    let sandbox = sandbox.proven(&posture).await?;
    if let Some(lifetime) = spec.lifetime() {
        // Its own time begins when it can be used: an emulated machine takes seconds until then.
        sandbox.set_lifetime(lifetime).await?;
    }
    Ok(sandbox)
}

/// The same with the socket of the host that it is to have: not before the proof, by which the agent has nothing open but its
/// stream.
async fn handed_out(sandbox: LinkedSandbox, spec: &SandboxSpec) -> Result<Box<dyn Sandbox>> {
    Ok(Box::new(sandbox.with_host_socket(spec).await?))
}

#[async_trait]
impl Backend for MicrovmBackend {
    fn kind(&self) -> BackendKind {
        self.vmm.backend()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: true,
            wasm_modules: false,
            terminal: true,
            bind_mounts: false,
            pause: true,
            adopt: false,
            own_kernel: true,
            resize: false,
            host_socket: true,
            snapshots: true,
            warm_up: true,
        }
    }

    fn glance(&self, _spec: &SandboxSpec) -> Option<Availability> {
        // Neither starts a program, and most hosts lack one of them.
        let is_there = locate(self.vmm.program(), &self.settings.search_path).is_some();
        let has_kernel = self.settings.home.as_deref().is_some_and(|home| self.store(home).image().exists());
        (!is_there || !has_kernel).then(|| self.availability())
    }

    fn warning(&self, _spec: &SandboxSpec) -> Option<String> {
        self.unjailed()
    }

    async fn probe(&self) -> Availability {
        self.availability()
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        if spec.warm_up().is_some() && self.settings.snapshots {
            return self.boot_warmed(spec).await;
        }
        let began = Instant::now();
        let parts = self.parts(spec).await?;
        let keeping = Keeping::new(self.kept());
        let (sandbox, boot) = self.boot_as_planned(spec, &parts, &keeping, began).await?;
        let sandbox = handed_out(sandbox.warmed_up(spec).await?, spec).await?;
        Ok(Booted { sandbox, boot, ready: began.elapsed().saturating_sub(boot) })
    }

    async fn snapshots(&self) -> Result<Vec<SnapshotInfo>> {
        self.kept().map_or_else(|| Ok(Vec::new()), |store| store.list())
    }

    async fn restore(&self, spec: &SandboxSpec, from: &SnapshotName) -> Result<Restored> {
        self.continue_in_use(spec, from).await
    }

    async fn remove_snapshot(&self, name: &SnapshotName) -> Result<()> {
        self.kept_or_refused("remove the snapshot", name)?.remove(name)
    }
}
