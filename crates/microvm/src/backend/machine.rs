//! How a machine comes to be itself: booted, or continued from a snapshot, and in either case renewed.
//!
//! ```text
//!                     there is a snapshot ─────────────────────┐
//! parts ─▶ key ─▶ {                                            ▼
//!                     there is none: boot ─▶ waits ─▶ write ─▶ ended      continue ─▶ renew ─▶ agent
//!                     snapshots are off: boot ─▶ waits ──────────────────────────────────────▶ renew ─▶ agent
//! ```

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result, SandboxSpec};
use tokio::time::timeout;

use super::MicrovmBackend;
use super::holdings::Holdings;
use super::parts::Parts;
use super::start::{Started, WHAT, Way};
use crate::control::Control;
use crate::plan::firecracker::STATE;
use crate::plan::{VmPlan, VmmKind};
use crate::renewal;
use crate::snapshot::{Key, NewSnapshot, SnapshotStore};
use crate::state::State;
use crate::vmm::Vmm;

/// How long a VMM that has closed its stream may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why there is no snapshot.
enum NoSnapshot {
    /// The machine cannot be made at all.
    Machine(Error),
    /// It cannot be written.
    Snapshot(io::Error),
}

impl MicrovmBackend {
    /// The machine of a description, renewed.
    pub(super) async fn machine(&self, spec: &SandboxSpec, parts: &Parts) -> Result<Started> {
        if self.settings.snapshots
            && let Some(started) = self.continued(spec, parts).await?
        {
            return Ok(started);
        }
        let mut started = self.start(spec, parts, Way::Boots).await?;
        self.awaits(&mut started).await?;
        self.renew(&mut started, spec).await?;
        Ok(started)
    }

