//! The backend: from a description to a container whose posture is proven.

mod probe;
mod source;
mod start;

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use agentkernel_cgroup::QuickMoves;
use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Error, ErrorKind, Result, SandboxSpec,
};
use agentkernel_link::{ExecDefaults, HelloOptions, LinkedSandbox, Token};
use async_trait::async_trait;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::sync::{Mutex, OnceCell};

pub(crate) use source::env_of;

use crate::address::EngineSettings;
use crate::api::{Engine, SLOW_DEADLINE};
use crate::limits;
use crate::owner::Lost;
use crate::plan::HostFolders;
use crate::service::{self, Service};
use crate::trouble::{Known, Unusable};

/// Changes a plan on its way to the engine, for a test that shows what a control is good for.
type Weaken = Arc<dyn Fn(&mut Value) + Send + Sync>;

/// Makes containers by the engine of one kind.
pub struct ContainerBackend {
    kind: BackendKind,
    settings: EngineSettings,
    /// Looked at when an engine is first used: every program has this backend, and few use it.
    folders: LazyLock<HostFolders>,
    weaken: Option<Weaken>,
    /// Whether a posture that does not hold is a refusal.
    is_strict: bool,
    lost: Arc<Lost>,
    /// Limits that the engine of an ordinary user cannot enforce, once it was asked.
    missing_limits: OnceCell<Vec<&'static str>>,
    /// Held while the engine is given an image.
    providing: Mutex<()>,
    /// What serves Podman's API, if that is a child of ours.
    service: Mutex<Option<Arc<Service>>>,
}

impl ContainerBackend {
    /// Docker, where these settings say that it is.
    #[must_use]
    pub fn docker(settings: EngineSettings) -> Self {
        Self::new(BackendKind::Docker, settings)
    }

    /// Podman, likewise; its API is served by a child of ours where nobody else serves it.
    #[must_use]
    pub fn podman(settings: EngineSettings) -> Self {
        Self::new(BackendKind::Podman, settings)
    }

    fn new(kind: BackendKind, settings: EngineSettings) -> Self {
        Self {
            kind,
            settings,
            folders: LazyLock::new(HostFolders::find),
            weaken: None,
            is_strict: true,
            lost: Arc::default(),
            missing_limits: OnceCell::new(),
            providing: Mutex::new(()),
            service: Mutex::new(None),
        }
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

    async fn engine(&self) -> Result<Engine, Unusable> {
        let has = |names: &[&str]| names.iter().any(|name| self.settings.program(name).is_some());
        match self.kind {
            BackendKind::Podman => {
                let is_installed = has(&["podman"]);
                if let Some(socket) = self.served_podman().await? {
                    return Ok(Engine::new(Known::new(self.kind, is_installed, &socket), None));
                }
                let service = self.own_service().await?;
                Ok(Engine::new(Known::new(self.kind, is_installed, &service.socket), Some(service)))
            }
            _ => {
                let known =
                    Known::new(self.kind, has(&["dockerd", "docker"]), &self.settings.docker_socket()?);
                Ok(Engine::new(known, None))
            }
        }
    }

    /// The socket on which somebody else serves Podman's API: the named one, whoever is there, or the usual one.
    async fn served_podman(&self) -> Result<Option<PathBuf>, Unusable> {
        if let Some(named) = self.settings.named_podman_socket()? {
            return Ok(Some(named));
        }
        let usual = self.settings.usual_podman_socket(rustix::process::geteuid().is_root());
        match usual {
            Some(usual) if UnixStream::connect(&usual).await.is_ok() => Ok(Some(usual)),
            _ => Ok(None),
        }
    }

    async fn own_service(&self) -> Result<Arc<Service>, Unusable> {
        let mut slot = self.service.lock().await;
        if let Some(service) = slot.as_ref().filter(|service| service.is_alive()) {
            return Ok(service.clone());
        }
        let service = Arc::new(service::start(&self.settings).await?);
        *slot = Some(service.clone());
        Ok(service)
    }

    /// Refuses limits that an engine would ignore. Root's enforces all: that is its group's posture to prove.
    async fn refuse_limits(&self, engine: &Engine, spec: &SandboxSpec) -> Result<()> {
        if !limits::may_be_rootless(engine) {
            return Ok(());
        }
        let ask = || async { limits::missing(engine, &engine.info().await?).await };
        let missing = self.missing_limits.get_or_try_init(ask).await;
        limits::refuse(missing.map_err(|why| why.error(&engine.known, "ask for its limits"))?, spec)
    }
}

/// The secret between host and agent.
fn hello() -> Result<HelloOptions> {
    let mut token = [0; 32];
    rustix::rand::getrandom(&mut token, rustix::rand::GetRandomFlags::empty())
        .map_err(|why| Error::new(ErrorKind::Host, "draw random bytes", why))?;
    Ok(HelloOptions { token: Token(token), mounts: Vec::new(), deadline: SLOW_DEADLINE })
}

#[async_trait]
impl Backend for ContainerBackend {
    fn kind(&self) -> BackendKind {
        self.kind
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: true,
            wasm_modules: false,
            terminal: true,
            bind_mounts: true,
            pause: true,
            adopt: false,
            own_kernel: false,
            resize: true,
            host_socket: true,
            snapshots: false,
            warm_up: true,
        }
    }

    async fn probe(&self) -> Availability {
        match self.engine().await {
            Ok(engine) => self.probe_engine(&engine).await,
            Err(unusable) => unusable.into(),
        }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let began = Instant::now();
        let engine = self.engine().await.map_err(|unusable| unusable.error(self.kind))?;
        // Of an engine on this host; for another it is in vain.
        let _moves = QuickMoves::hold();
        let hello = hello()?;
        let started = self.start(&engine, spec).await?;
        let boot = began.elapsed();
        let start::Started { boundary, stream, env, read_posture } = started;
        let mut defaults = ExecDefaults::default();
        defaults.env.extend(env);
        let attached = LinkedSandbox::attach(spec, boundary, stream, hello, defaults);
        let (sandbox, _ready) = attached.await?;
        // Now that the agent answers, all that makes the container is done.
        let posture = tokio::task::spawn_blocking(read_posture).await;
        let posture = posture.map_err(|why| Error::new(ErrorKind::Internal, "read the posture", why))?;
        let sandbox = if self.is_strict { sandbox.proven(&posture).await? } else { sandbox };
        // Not before the proof, by which the agent has nothing open but its stream.
        let sandbox = sandbox.warmed_up(spec).await?.with_host_socket(spec).await?;
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: began.elapsed().saturating_sub(boot) })
    }
}
