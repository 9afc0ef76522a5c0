//! The backend: from a description to a container whose posture is proven.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Error, ErrorKind, Result, Sandbox, SandboxSpec,
};
use agentkernel_link::{ExecDefaults, HelloOptions, LinkedSandbox, Token};
use async_trait::async_trait;
use tokio::sync::{Mutex, OnceCell};

use super::agent;
use super::argv::{self, Argv};
use super::boundary::AppleBoundary;
use super::cli::{ANSWER_DEADLINE, CREATE_DEADLINE, Cli, SLOW_DEADLINE, Trouble};
use super::holder::{self, Holder};
use super::plan::{self, Facts, Plan};
use super::posture::Expected;
use super::probe;
use super::reaper::{self, Doomed};
use super::stream::CallStream;
use super::version::Version;
use super::watch::Watch;
use crate::address::EngineSettings;
use crate::backend::env_of;
use crate::owner;

/// What is being done, for errors.
const WHAT: &str = "start the sandbox";

/// Times that a container is asked for: a name may have to be freed first, and another program may take it just then.
const ATTEMPTS: u32 = 4;

/// Changes what is asked for on its way to the program, for a test that shows what a control is good for.
type Weaken = Arc<dyn Fn(&mut Vec<String>) + Send + Sync>;

/// Makes containers by Apple's `container`.
pub struct AppleBackend {
    pub(super) settings: EngineSettings,
    pub(super) version: OnceCell<Version>,
    holder: Mutex<Option<Arc<Holder>>>,
    has_reaped: AtomicBool,
    pub(super) patience: Duration,
    weaken: Option<Weaken>,
    /// Whether a posture that does not hold is a refusal.
    is_strict: bool,
}

/// A container that runs.
struct Started {
    boundary: Box<AppleBoundary>,
    stream: CallStream,
    /// What commands get of the image's own variables.
    env: Vec<(Vec<u8>, Vec<u8>)>,
}

impl AppleBackend {
    /// The program, where these settings say that programs are.
    #[must_use]
    pub fn new(settings: EngineSettings) -> Self {
        let (version, holder, has_reaped) = (OnceCell::new(), Mutex::new(None), AtomicBool::new(false));
        Self {
            settings,
            version,
            holder,
            has_reaped,
            patience: CREATE_DEADLINE,
            weaken: None,
            is_strict: true,
        }
    }

