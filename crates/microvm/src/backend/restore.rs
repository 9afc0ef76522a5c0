//! Machines that continue from where somebody has used one.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use agentkernel_core::{
    Boundary, DuplexStream, Error, ErrorKind, Restored, Result, SandboxSpec, SnapshotName,
};
use agentkernel_link::LinkedSandbox;

use super::start::{Started, WHAT, Way};
use super::{MicrovmBackend, defaults, handed_out, proven, with_last_words};
use crate::backend::parts::Parts;
use crate::boundary::VmBoundary;
use crate::kept::{Found, Kept, KeptStore};
use crate::line;
use crate::plan::{Beginning, VmmKind};
use crate::renewal;

/// Where snapshots of a machine are kept from now on.
#[derive(Debug, Clone)]
pub(crate) struct Keeping(Arc<Mutex<Option<KeptStore>>>);

impl Keeping {
    pub(super) fn new(store: impl Into<Option<KeptStore>>) -> Self {
        Self(Arc::new(Mutex::new(store.into())))
    }

    pub(super) fn is_in(&self, store: Option<KeptStore>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = store;
    }

    /// Nowhere without a home.
    pub(crate) fn store(&self) -> Option<KeptStore> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl MicrovmBackend {
    /// Where snapshots are; nowhere without a home.
    pub(super) fn kept(&self) -> Option<KeptStore> {
        self.settings.home.as_deref().map(|home| KeptStore::below(home, self.vmm))
    }

    pub(super) fn kept_or_refused(&self, what: &'static str, name: &SnapshotName) -> Result<KeptStore> {
        self.kept().ok_or_else(|| {
            let hint = "set AGENTKERNEL_HOME to where they are";
            Error::new(ErrorKind::NotSupported, what, "there is no home to keep any in").on(name).hint(hint)
        })
    }

    /// What holds a machine, and the way to its agent.
    pub(super) fn boundary(
        &self,
        started: Started,
        parts: &Parts,
        keeping: &Keeping,
    ) -> (Box<dyn Boundary>, Box<dyn DuplexStream>) {
        let Started { holdings, plan, vmm, control, stream, base } = started;
        let of = Kept { fit: parts.fit(&plan), root: parts.root.clone(), base };
        let boundary = VmBoundary::new(plan, vmm, control, holdings).kept_in(keeping.clone(), of);
        match self.vmm {
            VmmKind::Qemu => (Box::new(boundary), Box::new(stream)),
            VmmKind::Firecracker => {
                let (line, exchange) = line::lay(stream);
                (Box::new(boundary.called_by(exchange)), Box::new(line))
            }
        }
    }

    /// One machine more of a snapshot.
    pub(super) async fn continue_in_use(&self, spec: &SandboxSpec, from: &SnapshotName) -> Result<Restored> {
        let (store, name) = (self.kept_or_refused("continue from the snapshot", from)?, from.clone());
        let found = tokio::task::spawn_blocking(move || store.find(&name)).await;
        let found = found.map_err(|why| Error::new(ErrorKind::Internal, WHAT, why))??;
        self.continue_found(spec, from, found).await
    }

    /// One machine more of what was found by this name.
    pub(super) async fn continue_found(
        &self,
        spec: &SandboxSpec,
        from: &SnapshotName,
        found: Found,
    ) -> Result<Restored> {
        let began = Instant::now();
        let parts = self.parts_in_use(spec, found.root.clone())?;
        found.check(from, &parts.fit(&parts.plan(self.vmm, spec, 0, Beginning::Restore)))?;
        let mut started = self.start(spec, &parts, Way::GoesOnFrom(&found.files)).await?;
        let Started { plan, vmm, stream, .. } = &mut started;
        let evidence = self.while_it_boots(plan, vmm, renewal::renew_in_use(stream, spec)).await?;
        let hello = self.hello(started.plan.accelerator)?;
        let end = started.vmm.end();
        let (boundary, stream) = self.boundary(started, &parts, &Keeping::new(self.kept()));
        let (sandbox, commands) = match LinkedSandbox::adopt(spec, boundary, stream, hello, defaults()).await
        {
            Ok((sandbox, _ready, commands)) => (sandbox, commands),
            Err(error) => return Err(with_last_words(error, end).await),
        };
        let sandbox = handed_out(proven(sandbox, spec).await?, spec).await?;
        Ok(Restored { sandbox, commands, evidence, ready: began.elapsed() })
    }
}
