//! Snapshots of sandboxes in use: taken, found again, and gone on from.

use std::path::PathBuf;
use std::sync::Arc;

use agentkernel_api::{self as api, ErrorKind, ForkRequest, RestoreRequest, SandboxRequest};
use agentkernel_core::{Backend, SnapshotInfo, SnapshotName};
use agentkernel_runtime::{Choice, run};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::convert;
use crate::daemon::Daemon;
use crate::failure::{Failure, Outcome};
use crate::fate::EndOnDrop;
use crate::guest::Guest;
use crate::keeper::Ask;
use crate::make::{Order, make};

/// Sandboxes that are made at once.
const FORKS_MAX: u32 = 256;

/// How many of them come up at the same time: as many as a host of some processors can serve.
const AT_ONCE: usize = 8;

/// What a backend keeps for us beside a snapshot.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    owner: String,
    sandbox: String,
    request: SandboxRequest,
    /// It is there for a fork alone, and goes with that: the folder of the daemon that makes it, which is locked meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fork_by: Option<PathBuf>,
}

/// A snapshot of ours.
struct Kept {
    backend: Arc<dyn Backend>,
    info: SnapshotInfo,
    about: About,
}

impl Kept {
    fn told(&self) -> api::Snapshot {
        let SnapshotInfo { name, created_ms, bytes, .. } = &self.info;
        api::Snapshot {
            name: name.to_string(),
            backend: self.backend.kind().to_string(),
            sandbox: self.about.sandbox.clone(),
            created_ms: *created_ms,
            bytes: *bytes,
        }
    }
}

/// All snapshots of this host that daemons have taken.
async fn all(daemon: &Daemon) -> Outcome<Vec<Kept>> {
    let mut all = Vec::new();
    for backend in daemon.registry.all().iter().filter(|backend| backend.capabilities().snapshots) {
        for info in backend.snapshots().await? {
            // What others have taken is theirs.
            if let Ok(about) = serde_json::from_str(&info.about) {
                all.push(Kept { backend: backend.clone(), info, about });
            }
        }
    }
    all.sort_by_key(|kept| kept.info.created_ms);
    Ok(all)
}

/// Those of this owner, the newest last.
pub async fn list(daemon: &Daemon, owner: &str) -> Outcome<Vec<api::Snapshot>> {
    let all = all(daemon).await?;
    let ours = all.iter().filter(|kept| kept.about.owner == owner && kept.about.fork_by.is_none());
    Ok(ours.map(Kept::told).collect())
}

async fn find(daemon: &Daemon, owner: &str, name: &str) -> Outcome<Kept> {
    let mut all = all(daemon).await?.into_iter();
    let found = all.find(|kept| kept.about.owner == owner && kept.info.name.as_str() == name);
    found.ok_or_else(|| {
        Failure::new(ErrorKind::NotFound, "find the snapshot", "you have none of that name")
            .on(name)
            .hint("agentkernel snapshot ls shows those that there are")
    })
}

/// Takes one of a sandbox, which goes on.
pub async fn take(daemon: &Daemon, guest: &Guest, name: Option<&str>) -> Outcome<api::Snapshot> {
    let name = match name {
        Some(name) => name.parse().map_err(|why: String| Failure::usage("name", why))?,
        None => run::random_name()?,
    };
    take_as(guest, &name, None).await?;
    let owner = guest.view.borrow().owner.clone();
    Ok(find(daemon, &owner, name.as_str()).await?.told())
}

async fn take_as(guest: &Guest, name: &SnapshotName, fork_by: Option<PathBuf>) -> Outcome<()> {
    let (owner, sandbox) = {
        let view = guest.view.borrow();
        (view.owner.clone(), view.name.clone())
    };
    let about = move |request: SandboxRequest| {
        let about = About { owner, sandbox, request: SandboxRequest { name: None, ..request }, fork_by };
        serde_json::to_string(&about).unwrap_or_default()
    };
    let (name, about) = (name.clone(), Box::new(about));
    guest.ask(|reply| Ask::Snapshot { name, about, reply }).await?
}

/// Removes one.
pub async fn remove(daemon: &Daemon, owner: &str, name: &str) -> Outcome<()> {
    let kept = find(daemon, owner, name).await?;
    Ok(kept.backend.remove_snapshot(&kept.info.name).await?)
}

/// What is made of a snapshot.
fn order(kept: &Kept, each: RestoreRequest) -> Order {
    let RestoreRequest { name, labels, timeout_ms, idle_timeout_ms } = each;
    let request = SandboxRequest { name, labels, timeout_ms, idle_timeout_ms, ..kept.about.request.clone() };
    let reason = format!("it keeps the snapshot {}", kept.info.name);
    let choice = Choice { backend: kept.backend.kind(), reason };
    let from = Some((choice, kept.info.name.clone()));
    Order { owner: kept.about.owner.clone(), request, run: false, id: None, from }
}

