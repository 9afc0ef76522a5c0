//! How a machine comes to be itself: booted, or continued from a snapshot, and in either case renewed.
//!
//! ```text
//!                     there is a snapshot ─────────────────────┐
//! parts ─▶ key ─▶ {                                            ▼
//!                     there is none: boot ─▶ waits ─▶ write ─▶ ended      continue ─▶ renew ─▶ agent
//!                     snapshots are off: boot ─▶ waits ──────────────────────────────────────▶ renew ─▶ agent
//! ```

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_core::{Error, ErrorKind, Result, SandboxSpec};
use serde_json::json;
use tokio::time::{sleep, timeout};

use super::QemuBackend;
use super::parts::Parts;
use super::start::{Started, WHAT, Way};
use crate::renewal;
use crate::snapshot::{Key, NewSnapshot, SnapshotStore};
use crate::state::State;

/// How long a VMM may take to write a snapshot: some hundred megabytes on a slow disk.
const WRITE_DEADLINE: Duration = Duration::from_secs(60);

/// How soon is asked again whether it has.
const ASK_AGAIN: Duration = Duration::from_millis(5);

/// What the file of a snapshot is called between us and its VMM.
const SNAPSHOT: &str = "snapshot";

/// As fast as the disk is, bytes a second: QEMU's own limit is for networks.
const BANDWIDTH: u64 = 1 << 40;

/// How long a VMM that has closed its stream may take to end.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why there is no snapshot.
enum NoSnapshot {
    /// The machine cannot be made at all.
    Machine(Error),
    /// It cannot be written.
    Snapshot(io::Error),
}

impl QemuBackend {
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
        let key = parts.key(spec, &self.store(&parts.tools.home).image());
        let found = store.find(&key).unwrap_or_else(|why| {
            tracing::warn!(%why, "a snapshot cannot be used, and is made anew");
            None
        });
        let file = match found {
            Some(file) => Some(file),
            None => match self.make(&store, &key, spec, parts).await {
                Ok(made) => made,
                Err(NoSnapshot::Machine(error)) => return Err(error),
                Err(NoSnapshot::Snapshot(why)) => {
                    tracing::warn!(%why, "no snapshot of the machine can be kept");
                    None
                }
            },
        };
        let Some(file) = file else { return Ok(None) };
        match self.continue_from(&file, spec, parts).await {
            Ok(started) => Ok(Some(started)),
            Err(error) if error.kind == ErrorKind::Boot => {
                tracing::warn!(%error, "a snapshot does not come to life, and is removed");
                store.forget(&key);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn continue_from(&self, file: &Path, spec: &SandboxSpec, parts: &Parts) -> Result<Started> {
        let mut started = self.start(spec, parts, Way::ContinuesFrom(file)).await?;
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
    ) -> Result<Option<PathBuf>, NoSnapshot> {
        let Some(new) = store.begin(key).map_err(NoSnapshot::Snapshot)? else { return Ok(None) };
        let started = self.start(spec, parts, Way::Boots).await;
        let mut started = started.map_err(NoSnapshot::Machine)?;
        self.awaits(&mut started).await.map_err(NoSnapshot::Machine)?;
        let written = write(&mut started, &new.file()).await;
        started.vmm.kill();
        // Its name is free when this is dropped, and nobody writes to the file any more.
        started.vmm.ended().await;
        drop(started);
        written.map_err(NoSnapshot::Snapshot)?;
        keep(new).await.map_err(NoSnapshot::Snapshot)?;
        store.find(key).map_err(NoSnapshot::Snapshot)
    }

    /// Waits until a machine that boots waits for us.
    async fn awaits(&self, started: &mut Started) -> Result<()> {
        let patience = self.ready_deadline(started.plan.accelerator);
        let heard = tokio::select! {
            biased;
            heard = timeout(patience, renewal::wait(&mut started.stream)) => heard,
            how = started.vmm.ended() => return Err(died(started, &how).await),
        };
        judged(started, heard, patience).await
    }

    async fn renew(&self, started: &mut Started, spec: &SandboxSpec) -> Result<()> {
        let patience = self.ready_deadline(started.plan.accelerator);
        let heard = tokio::select! {
            biased;
            heard = timeout(patience, renewal::renew(&mut started.stream, spec)) => heard,
            how = started.vmm.ended() => return Err(died(started, &how).await),
        };
        judged(started, heard, patience).await
    }
}

/// What is to be told of what a machine has said.
async fn judged(
    started: &Started,
    heard: Result<io::Result<()>, tokio::time::error::Elapsed>,
    patience: Duration,
) -> Result<()> {
    let why = match heard {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(why)) if why.kind() == io::ErrorKind::UnexpectedEof => {
            let how = timeout(LAST_WORDS, started.vmm.ended()).await;
            return Err(died(started, how.as_deref().unwrap_or("has hung up")).await);
        }
        Ok(Err(why)) => why,
        Err(_) => io::Error::other(format!("it was not ready within {} ms", patience.as_millis())),
    };
    let kind =
        if why.kind() == io::ErrorKind::InvalidData { ErrorKind::ProtocolBroken } else { ErrorKind::Boot };
    started.vmm.kill();
    // A guest that cannot go on ends its machine, and says why.
    let last = started.vmm.end().last_words().await;
    Err(Error::new(kind, WHAT, format!("{why}{last}")).on(&started.plan.name))
}

async fn died(started: &Started, how: &str) -> Error {
    started.vmm.kill();
    let why = format!("the VMM {how} in phase {}{}", State::Booting, started.vmm.end().last_words().await);
    Error::new(ErrorKind::Boot, WHAT, why).on(&started.plan.name)
}

/// Has the VMM write the snapshot of a machine that waits.
async fn write(started: &mut Started, file: &Path) -> io::Result<()> {
    let qmp = &mut started.qmp;
    // It runs meanwhile, and hardly: what is written is a machine that runs as soon as it is read.
    qmp.give(SNAPSHOT, File::options().write(true).open(file)?.into()).await?;
    qmp.ask("migrate-set-parameters", Some(json!({"max-bandwidth": BANDWIDTH}))).await?;
    qmp.ask("migrate", Some(json!({"uri": format!("fd:{SNAPSHOT}")}))).await?;
    let complete = async {
        loop {
            let state = qmp.ask("query-migrate", None).await?;
            match state["status"].as_str() {
                Some("completed") => return Ok(()),
                Some("failed" | "cancelled") => {
                    let why = state["error-desc"].as_str().unwrap_or("the VMM does not say why");
                    return Err(io::Error::other(why.to_owned()));
                }
                _ => sleep(ASK_AGAIN).await,
            }
        }
    };
    let slow = |_| io::Error::new(io::ErrorKind::TimedOut, "the snapshot is not written in time");
    timeout(WRITE_DEADLINE, complete).await.map_err(slow)?
}

async fn keep(new: NewSnapshot) -> io::Result<()> {
    tokio::task::spawn_blocking(move || new.keep()).await.map_err(io::Error::other)?
}
