//! The embedded backend: from a description to a sandbox whose posture is proven.

mod prepare;
mod proof;
mod trial;

use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Once};
use std::time::{Duration, Instant};

use agentkernel_core::{
    Adopted, Availability, Backend, BackendKind, Booted, Capabilities, CommandUser, Error, ErrorKind, Result,
    SandboxSpec, User,
};
use agentkernel_link::{ExecDefaults, HelloOptions, LinkedSandbox, Token};
use async_trait::async_trait;
use tokio::net::UnixStream;

use crate::adopt;
use crate::boundary::{OciBoundary, first_report};
use crate::engine::{AGENT, Engine, EngineSlot, Memory};
use crate::facts::HostFacts;
use crate::paths::RuntimeDir;
use crate::plan::Plan;
use crate::record::{self, Init, Record};
use crate::zygote::Zygote;
use prepare::{Prepared, write_record};

/// How long a container may take to come up. It takes some milliseconds; a hundred at once on two
/// busy cores take a second.
pub(crate) const BOOT_DEADLINE: Duration = Duration::from_secs(20);

/// Makes hardened Linux containers: by itself, or by a container runtime of the host.
pub struct OciBackend {
    zygote: Arc<Zygote>,
    runtime: RuntimeDir,
    facts: Arc<HostFacts>,
    weaken: Option<Weaken>,
    /// Sandboxes are handed out although their posture does not hold. For negative controls only.
    lenient: bool,
    told: Once,
    reaped: Once,
    engine: Option<EngineSlot>,
}

/// Changes a plan for a test that shows what a control is good for.
type Weaken = Arc<dyn Fn(&mut Plan) + Send + Sync>;

impl OciBackend {
    /// A backend that boots through this zygote and keeps its records in this folder.
    #[must_use]
    pub fn new(zygote: Arc<Zygote>, runtime: RuntimeDir) -> Self {
        let facts = Arc::new(HostFacts::gather());
        Self {
            zygote,
            runtime,
            facts,
            weaken: None,
            lenient: false,
            told: Once::new(),
            reaped: Once::new(),
            engine: None,
        }
    }

    /// The same, with containers made by a runtime that is in one of these folders.
    #[must_use]
    pub fn by(&self, engine: Engine, folders: &[PathBuf]) -> Self {
        Self {
            zygote: self.zygote.clone(),
            runtime: self.runtime.clone(),
            facts: self.facts.clone(),
            weaken: self.weaken.clone(),
            lenient: self.lenient,
            told: Once::new(),
            reaped: Once::new(),
            engine: Some(EngineSlot::new(engine, folders)),
        }
    }

    /// The same backend with every plan changed on its way, and with sandboxes that are handed out
    /// although their posture does not hold. For negative controls only: no program calls it.
    #[doc(hidden)]
    #[must_use]
    pub fn weakened(mut self, weaken: impl Fn(&mut Plan) + Send + Sync + 'static) -> Self {
        self.weaken = Some(Arc::new(weaken));
        self.lenient = true;
        self
    }

    /// The same, held to the posture that it should have had. For tests only, too.
    #[doc(hidden)]
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.lenient = false;
        self
    }

    /// What was found on this host.
    #[must_use]
    pub fn facts(&self) -> &HostFacts {
        &self.facts
    }

    /// As whom commands run that do not say so: as whoever the agent is, unless it had to be another; and what is
    /// rehearsed, where a kernel of its own has never run anything.
    fn defaults(&self, spec: &SandboxSpec) -> ExecDefaults {
        let User { uid, gid } = spec.user();
        let is = |what: fn(Engine) -> bool| self.engine.as_ref().is_some_and(|slot| what(slot.engine));
        let is_another = is(Engine::hides_nothing);
        let rehearsal = is(Engine::has_own_kernel).then(|| [AGENT, "--rehearse"].map(Into::into).into());
        ExecDefaults {
            user: is_another.then_some(CommandUser { uid, gid }),
            rehearsal,
            ..ExecDefaults::default()
        }
    }

    async fn start(&self, prepared: Prepared) -> Result<(OciBoundary, UnixStream)> {
        let Prepared { plan, mut record, mut name_lock, block } = prepared;
        let failed = |why: std::io::Error| Error::new(ErrorKind::Boot, "start the sandbox", why);
        let (control, their_control) = StdUnixStream::pair().map_err(failed)?;
        let (stream, their_stream) = StdUnixStream::pair().map_err(failed)?;
        let mut locks = vec![&name_lock];
        locks.extend(block.as_ref().map(|block| &block.lock));
        let group = plan.cgroup.as_ref().map(|cgroup| self.facts.hierarchy.group(&cgroup.path));
        self.zygote.launch(&plan, group, &their_control, &their_stream, &locks).map_err(failed)?;
        drop((their_control, their_stream));
        // There is time now for what others left. Once: each boundary sees to its own; what fails is left for the next.
        self.reaped.call_once(|| drop(record::reap_stale(&self.runtime)));
        let (control, stream) = (async_stream(control)?, async_stream(stream)?);
        let (control, pid) = tokio::time::timeout(BOOT_DEADLINE, first_report(control))
            .await
            .map_err(|_| Error::new(ErrorKind::Boot, "start the sandbox", "it does not come up"))??;
        record.init = Init::of(pid);
        write_record(&mut name_lock, &record)?;
        Ok((OciBoundary::new(control, pid, record, self.runtime.clone()), stream))
    }
}

