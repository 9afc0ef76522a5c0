//! The backend: from a description to a helper that holds a machine.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Error, ErrorKind, Image, Result, SandboxSpec,
};
use agentkernel_kvm::KvmLevel;
use agentkernel_process::{OwnId, locate};
use async_trait::async_trait;
use tokio::time::timeout;

use crate::helper::{Helper, Made};
use crate::refusals;
use crate::sandbox::{House, HyperlightSandbox};
use crate::wire::{News, Order, Plan, Root, Trouble};

/// Name of the helper program.
pub const HELPER: &str = "agentkernel-hyperlight";

/// What a machine is made of takes its time: the largest module that is taken is compiled in minutes.
const PREPARE_DEADLINE: Duration = Duration::from_secs(600);

/// A machine that is not there by then never comes. In an emulated host it takes three seconds.
const BOOT_DEADLINE: Duration = Duration::from_secs(60);

/// Memory of the machine that a probe makes, MiB.
const TRIAL_MIB: usize = 128;

/// Makes micro VMs, each in a helper program of its own.
pub struct HyperlightBackend {
    /// Where the helper is looked for, in this order.
    folders: Vec<PathBuf>,
    /// Where the machine code of modules is kept, and snapshots of their machines.
    cache: Option<PathBuf>,
    level: OnceLock<KvmLevel>,
}

impl HyperlightBackend {
    /// A backend that takes its helper from the first of these folders that has it. Relative ones are passed over.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders, cache: None, level: OnceLock::new() }
    }

    /// Keeps the machine code of modules in this folder, and snapshots of their machines. It is made when it is needed, and
    /// used only if nobody but this user can write to it.
    #[must_use]
    pub fn cached_in(self, cache: Option<PathBuf>) -> Self {
        Self { cache, ..self }
    }

    /// The helper, once it is clear that it can work here.
    fn helper(&self) -> Result<PathBuf, Unusable> {
        // The host first: where it is not one for this, nobody needs a helper. A guest of three instructions keeps nobody waiting.
        if let Some(unusable) = Unusable::of(self.level()) {
            return Err(unusable);
        }
        locate(HELPER, &self.folders).ok_or_else(Unusable::no_helper)
    }

    /// What the KVM of this host can do. It is asked once: a host that gets another begins anew.
    fn level(&self) -> &KvmLevel {
        self.level.get_or_init(agentkernel_kvm::probe)
    }
}

/// Why it does not work here.
struct Unusable {
    needs: String,
    hint: String,
}

impl Unusable {
    /// Why a machine cannot run on such a KVM.
    fn of(level: &KvmLevel) -> Option<Self> {
        const ELSEWHERE: &str = "use another backend here, or a machine with hardware virtualisation";
        let unusable = || Self {
            needs: format!("KVM on hardware virtualisation: {}", level.describe()),
            hint: level.hint().unwrap_or(ELSEWHERE).into(),
        };
        (*level != KvmLevel::Hardware).then(unusable)
    }

    fn no_helper() -> Self {
        Self {
            needs: format!("its helper program {HELPER}, which is not installed"),
            hint: format!("cargo build --release -p {HELPER}-vm, and put it beside agentkernel or on PATH"),
        }
    }
}

impl From<Unusable> for Availability {
    fn from(Unusable { needs, hint }: Unusable) -> Self {
        Self::Unavailable { needs, hint }
    }
}

/// It works, but not for all programs.
fn limited(helper: &Path) -> Availability {
    Availability::Limited {
        facts: facts(helper),
        limitation: "it runs one command at a time, without fork, mounts, terminals and files that last"
            .into(),
    }
}

fn facts(helper: &Path) -> Vec<(String, String)> {
    let facts = [
        ("helper", helper.display().to_string()),
        ("kernel", "Unikraft, of hyperlight-unikraft".into()),
        ("root", "a Wasm module, or a copy of small programs of the host or of a folder".into()),
    ];
    facts.map(|(name, value)| (name.to_owned(), value)).into()
}

