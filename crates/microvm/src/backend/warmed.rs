//! Machines that have run a command once: the first of a kind is kept when it has, and those that follow go on from there.

use std::path::PathBuf;
use std::time::Instant;

use agentkernel_core::{Booted, Error, ErrorKind, Result, Sandbox as _, SandboxSpec, SnapshotName};

use super::parts::Parts;
use super::restore::Keeping;
use super::{MicrovmBackend, handed_out};
use crate::kept::KeptStore;
use crate::snapshot::Key;

/// Letters of a digest that are a name: as many as one may have.
const NAME_LENGTH: usize = 56;

impl MicrovmBackend {
    /// A machine that has run what the description wants to have run once.
    pub(super) async fn boot_warmed(&self, spec: &SandboxSpec) -> Result<Booted> {
        let began = Instant::now();
        let parts = self.parts(spec).await?;
        let store = KeptStore::warmed(&parts.tools.home, self.vmm);
        let name = self.name(spec, &parts)?;
        if let Some(booted) = self.go_on(spec, &store, &name).await? {
            return Ok(booted);
        }
        let keeping = Keeping::new(store);
        let (sandbox, boot) = self.boot_as_planned(spec, &parts, &keeping, began).await?;
        let sandbox = sandbox.warmed_up(spec).await?;
        match sandbox.snapshot(&name, "").await {
            Ok(()) => {}
            // Somebody else has made it meanwhile, or is about to.
            Err(error) if error.kind == ErrorKind::NameTaken => {}
            Err(error) => {
                tracing::warn!(%error, "a machine that was warmed up cannot be kept, and the next is warmed up anew");
                // A guest that was held and not let go on again is lost.
                sandbox.ping().await?;
            }
        }
        keeping.is_in(self.kept());
        let sandbox = handed_out(sandbox, spec).await?;
        Ok(Booted { sandbox, boot, ready: began.elapsed().saturating_sub(boot) })
    }

    /// The machine, gone on from one that was warmed up. `None` if there is none that it could be.
    async fn go_on(
        &self,
        spec: &SandboxSpec,
        store: &KeptStore,
        name: &SnapshotName,
    ) -> Result<Option<Booted>> {
        let began = Instant::now();
        let (looked_in, wanted) = (store.clone(), name.clone());
        let found = tokio::task::spawn_blocking(move || looked_in.find(&wanted)).await;
        let found = match found.map_err(|why| Error::new(ErrorKind::Internal, "find the machine", why))? {
            Ok(found) => found,
            Err(error) if error.kind == ErrorKind::NoSuchSnapshot => return Ok(None),
            Err(error) => {
                tracing::warn!(%error, "a machine that was warmed up cannot be used, and is made anew");
                // What cannot be removed is in the way of the next, and told again.
                store.remove(name).ok();
                return Ok(None);
            }
        };
        match self.continue_found(spec, name, found).await {
            Ok(restored) => {
                let boot = began.elapsed();
                Ok(Some(Booted { sandbox: restored.sandbox, boot, ready: began.elapsed() - boot }))
            }
            Err(error) if matches!(error.kind, ErrorKind::Boot | ErrorKind::NotSupported) => {
                tracing::warn!(%error, "a machine that was warmed up does not come to life, and is made anew");
                store.remove(name).ok();
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The name of what such a machine is once it is warmed up: of all that it is made of, and of what it has run.
    fn name(&self, spec: &SandboxSpec, parts: &Parts) -> Result<SnapshotName> {
        let kernel: PathBuf = self.store(&parts.tools.home).image();
        let machine = parts.key(self.vmm, spec, &kernel);
        let warm_up = format!("{:?}", spec.warm_up());
        let all = [machine.as_str(), &warm_up].map(str::as_bytes);
        let digest = Key::of(all);
        let name = digest.as_str().get(..NAME_LENGTH).unwrap_or_default();
        name.parse().map_err(|why| Error::new(ErrorKind::Internal, "name the machine", why))
    }
}