pub(crate) fn hello(record: &Record) -> HelloOptions {
    HelloOptions { token: Token(record.token), mounts: Vec::new(), deadline: BOOT_DEADLINE }
}

pub(crate) fn async_stream(stream: StdUnixStream) -> Result<UnixStream> {
    stream
        .set_nonblocking(true)
        .and_then(|()| UnixStream::from_std(stream))
        .map_err(|why| Error::new(ErrorKind::Internal, "start the sandbox", why))
}

/// How a start is refused for want of a runtime.
fn missing(kind: BackendKind, why: Availability) -> Error {
    let error = |why: String| Error::new(ErrorKind::Unavailable, "start the sandbox", why).on(kind);
    match why {
        Availability::Unavailable { needs, hint } => error(format!("it needs {needs}")).hint(hint),
        Availability::Available { .. } | Availability::Limited { .. } => {
            error("it is there after all".into())
        }
    }
}

#[async_trait]
impl Backend for OciBackend {
    fn kind(&self) -> BackendKind {
        self.engine.as_ref().map_or(BackendKind::Oci, |slot| slot.engine.kind())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: true,
            wasm_modules: false,
            terminal: true,
            bind_mounts: true,
            pause: self.facts.can_pause(),
            adopt: true,
            own_kernel: self.engine.as_ref().is_some_and(|slot| slot.engine.has_own_kernel()),
            resize: self.facts.can_limit(),
            host_socket: true,
            snapshots: false,
            warm_up: true,
        }
    }

    fn glance(&self, _spec: &SandboxSpec) -> Option<Availability> {
        if let Some(obstacle) = self.facts.obstacle() {
            return Some(obstacle);
        }
        let Some(slot) = &self.engine else {
            // The next boot tells as much as a trial.
            return Some(Availability::Available { facts: Vec::new() });
        };
        slot.glance(&self.runtime)
    }

    async fn probe(&self) -> Availability {
        if let Some(obstacle) = self.facts.obstacle() {
            return obstacle;
        }
        let runtime = match self.runtime_program().await {
            Ok(runtime) => runtime,
            Err(unavailable) => return unavailable,
        };
        let availability = self.try_availability().await;
        if let Some(runtime) = runtime {
            Memory::keep(&self.runtime, runtime, Some(&availability));
        }
        availability
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let began = Instant::now();
        let runtime = self.runtime_program().await.map_err(|why| missing(self.kind(), why))?;
        let prepared = self.prepare(spec, runtime)?;
        let hello = hello(&prepared.record);
        let (boundary, stream) = self.start(prepared).await?;
        let boot = began.elapsed();
        let posture = proof::read(boundary.posture_at_start(&self.facts.hierarchy));
        let (boundary, stream) = (Box::new(boundary), Box::new(stream));
        let attached = LinkedSandbox::attach(spec, boundary, stream, hello, self.defaults(spec));
        let (attached, posture) = if runtime.is_some() {
            // What a runtime has made is complete once the agent answers.
            (attached.await, posture.await)
        } else {
            // The greeting first: the agent works on it while the posture is read.
            tokio::join!(biased; attached, posture)
        };
        let ((sandbox, _ready), posture) = (attached?, posture?);
        let sandbox = if self.lenient { sandbox } else { sandbox.proven(&posture).await? };
        // Not before the proof, by which the agent has nothing open but its stream.
        let sandbox = sandbox.warmed_up(spec).await?.with_host_socket(spec).await?;
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: began.elapsed().saturating_sub(boot) })
    }

    async fn adopt(&self, spec: &SandboxSpec) -> Result<Adopted> {
        adopt::adopt(spec, &self.runtime, self.defaults(spec)).await
    }
}