async fn make(path: &Path, plan: Plan) -> Result<Made> {
    let failed = |why: String| Error::new(ErrorKind::Boot, "start the sandbox", why).on(path.display());
    let (helper, mut hearing) = Helper::start(path).map_err(|why| failed(why.to_string()))?;
    let memory_mib = plan.memory_mib;
    let user = OwnId::take().map_err(|why| failed(format!("there is no id for the helper: {why}")))?;
    let plan = Plan { user: user.as_ref().map(OwnId::get), ..plan };
    helper.order(&Order::Boot(plan)).await.map_err(|why| failed(why.to_string()))?;
    let mut deadline = PREPARE_DEADLINE;
    loop {
        let news = timeout(deadline, hearing.next()).await;
        match news.map_err(|_| failed(format!("no machine within {deadline:?}")))? {
            Ok(News::Prepared) => deadline = BOOT_DEADLINE,
            Ok(News::Ready { memory_mib: has_mib }) => return Ok(Made { helper, hearing, has_mib, user }),
            Ok(News::NotMade(trouble)) => return Err(not_made(trouble, memory_mib)),
            Ok(other) => return Err(failed(format!("it said {other:?}"))),
            Err(why) => return Err(failed(format!("it ended: {why}"))),
        }
    }
}

/// Makes a machine whose posture holds, and tells how long it took until there was one.
async fn raise(path: &Path, plan: Plan) -> Result<(House, Duration)> {
    let (began, wanted_mib) = (Instant::now(), plan.memory_mib);
    let has_module = matches!(plan.root, Root::Module { .. });
    let made = make(path, plan).await?;
    let boot = began.elapsed();
    let house = House::new(made, wanted_mib, has_module);
    let posture = house.posture()?;
    if posture.holds() {
        return Ok((house, boot));
    }
    let told = posture.broken().map(|control| format!("{} is {}", control.name, control.actual));
    let told = told.collect::<Vec<_>>().join(", ");
    Err(Error::new(ErrorKind::ControlRefused, "start the sandbox", "it is not as planned").on(told))
}

fn not_made(trouble: Trouble, memory_mib: usize) -> Error {
    let refused = |why: &str| Error::new(ErrorKind::ControlRefused, "start the sandbox", why);
    match trouble {
        Trouble::Root(subject, why) => {
            refused(&why).on(subject).hint("name a folder with --rootfs in which everything can be read")
        }
        Trouble::TooLarge { root_mib } => {
            let why = format!(
                "the root has {root_mib} MiB, all of it in the machine's memory, which has {memory_mib} MiB and needs half for itself"
            );
            refused(&why).on("root").hint("name a folder with only what is needed, or use a larger --memory")
        }
        Trouble::Module(why) => why,
        Trouble::Machine(why) => Error::new(ErrorKind::Boot, "start the sandbox", why).on("machine"),
    }
}

#[async_trait]
impl Backend for HyperlightBackend {
    fn kind(&self) -> BackendKind {
        BackendKind::Hyperlight
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            linux_programs: true,
            wasm_modules: true,
            terminal: false,
            bind_mounts: false,
            pause: false,
            adopt: false,
            own_kernel: true,
            resize: false,
            host_socket: false,
            snapshots: false,
            warm_up: false,
        }
    }

    fn glance(&self, spec: &SandboxSpec) -> Option<Availability> {
        let Some(helper) = locate(HELPER, &self.folders) else {
            return Some(Unusable::no_helper().into());
        };
        let Image::Module(_) = spec.image() else {
            // `auto` takes it for no programs, so that only whoever names it has to know whether it works.
            return Some(limited(&helper));
        };
        if let Some(unusable) = Unusable::of(self.level()) {
            return Some(unusable.into());
        }
        Some(match refusals::plan(spec, None) {
            Ok(_) => Availability::Available { facts: facts(&helper) },
            Err(why) => Availability::Limited { facts: facts(&helper), limitation: why.to_string() },
        })
    }

    async fn probe(&self) -> Availability {
        let helper = match self.helper() {
            Ok(helper) => helper,
            Err(unusable) => return unusable.into(),
        };
        match raise(&helper, Plan { root: Root::Host, memory_mib: TRIAL_MIB, user: None }).await {
            Ok(_) => limited(&helper),
            Err(why) => Availability::Unavailable {
                needs: format!("a Hyperlight that works here: {why}"),
                hint: why.hint.unwrap_or_else(|| "use another backend".into()),
            },
        }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let plan = refusals::plan(spec, self.cache.as_deref())?;
        let began = Instant::now();
        let helper = self.helper().map_err(|Unusable { needs, hint }| {
            let error = Error::new(ErrorKind::Unavailable, "choose a backend", format!("it needs {needs}"));
            error.on(BackendKind::Hyperlight).hint(hint)
        })?;
        let (house, boot) = raise(&helper, plan).await?;
        let sandbox = HyperlightSandbox::new(spec, house);
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: began.elapsed().saturating_sub(boot) })
    }
}

#[cfg(test)]
mod tests;
