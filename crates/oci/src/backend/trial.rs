//! Whether a backend works here: by a sandbox that is made to be tried.

use agentkernel_core::{
    Availability, Backend as _, Command, ExitStatus, Limit, Limits, ProcessEvent, Profile, Result, Sandbox,
    SandboxSpec,
};

use super::OciBackend;
use crate::engine::Runtime;
use crate::random::random_name;

impl OciBackend {
    /// The runtime that makes the containers, unless we do.
    pub(super) async fn runtime_program(&self) -> Result<Option<&Runtime>, Availability> {
        match &self.engine {
            None => Ok(None),
            Some(_) if !self.facts.root => Err(Availability::Unavailable {
                needs: "root: only root can have the ids, mounts and groups that are given to a runtime"
                    .into(),
                hint: "run as root, or with --backend oci, which needs no root".into(),
            }),
            Some(slot) => slot.find(&self.runtime).await.map(Some),
        }
    }

    /// A description of the smallest sandbox that this user may have, for trying.
    fn trial(&self) -> Result<SandboxSpec> {
        let mut limits = Limits::of(Profile::Restrictive);
        if !self.facts.can_limit() {
            limits.memory = Limit::Unlimited;
            limits.cpus = Limit::Unlimited;
        }
        SandboxSpec::builder(random_name()?, Profile::Restrictive).limits(limits).build()
    }

    /// How a trial ends.
    pub(super) async fn try_availability(&self) -> Availability {
        match self.try_one().await {
            Ok(availability) => availability,
            Err(error) => Availability::Unavailable {
                needs: format!("a container that starts; this one did not: {error}"),
                hint: error.hint.unwrap_or_else(|| "run as root, outside of another container".into()),
            },
        }
    }

    async fn try_one(&self) -> Result<Availability> {
        let booted = self.boot(&self.trial()?).await?;
        booted.sandbox.ping().await?;
        let limitation =
            if self.capabilities().own_kernel { limitation(&*booted.sandbox).await? } else { None };
        booted.sandbox.stop().await?;
        let mut facts = self.facts.describe();
        if let Ok(Some(runtime)) = self.runtime_program().await {
            facts.push(("runtime".into(), format!("{} ({})", runtime.version, runtime.path.display())));
            facts.extend(runtime.platform.iter().map(|platform| ("platform".into(), platform.clone())));
        }
        let time = booted.boot + booted.ready;
        facts.push(("trial start".into(), format!("{:.1} ms", time.as_secs_f64() * 1000.0)));
        Ok(match limitation {
            Some(limitation) => Availability::Limited { facts, limitation },
            None => Availability::Available { facts },
        })
    }
}

/// Whether a kernel that is not Linux can do what everybody does first. (gVisor of 2022 refuses the stat calls of
/// coreutils 9.)
async fn limitation(sandbox: &dyn Sandbox) -> Result<Option<String>> {
    let mut listing = sandbox.exec(&Command::new(["ls", "/"])).await?;
    loop {
        if let ProcessEvent::Exited(exited) = listing.next().await? {
            let works = exited.status == ExitStatus::Code(0);
            let why = "ls does not work in it: this version knows too little for this host's coreutils";
            return Ok((!works).then(|| why.to_owned()));
        }
    }
}
