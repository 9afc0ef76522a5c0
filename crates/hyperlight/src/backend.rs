//! The backend: from a description to a helper that holds a machine.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agentkernel_core::{
    Availability, Backend, BackendKind, Booted, Capabilities, Error, ErrorKind, Result, SandboxSpec,
};
use agentkernel_kvm::KvmLevel;
use agentkernel_process::locate;
use async_trait::async_trait;
use tokio::time::timeout;

use crate::helper::{Hearing, Helper};
use crate::refusals;
use crate::sandbox::{House, HyperlightSandbox};
use crate::wire::{News, Order, Plan, Root, Trouble};

/// Name of the helper program.
pub const HELPER: &str = "agentkernel-hyperlight";

/// A machine that is not there by then never comes. In an emulated host it takes three seconds.
const BOOT_DEADLINE: Duration = Duration::from_secs(60);

/// Memory of the machine that a probe makes, MiB.
const TRIAL_MIB: usize = 128;

/// Makes micro VMs, each in a helper program of its own.
pub struct HyperlightBackend {
    /// Where the helper is looked for, in this order.
    folders: Vec<PathBuf>,
}

impl HyperlightBackend {
    /// A backend that takes its helper from the first of these folders that has it. Relative ones are passed over.
    #[must_use]
    pub fn new(folders: Vec<PathBuf>) -> Self {
        Self { folders }
    }

    /// The helper, once it is clear that it can work here.
    async fn helper(&self) -> Result<PathBuf, Unusable> {
        let helper = locate(HELPER, &self.folders).ok_or_else(Unusable::no_helper)?;
        let probed = tokio::task::spawn_blocking(agentkernel_kvm::probe).await;
        match probed.unwrap_or_else(|why| KvmLevel::Broken { why: why.to_string() }) {
            KvmLevel::Hardware => Ok(helper),
            level => Err(Unusable {
                needs: format!("KVM on hardware virtualisation: {}", level.describe()),
                hint: level
                    .hint()
                    .unwrap_or("use another backend, or a machine with hardware virtualisation")
                    .into(),
            }),
        }
    }
}

/// Why it does not work here.
struct Unusable {
    needs: String,
    hint: String,
}

impl Unusable {
    fn no_helper() -> Self {
        Self {
            needs: format!("its helper program {HELPER}, which is not installed"),
            hint: format!("cargo build --release -p {HELPER}-vm, and put it beside agentkernel or on PATH"),
        }
    }
}

/// It works, but not for everything.
fn limited(helper: &Path) -> Availability {
    let facts = [
        ("helper", helper.display().to_string()),
        ("kernel", "Unikraft, of hyperlight-unikraft".into()),
        ("root", "a copy of small programs of the host, or of a folder".into()),
    ];
    Availability::Limited {
        facts: facts.map(|(name, value)| (name.to_owned(), value)).into(),
        limitation: "it runs one command at a time, without fork, mounts, terminals and files that last"
            .into(),
    }
}

/// A helper whose machine is there.
struct Made {
    helper: Helper,
    hearing: Hearing,
    has_mib: usize,
}

async fn make(path: &Path, plan: Plan) -> Result<Made> {
    let failed = |why: String| Error::new(ErrorKind::Boot, "start the sandbox", why).on(path.display());
    let (helper, mut hearing) = Helper::start(path).map_err(|why| failed(why.to_string()))?;
    let memory_mib = plan.memory_mib;
    helper.order(&Order::Boot(plan)).await.map_err(|why| failed(why.to_string()))?;
    let news = timeout(BOOT_DEADLINE, hearing.next()).await;
    match news.map_err(|_| failed(format!("no machine within {BOOT_DEADLINE:?}")))? {
        Ok(News::Ready { memory_mib: has_mib }) => Ok(Made { helper, hearing, has_mib }),
        Ok(News::NotMade(trouble)) => Err(not_made(trouble, memory_mib)),
        Ok(other) => Err(failed(format!("it said {other:?}"))),
        Err(why) => Err(failed(format!("it ended: {why}"))),
    }
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
            wasm_modules: false,
            terminal: false,
            bind_mounts: false,
            pause: false,
            adopt: false,
            own_kernel: true,
            resize: false,
            host_socket: false,
        }
    }

    fn glance(&self) -> Option<Availability> {
        // `auto` takes it for nothing, so that only whoever names it has to know whether it works.
        let Some(helper) = locate(HELPER, &self.folders) else {
            let Unusable { needs, hint } = Unusable::no_helper();
            return Some(Availability::Unavailable { needs, hint });
        };
        Some(limited(&helper))
    }

    async fn probe(&self) -> Availability {
        let helper = match self.helper().await {
            Ok(helper) => helper,
            Err(Unusable { needs, hint }) => return Availability::Unavailable { needs, hint },
        };
        match make(&helper, Plan { root: Root::Host, memory_mib: TRIAL_MIB }).await {
            Ok(_) => limited(&helper),
            Err(why) => Availability::Unavailable {
                needs: format!("a Hyperlight that works here: {why}"),
                hint: why.hint.unwrap_or_else(|| "use another backend".into()),
            },
        }
    }

    async fn boot(&self, spec: &SandboxSpec) -> Result<Booted> {
        let plan = refusals::plan(spec)?;
        let began = Instant::now();
        let helper = self.helper().await.map_err(|Unusable { needs, hint }| {
            let error = Error::new(ErrorKind::Unavailable, "choose a backend", format!("it needs {needs}"));
            error.on(BackendKind::Hyperlight).hint(hint)
        })?;
        let wanted_mib = plan.memory_mib;
        let Made { helper, hearing, has_mib } = make(&helper, plan).await?;
        let boot = began.elapsed();
        let house = House::new(helper, hearing, wanted_mib, has_mib);
        let posture = house.posture()?;
        if !posture.holds() {
            let told = posture.broken().map(|control| format!("{} is {}", control.name, control.actual));
            let told = told.collect::<Vec<_>>().join(", ");
            return Err(
                Error::new(ErrorKind::ControlRefused, "start the sandbox", "it is not as planned").on(told)
            );
        }
        let sandbox = HyperlightSandbox::new(spec, house);
        Ok(Booted { sandbox: Box::new(sandbox), boot, ready: began.elapsed().saturating_sub(boot) })
    }
}