    /// The machine, continued from a snapshot, which is made first if there is none. `None` if it has to be booted after all.
    async fn continued(&self, spec: &SandboxSpec, parts: &Parts) -> Result<Option<Started>> {
        let store = SnapshotStore::below(&parts.tools.home);
        let key = parts.key(self.vmm, spec, &self.store(&parts.tools.home).image());
        let found = store.find(&key, self.vmm.snapshot_files()).unwrap_or_else(|why| {
            tracing::warn!(%why, "a snapshot cannot be used, and is made anew");
            None
        });
        let files = match found {
            Some(files) => Some(files),
            None => match self.make(&store, &key, spec, parts).await {
                Ok(made) => made,
                Err(NoSnapshot::Machine(error)) => return Err(error),
                Err(NoSnapshot::Snapshot(why)) => {
                    tracing::warn!(%why, "no snapshot of the machine can be kept");
                    None
                }
            },
        };
        let Some(files) = files else { return Ok(None) };
        match self.continue_from(&files, spec, parts).await {
            Ok(started) => Ok(Some(started)),
            Err(error) if error.kind == ErrorKind::Boot => {
                tracing::warn!(%error, "a snapshot does not come to life, and is removed");
                store.forget(&key);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn continue_from(&self, files: &[PathBuf], spec: &SandboxSpec, parts: &Parts) -> Result<Started> {
        let mut started = self.start(spec, parts, Way::ContinuesFrom(files)).await?;
        self.renew(&mut started, spec).await?;
        Ok(started)
    }

    /// Boots a machine for its snapshot, and ends it. `None` while somebody else makes the same.
    async fn make(
        &self,
        store: &SnapshotStore,
        key: &Key,
        spec: &SandboxSpec,
        parts: &Parts,
    ) -> Result<Option<Vec<PathBuf>>, NoSnapshot> {
        let Some(new) = store.begin(key).map_err(NoSnapshot::Snapshot)? else { return Ok(None) };
        let started = self.start(spec, parts, Way::Boots).await;
        let mut started = started.map_err(NoSnapshot::Machine)?;
        self.awaits(&mut started).await.map_err(NoSnapshot::Machine)?;
        let Started { control, plan, holdings, .. } = &mut started;
        let written = write(control, plan, holdings, &new).await;
        started.vmm.kill();
        // Its name is free when this is dropped, and nobody writes to the file any more.
        started.vmm.ended().await;
        drop(started);
        written.map_err(NoSnapshot::Snapshot)?;
        keep(new, self.vmm.snapshot_files()).await.map(Some).map_err(NoSnapshot::Snapshot)
    }

    /// Waits until a machine that boots waits for us.
    async fn awaits(&self, started: &mut Started) -> Result<()> {
        let Started { plan, vmm, stream, .. } = started;
        self.while_it_boots(plan, vmm, renewal::wait(stream)).await
    }

    async fn renew(&self, started: &mut Started, spec: &SandboxSpec) -> Result<()> {
        let Started { plan, vmm, stream, .. } = started;
        self.while_it_boots(plan, vmm, renewal::renew(stream, spec)).await.map(drop)
    }

    /// Hears a machine that boots, unless it ends first. After an error its VMM is killed.
    pub(super) async fn while_it_boots<T>(
        &self,
        plan: &VmPlan,
        vmm: &Vmm,
        talk: impl Future<Output = io::Result<T>>,
    ) -> Result<T> {
        let patience = self.ready_deadline(plan.accelerator);
        let died = |how: &str| (ErrorKind::Boot, format!("the VMM {how} in phase {}", State::Booting));
        let (kind, why) = tokio::select! {
            biased;
            heard = timeout(patience, talk) => match heard {
                Ok(Ok(heard)) => return Ok(heard),
                Ok(Err(why)) if why.kind() == io::ErrorKind::UnexpectedEof => {
                    let how = timeout(LAST_WORDS, vmm.ended()).await;
                    died(how.as_deref().unwrap_or("has hung up"))
                }
                Ok(Err(why)) if why.kind() == io::ErrorKind::InvalidData => {
                    (ErrorKind::ProtocolBroken, why.to_string())
                }
                Ok(Err(why)) => (ErrorKind::Boot, why.to_string()),
                Err(_) => (ErrorKind::Boot, format!("it was not ready within {} ms", patience.as_millis())),
            },
            how = vmm.ended() => died(&how),
        };
        vmm.kill();
        // A guest that cannot go on ends its machine, and says why.
        let last = vmm.end().last_words().await;
        Err(Error::new(kind, WHAT, format!("{why}{last}")).on(&plan.name))
    }
}

/// Has the files of a machine that waits written, and put where a new snapshot's are: Firecracker writes them into its own
/// folder.
pub(crate) async fn write(
    control: &mut Control,
    plan: &VmPlan,
    holdings: &Holdings,
    new: &NewSnapshot,
) -> io::Result<()> {
    let written = control.write_snapshot(plan, &new.file(STATE)).await;
    if plan.vmm == VmmKind::Qemu {
        return written;
    }
    let folder = holdings.folder_of_firecracker(plan);
    for name in plan.vmm.snapshot_files() {
        match &written {
            Ok(()) => {
                fs::rename(folder.join(name), new.file(name))?;
                // Where nobody but us can put another one in its place.
                check_own(&new.file(name))?;
            }
            // What there is of it takes room that somebody may need.
            Err(_) => drop(fs::remove_file(folder.join(name))),
        }
    }
    written
}

/// Refuses what is no file of its own. A VMM that somebody has taken over may leave anything in its folder; and what we
/// open, fill and give other rights, would be whatever a link of its leads to.
fn check_own(path: &Path) -> io::Result<()> {
    let facts = fs::symlink_metadata(path)?;
    if facts.is_file() && facts.nlink() == 1 {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the VMM has left something else than a file of its own"))
}

async fn keep(new: NewSnapshot, names: &'static [&'static str]) -> io::Result<Vec<PathBuf>> {
    tokio::task::spawn_blocking(move || new.keep(names)).await.map_err(io::Error::other)?
}
