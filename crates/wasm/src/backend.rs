//! The backend: from a description to a module that can be run.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Error, ErrorKind, Result, SandboxSpec,
};
use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::cache::Cache;
use crate::machine::{INSTANCES_FEW, INSTANCES_MAX, Machine};
use crate::program::Program;
use crate::refusals;
use crate::sandbox::WasmSandbox;
use crate::trial;

/// Runs Wasm modules in this process.
pub struct WasmBackend {
    cache: Option<PathBuf>,
    instances: u32,
    /// Made when it is first used: every program has this backend, and few use it.
    machine: OnceCell<Arc<Machine>>,
}

impl WasmBackend {
    /// A backend that keeps compiled modules in this folder, or nowhere. The folder is made when it is needed, and used
    /// only if nobody but this user can write to it.
    #[must_use]
    pub fn new(cache: Option<PathBuf>) -> Self {
        Self { cache, instances: INSTANCES_MAX, machine: OnceCell::new() }
    }

    /// The same for whoever runs one command, and is sooner ready for it.
    #[must_use]
    pub fn for_one(self) -> Self {
        Self { instances: INSTANCES_FEW, ..self }
    }

    /// The machine, whose limits were tried once.
    async fn machine(&self) -> Result<&Arc<Machine>> {
        let make = || async {
            let (cache, instances) = (Cache::new(self.cache.clone()), self.instances);
            let machine = blocking(move || Machine::new(cache, instances)).await?;
            let posture = trial::posture(&machine, trial::MEMORY_BYTES).await?;
            let broken: Vec<_> = posture.broken().map(|control| control.name.clone()).collect();
            if !broken.is_empty() || !posture.holds() {
                let why = "a trial module could do what no module may";
                return Err(
                    Error::new(ErrorKind::ControlRefused, "start Wasmtime", why).on(broken.join(", "))
                );
            }
            Ok(Arc::new(machine))
        };
        self.machine.get_or_try_init(make).await
    }
}

/// Does what takes the processor for long where it keeps nobody waiting.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|why| Err(Error::new(ErrorKind::Internal, "load the module", why)))
}

#[async_trait]
impl Backend for WasmBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Wasm
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: false,
            wasm_modules: true,
            terminal: false,
            bind_mounts: false,
            pause: false,
            adopt: false,
            own_kernel: false,
            resize: false,
            host_socket: false,
            snapshots: false,
            warm_up: false,
        }
    }

    async fn probe(&self) -> Availability {
        match self.machine().await {
            Ok(machine) => Availability::Available {
                facts: vec![
                    ("wasmtime".into(), WASMTIME.into()),
                    ("memory".into(), machine.allocator.into()),
                    ("boundary".into(), "software alone, in our own process".into()),
                ],
            },
            Err(why) => Availability::Unavailable {
                needs: format!("a Wasmtime that works here: {why}"),
                hint: why.hint.unwrap_or_else(|| "use another backend".into()),
            },
        }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let began = Instant::now();
        let wanted = refusals::wanted(spec)?;
        let machine = self.machine().await?;
        let program = match machine.known(&wanted.file) {
            Some(program) => program,
            None => {
                let (machine, file) = (Arc::clone(machine), wanted.file.clone());
                blocking(move || Program::load(&machine, &file)).await?
            }
        };
        let boot = began.elapsed();
        let sandbox = WasmSandbox::new(spec, wanted, machine, program);
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: began.elapsed().saturating_sub(boot) })
    }
}

/// The release of Wasmtime that is built in: its line with long support.
const WASMTIME: &str = "36";