/// One more sandbox of a snapshot, if its owner may have what that was asked to be.
pub async fn restore(
    daemon: &Arc<Daemon>,
    owner: &str,
    name: &str,
    each: RestoreRequest,
    may_have: impl FnOnce(&SandboxRequest) -> Outcome<()>,
) -> Outcome<(Guest, EndOnDrop)> {
    let kept = find(daemon, owner, name).await?;
    may_have(&kept.about.request)?;
    make(daemon, order(&kept, each)).await
}

/// A snapshot that is there for a fork: removed when this is dropped.
struct ForFork {
    backend: Arc<dyn Backend>,
    name: SnapshotName,
}

impl Drop for ForFork {
    fn drop(&mut self) {
        let (backend, name) = (self.backend.clone(), self.name.clone());
        tokio::spawn(async move {
            if let Err(error) = backend.remove_snapshot(&name).await {
                tracing::warn!(%error, "the snapshot of a fork is left, for the next daemon to remove");
            }
        });
    }
}

/// Sandboxes that go on from where one is now: all of them, or none.
pub async fn fork(
    daemon: &Arc<Daemon>,
    guest: Guest,
    request: ForkRequest,
) -> Outcome<Vec<(Guest, EndOnDrop)>> {
    let each = each_of(request)?;
    let daemon = daemon.clone();
    // A task of its own, which nobody drops: whoever goes away meanwhile leaves neither snapshot nor sandbox.
    let forked = tokio::spawn(async move { fork_all(&daemon, &guest, each).await });
    forked.await.map_err(Failure::internal)?
}

async fn fork_all(
    daemon: &Arc<Daemon>,
    guest: &Guest,
    each: Vec<RestoreRequest>,
) -> Outcome<Vec<(Guest, EndOnDrop)>> {
    let name = run::random_name()?;
    take_as(guest, &name, Some(folder(daemon))).await?;
    let owner = guest.view.borrow().owner.clone();
    let kept = Arc::new(find(daemon, &owner, name.as_str()).await?);
    let _for_fork = ForFork { backend: kept.backend.clone(), name };
    let count = each.len();
    let (mut waiting, mut coming, mut made) = (each.into_iter().enumerate(), JoinSet::new(), Vec::new());
    while made.len() < count {
        while coming.len() < AT_ONCE
            && let Some((number, each)) = waiting.next()
        {
            let (daemon, kept) = (daemon.clone(), kept.clone());
            coming.spawn(async move { Ok((number, make(&daemon, order(&kept, each)).await?)) });
        }
        let Some(one) = coming.join_next().await else { break };
        // The first that fails takes those with it that are there, and those that come.
        let one: Outcome<_> = one.map_err(Failure::internal)?;
        made.push(one?);
    }
    made.sort_by_key(|(number, _)| *number);
    Ok(made.into_iter().map(|(_, made)| made).collect())
}

/// What each is to be.
fn each_of(ForkRequest { count, each }: ForkRequest) -> Outcome<Vec<RestoreRequest>> {
    if !(1..=FORKS_MAX).contains(&count) {
        return Err(Failure::usage("count", format!("{count} is not between 1 and {FORKS_MAX}")));
    }
    let named = |number: u32| {
        let name =
            each.name.as_ref().map(|name| if count == 1 { name.clone() } else { format!("{name}-{number}") });
        name.as_deref().map(convert::name).transpose()?;
        Ok(RestoreRequest { name, ..each.clone() })
    };
    (1..=count).map(named).collect()
}

/// The daemon's folder, by the one name that it has for everybody.
fn folder(daemon: &Daemon) -> PathBuf {
    let home = &daemon.settings.home;
    // It is there as long as the daemon is; a name that cannot be followed is as good as any.
    home.canonicalize().unwrap_or_else(|_| home.clone())
}

/// Removes what forks of a daemon that was killed have left: one that had our folder, which is ours alone now, or one whose
/// folder is gone. Another daemon of this user may be making forks of its own.
pub async fn clear_up(daemon: &Daemon) {
    let ours = folder(daemon);
    let is_over = |kept: &Kept| kept.about.fork_by.as_ref().is_some_and(|by| *by == ours || !by.exists());
    let left = match all(daemon).await {
        Ok(all) => all.into_iter().filter(is_over),
        Err(failure) => {
            tracing::warn!(error = %failure.error, "the snapshots cannot be listed");
            return;
        }
    };
    for kept in left {
        if let Err(error) = kept.backend.remove_snapshot(&kept.info.name).await {
            tracing::warn!(%error, "the snapshot of a fork is left");
        }
    }
}