    /// The same backend that waits no longer than this for anything that it asks. For tests of what hangs.
    #[doc(hidden)]
    #[must_use]
    pub fn hasty(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same backend with the words that make a container changed. For negative controls only: no program calls it.
    #[doc(hidden)]
    #[must_use]
    pub fn tampered(mut self, weaken: impl Fn(&mut Vec<String>) + Send + Sync + 'static) -> Self {
        self.weaken = Some(Arc::new(weaken));
        self
    }

    /// The same, and with sandboxes that are handed out although their posture does not hold.
    #[doc(hidden)]
    #[must_use]
    pub fn weakened(self, weaken: impl Fn(&mut Vec<String>) + Send + Sync + 'static) -> Self {
        Self { is_strict: false, ..self.tampered(weaken) }
    }

    /// Where what is ours is on the host.
    fn folder(&self) -> PathBuf {
        self.settings.runtime_dir.join("apple")
    }

    /// What shows that we live.
    async fn holder(&self) -> Result<Arc<Holder>> {
        let mut slot = self.holder.lock().await;
        if let Some(holder) = slot.as_ref() {
            return Ok(Arc::clone(holder));
        }
        let folder = self.folder();
        let taken = Holder::take(&folder);
        let holder =
            Arc::new(taken.map_err(|why| Error::new(ErrorKind::Host, WHAT, why).on(folder.display()))?);
        *slot = Some(Arc::clone(&holder));
        Ok(holder)
    }

    fn plan(&self, spec: &SandboxSpec, version: Version, holder: &Holder) -> Result<Plan> {
        let folder = self.folder();
        let made = agent::folder(&folder);
        let agent_folder = made
            .map_err(|why| Error::new(ErrorKind::Host, "write the guest agent", why).on(folder.display()))?;
        let labels = [(owner::SANDBOX, spec.name().as_str()), (owner::OWNER, holder.label())];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        plan::container(spec, &Facts { version, agent_folder, labels })
    }

    async fn start(&self, spec: &SandboxSpec) -> Result<Started> {
        let (cli, version) = self.cli().await?;
        let holder = self.holder().await?;
        let plan = self.plan(spec, version, &holder)?;
        mounts_are_folders(spec)?;
        if !self.has_reaped.swap(true, Ordering::Relaxed) {
            reaper::reap(&cli, &self.folder()).await;
        }
        find_image(&cli, &plan).await?;
        let container = self.create(&cli, &plan, &holder).await?;
        let failed = |why: Trouble| why.error(WHAT).on(spec.name());
        cli.ask(argv::start(&plan.name), SLOW_DEADLINE).await.map_err(failed)?;
        let program = cli.attend(&argv::call(&plan.name, argv::caller(spec)));
        let called = program.and_then(CallStream::of);
        let (stream, call) = called.map_err(|why| failed(Trouble::NoAnswer(why.to_string())))?;
        let watch = Watch::start(cli.clone(), plan.name.clone(), call, spec.lifetime());
        let inspected = cli.inspect(&plan.name).await.map_err(failed)?.unwrap_or_default();
        let env = env_of(&inspected["configuration"]["initProcess"]["environment"]);
        let boundary = AppleBoundary::new(container, watch, Expected::new(spec, plan.told));
        Ok(Started { boundary: Box::new(boundary), stream, env })
    }

    /// Makes the container, and first room for it.
    async fn create(&self, cli: &Cli, plan: &Plan, holder: &Arc<Holder>) -> Result<Doomed> {
        let mut words = plan.create.words().to_vec();
        if let Some(weaken) = &self.weaken {
            weaken(&mut words);
        }
        for _ in 0..ATTEMPTS {
            let made = Doomed::make(cli, &plan.name, holder, Argv(words.clone())).await;
            let Err(refused) = made else { return made.map_err(|why| why.error(WHAT)) };
            let Ok(Some(found)) = cli.inspect(&plan.name).await else { return Err(refused.error(WHAT)) };
            let is_ours = found["configuration"]["labels"][owner::OWNER] == holder.label();
            if is_ours && matches!(refused, Trouble::NoAnswer(_)) {
                // It was made after all, and is removed.
                drop(Doomed::found(cli, &plan.name, holder));
                return Err(refused.error(WHAT));
            }
            reaper::make_room(cli, &self.folder(), &plan.name, &found).await?;
        }
        let why = "its name is taken as fast as it is freed";
        Err(Error::new(ErrorKind::Boot, WHAT, why).on(BackendKind::Apple))
    }
}

/// The program mounts folders and nothing else.
fn mounts_are_folders(spec: &SandboxSpec) -> Result<()> {
    spec.mounts().iter().try_for_each(|mount| {
        let why = match std::fs::metadata(mount.source()) {
            Ok(facts) if facts.is_dir() => return Ok(()),
            Ok(_) => "Apple's container mounts folders alone, and this is none".to_owned(),
            Err(why) => why.to_string(),
        };
        Err(Error::new(ErrorKind::ControlRefused, WHAT, why)
            .on(format!("mount {}", mount.source().display()))
            .hint("name a folder that is there"))
    })
}

/// Whether the program has the image: it would fetch one that it has not.
async fn find_image(cli: &Cli, plan: &Plan) -> Result<()> {
    let what = "find the image";
    let image = &plan.image;
    match cli.ask(argv::inspect_image(image), ANSWER_DEADLINE).await {
        Ok(_) => Ok(()),
        Err(why) if why.is_not_found() => {
            let why = "Apple's container does not have it, and nothing is fetched for a sandbox";
            let hint =
                format!("container image pull {image}, or of a file container image load --input FILE");
            Err(Error::new(ErrorKind::Boot, what, why).on(image).hint(hint))
        }
        Err(why) => Err(why.error(what)),
    }
}

/// The secret between host and agent.
fn hello() -> Result<HelloOptions> {
    let mut token = [0; 32];
    for part in token.chunks_exact_mut(8) {
        let bits = holder::random().map_err(|why| Error::new(ErrorKind::Host, "draw random bytes", why))?;
        part.copy_from_slice(&bits.to_le_bytes());
    }
    Ok(HelloOptions { token: Token(token), mounts: Vec::new(), deadline: SLOW_DEADLINE })
}

#[async_trait]
impl Backend for AppleBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Apple
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: true,
            wasm_modules: false,
            terminal: true,
            bind_mounts: true,
            pause: false,
            adopt: false,
            own_kernel: true,
            resize: false,
            host_socket: true,
            snapshots: false,
            warm_up: true,
        }
    }

    fn glance(&self, _spec: &SandboxSpec) -> Option<Availability> {
        probe::other_system(&self.settings.system).map(Into::into)
    }

    async fn probe(&self) -> Availability {
        probe::availability(self.try_out().await)
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let began = Instant::now();
        let hello = hello()?;
        let Started { boundary, stream, env } = self.start(spec).await?;
        let boot = began.elapsed();
        let mut defaults = ExecDefaults::default();
        defaults.env.extend(env);
        let attached = LinkedSandbox::attach(spec, boundary, Box::new(stream), hello, defaults);
        let (sandbox, _ready) = attached.await?;
        let sandbox = match sandbox.posture().await {
            Ok(posture) if self.is_strict => sandbox.proven(&posture).await?,
            Ok(_) => sandbox,
            Err(why) => {
                Box::new(sandbox).stop().await?;
                return Err(why);
            }
        };
        // Not before the proof, by which the agent has nothing open but its stream.
        let sandbox = sandbox.warmed_up(spec).await?.with_host_socket(spec).await?;
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: began.elapsed().saturating_sub(boot) })
    }
}
