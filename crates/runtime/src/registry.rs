//! Every backend of this build: the only file that names them all.

use std::path::PathBuf;
use std::sync::Arc;

use agentkernel_container::{AppleBackend, ContainerBackend, EngineSettings};
use agentkernel_core::{Availability, Backend, BackendKind, Error, ErrorKind, Result, SandboxSpec};
use agentkernel_hyperlight::HyperlightBackend;
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings};
use agentkernel_oci::engine::Engine;
use agentkernel_oci::{OciBackend, RuntimeDir, Zygote};
use agentkernel_wasm::WasmBackend;

use crate::choice::{self, BackendRequest, Choice};

/// The backends that can be chosen, strongest boundary first.
pub struct Registry {
    backends: Vec<Arc<dyn Backend>>,
}

impl Registry {
    /// Every backend of this build. Containers are cloned by `zygote`; records of live sandboxes are kept
    /// in `runtime_dir`; engines are where `engines` says, and programs of the host in the absolute folders of its
    /// search path. Machines are made as `microvm` says. Compiled Wasm modules are kept in `wasm_cache`, if anywhere. Helper
    /// programs of ours are in `helpers`.
    #[must_use]
    pub fn new(
        zygote: Arc<Zygote>,
        runtime_dir: RuntimeDir,
        engines: &EngineSettings,
        microvm: MicrovmSettings,
        wasm_cache: Option<PathBuf>,
        helpers: Vec<PathBuf>,
    ) -> Self {
        let search_path: &[PathBuf] = &engines.search_path;
        let oci = OciBackend::new(zygote, runtime_dir);
        let by = |engine| Arc::new(oci.by(engine, search_path)) as Arc<dyn Backend>;
        let (gvisor, runc, crun) = (by(Engine::Gvisor), by(Engine::Runc), by(Engine::Crun));
        let docker = Arc::new(ContainerBackend::docker(engines.clone()));
        let podman = Arc::new(ContainerBackend::podman(engines.clone()));
        let apple = Arc::new(AppleBackend::new(engines.clone()));
        let wasm = Arc::new(WasmBackend::new(wasm_cache.clone()));
        let qemu = Arc::new(MicrovmBackend::qemu(microvm.clone()));
        let firecracker = Arc::new(MicrovmBackend::firecracker(microvm));
        let hyperlight = Arc::new(HyperlightBackend::new(helpers).cached_in(wasm_cache));
        let oci = Arc::new(oci);
        Self::of(vec![apple, firecracker, qemu, hyperlight, gvisor, oci, runc, crun, docker, podman, wasm])
    }

    /// The backends that run Wasm modules, for whoever runs one and nothing else: they need no zygote.
    #[must_use]
    pub fn for_modules(wasm_cache: Option<PathBuf>, helpers: Vec<PathBuf>) -> Self {
        let hyperlight = HyperlightBackend::new(helpers).cached_in(wasm_cache.clone());
        Self::of(vec![Arc::new(hyperlight), Arc::new(WasmBackend::new(wasm_cache).for_one())])
    }

    /// These backends and no other, strongest first.
    #[must_use]
    pub fn of(backends: Vec<Arc<dyn Backend>>) -> Self {
        Self { backends }
    }

    /// The backend of this kind.
    pub fn get(&self, kind: BackendKind) -> Result<Arc<dyn Backend>> {
        let missing =
            || Error::new(ErrorKind::Unavailable, "find the backend", "this build does not have it").on(kind);
        self.all().iter().find(|backend| backend.kind() == kind).cloned().ok_or_else(missing)
    }

    /// Every backend, strongest boundary first.
    #[must_use]
    pub fn all(&self) -> &[Arc<dyn Backend>] {
        &self.backends
    }

    /// Chooses a backend, of those that run what is in the image; one that is named refuses it by itself. Probes only if
    /// there is something to choose: a probe may boot a trial sandbox, and with one candidate the boot itself is the better answer.
    pub async fn choose(&self, request: BackendRequest, spec: &SandboxSpec) -> Result<Choice> {
        let choice = self.choose_for(request, spec).await?;
        if spec.emulate() { emulated(choice) } else { Ok(choice) }
    }

    /// What whoever gets such a sandbox of this backend must be told.
    #[must_use]
    pub fn warning(&self, kind: BackendKind, spec: &SandboxSpec) -> Option<String> {
        self.get(kind).ok()?.warning(spec)
    }

    async fn choose_for(&self, request: BackendRequest, spec: &SandboxSpec) -> Result<Choice> {
        let runs = |backend: &&Arc<dyn Backend>| backend.capabilities().runs(spec.image());
        let kinds: Vec<BackendKind> =
            self.backends.iter().filter(runs).map(|backend| backend.kind()).collect();
        if let Some(choice) = choice::without_probing(request, &kinds) {
            return Ok(choice);
        }
        let mut probed: Vec<(BackendKind, Availability)> = Vec::new();
        for backend in self.backends.iter().filter(runs) {
            let availability = match backend.glance(spec) {
                Some(availability) => availability,
                None => backend.probe().await,
            };
            let found = matches!(availability, Availability::Available { .. });
            probed.push((backend.kind(), availability));
            if found {
                break; // the others are weaker
            }
        }
        choice::choose(request, &probed)
    }
}

/// Only a machine can be emulated, and nothing else falls back to it.
fn emulated(mut choice: Choice) -> Result<Choice> {
    if choice.backend != BackendKind::Qemu {
        let why = "only a machine of --backend qemu is emulated";
        return Err(Error::new(ErrorKind::Usage, "choose a backend", why)
            .on("--emulate")
            .hint("add --backend qemu"));
    }
    choice.reason.push_str("; emulated: not a security boundary");
    Ok(choice)
}

#[cfg(test)]
mod tests;
