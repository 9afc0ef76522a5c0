//! The backend: from a description to a container whose posture is proven.

mod probe;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Error, ErrorKind, Posture, Result,
    Sandbox as _, SandboxSpec,
};
use agentkernel_link::{ExecDefaults, HelloOptions, LinkedSandbox, Token};
use async_trait::async_trait;
use serde_json::Value;

use crate::address::EngineSettings;
use crate::api::{Engine, SLOW_DEADLINE};
use crate::http::Server;
use crate::owner::Owner;
use crate::plan::HostFolders;
use crate::reaper;
use crate::trouble::{Known, Unusable};

/// Changes a plan on its way to the engine, for a test that shows what a control is good for.
type Weaken = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// Makes containers by the engine of one kind.
pub struct ContainerBackend {
    kind: BackendKind,
    settings: EngineSettings,
    folders: HostFolders,
    weaken: Option<Weaken>,
    /// Whether a posture that does not hold is a refusal.
    is_strict: bool,
    has_reaped: AtomicBool,
}

impl ContainerBackend {
    /// Docker, where these settings say that it is.
    #[must_use]
    pub fn docker(settings: EngineSettings) -> Self {
        Self::new(BackendKind::Docker, settings)
    }

    fn new(kind: BackendKind, settings: EngineSettings) -> Self {
        let has_reaped = AtomicBool::new(false);
        Self { kind, settings, folders: HostFolders::find(), weaken: None, is_strict: true, has_reaped }
    }

    /// The same backend with every plan changed on its way to the engine. For negative controls only: no program calls it.
    #[doc(hidden)]
    #[must_use]
    pub fn tampered(mut self, weaken: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        self.weaken = Some(Arc::new(weaken));
        self
    }

    /// The same, and with sandboxes that are handed out although their posture does not hold.
    #[doc(hidden)]
    #[must_use]
    pub fn weakened(self, weaken: impl Fn(&mut Value) + Send + Sync + 'static) -> Self {
        Self { is_strict: false, ..self.tampered(weaken) }
    }

    fn engine(&self) -> Result<Engine, Unusable> {
        let socket = self.settings.docker_socket()?;
        let is_installed = ["dockerd", "docker"].iter().any(|name| self.settings.program(name).is_some());
        let known = Known::new(self.kind, is_installed, &socket);
        Ok(Engine::new(Server::new(&socket), known))
    }

    /// Cleans up after others once; whatever is in the way of a name is looked at by itself.
    async fn reap_once(&self, engine: &Engine, owner: &Owner) {
        if !self.has_reaped.swap(true, Ordering::Relaxed) {
            reaper::reap(engine, owner).await;
        }
    }
}

/// The secret between host and agent.
fn hello() -> Result<HelloOptions> {
    let mut token = [0; 32];
    rustix::rand::getrandom(&mut token, rustix::rand::GetRandomFlags::empty())
        .map_err(|why| Error::new(ErrorKind::Host, "draw random bytes", why))?;
    Ok(HelloOptions { token: Token(token), mounts: Vec::new(), deadline: SLOW_DEADLINE })
}

/// Takes a sandbox that is not as planned down again.
async fn prove(sandbox: LinkedSandbox, posture: &Posture) -> Result<LinkedSandbox> {
    if posture.holds() {
        return Ok(sandbox);
    }
    let broken: Vec<String> = posture
        .broken()
        .map(|control| format!("{} must be {:?}, is {:?}", control.name, control.expected, control.actual))
        .collect();
    let why = "it came up without this control and was taken down again";
    let error = Error::new(ErrorKind::ControlRefused, "start the sandbox", why).on(broken.join("; "));
    Box::new(sandbox).stop().await?;
    Err(error.hint("agentkernel doctor says what this engine allows"))
}

#[async_trait]
impl Backend for ContainerBackend {
    fn kind(&self) -> BackendKind {
        self.kind
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: true,
            terminal: true,
            bind_mounts: true,
            pause: true,
            adopt: false,
            own_kernel: false,
            resize: true,
        }
    }

    async fn probe(&self) -> Availability {
        match self.engine() {
            Ok(engine) => self.probe_engine(&engine).await,
            Err(unusable) => unusable.into(),
        }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let began = Instant::now();
        let engine = self.engine().map_err(|unusable| unusable.error(self.kind))?;
        let hello = hello()?;
        let started = self.start(&engine, spec).await?;
        let boot = began.elapsed();
        let start::Started { boundary, stream, read_posture } = started;
        let attached = LinkedSandbox::attach(spec, boundary, stream, hello, ExecDefaults::default());
        let (sandbox, _ready) = attached.await?;
        // Now that the agent answers, all that makes the container is done.
        let posture = tokio::task::spawn_blocking(read_posture).await;
        let posture = posture.map_err(|why| Error::new(ErrorKind::Internal, "read the posture", why))?;
        let sandbox = if self.is_strict { prove(sandbox, &posture).await? } else { sandbox };
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: began.elapsed().saturating_sub(boot) })
    }
}
