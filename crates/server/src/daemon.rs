//! Everything that a handler may need, shared by all.

use std::sync::Arc;
use std::time::Instant;

use agentkernel_api::{ShutdownMode, State as SandboxState};
use agentkernel_core::{Backend, BackendKind, Error, ErrorKind, Result};
use agentkernel_pool::Pool;
use agentkernel_runtime::Registry;
use tokio::sync::{Semaphore, watch};

use crate::failure::{Failure, Outcome};
use crate::guest::Visit;
use crate::metrics::Metrics;
use crate::rush::Rush;
use crate::settings::{Limits, ServeSettings};
use crate::state::{Found, State};
use crate::store::Store;

/// The daemon, without its listeners.
pub struct Daemon {
    /// How it was set up.
    pub settings: ServeSettings,
    /// Every backend.
    pub registry: Registry,
    /// The warm sandboxes of each.
    pub pools: Vec<(BackendKind, Arc<Pool>)>,
    /// The owner of all sandboxes.
    pub state: State,
    /// What survives.
    pub store: Store,
    /// When commands come and go.
    pub rush: Rush,
    /// What is counted.
    pub metrics: Metrics,
    /// Room for the output of buffered replies, in KiB.
    pub buffers: Arc<Semaphore>,
    /// Room for the bodies of requests that are being read, in KiB.
    pub bodies: Arc<Semaphore>,
    /// Random, and new at each start.
    pub instance: String,
    /// When it started.
    pub began: Instant,
    /// The order to stop; the first one stands, but for a kill.
    pub stop: watch::Sender<Option<ShutdownMode>>,
}

impl Daemon {
    /// The most of everything.
    pub fn limits(&self) -> &Limits {
        &self.settings.limits
    }

    /// A backend with its pool.
    pub fn backend(&self, kind: BackendKind) -> Result<(Arc<dyn Backend>, Arc<Pool>)> {
        let pool = self.pools.iter().find(|(other, _)| *other == kind).map(|(_, pool)| pool.clone());
        let missing = || Error::new(ErrorKind::Unavailable, "find the pool", "there is none").on(kind);
        Ok((self.registry.get(kind)?, pool.ok_or_else(missing)?))
    }

    /// The sandbox of this owner under this id or name, whether it lives or has ended.
    pub async fn find(&self, owner: &str, word: &str) -> Outcome<Found> {
        if let Some(found) = self.state.find(owner, word).await? {
            return Ok(found);
        }
        match self.store.find(owner, word).await? {
            Some(row) if row.sandbox.state == SandboxState::Ended => Err(Failure::gone(&row.sandbox)),
            // It ended a moment ago, or the end of it could not be written down.
            Some(_) | None => Err(Failure::no_such_sandbox(word)),
        }
    }

    /// The same, if it lives.
    pub async fn find_living(&self, owner: &str, word: &str) -> Outcome<Found> {
        let found = self.find(owner, word).await?;
        let now = found.now();
        if now.state == SandboxState::Ended { Err(Failure::gone(&now)) } else { Ok(found) }
    }

    /// Begins to use a sandbox.
    pub async fn enter(&self, owner: &str, word: &str) -> Outcome<Visit> {
        let found = self.find_living(owner, word).await?;
        let Some(guest) = &found.guest else {
            let now = found.now();
            return Err(if now.cause.is_some() {
                Failure::gone(&now)
            } else {
                let kind = agentkernel_api::ErrorKind::Conflict;
                Failure::new(kind, "use the sandbox", "it is being made").on(word)
            });
        };
        self.rush.stir();
        guest.enter()
    }

    /// Orders the daemon to stop.
    pub fn order_stop(&self, mode: ShutdownMode) {
        self.stop.send_if_modified(|order| {
            let is_new =
                order.is_none() || (*order == Some(ShutdownMode::Drain) && mode == ShutdownMode::Kill);
            if is_new {
                *order = Some(mode);
            }
            is_new
        });
    }
}

#[cfg(test)]
impl Daemon {
    /// A daemon of fakes, none of them warm, that listens to nobody.
    pub fn on_fakes(folder: &std::path::Path) -> Arc<Self> {
        let pool = agentkernel_pool::PoolSettings { target: 0..=0, ..Default::default() };
        let settings = ServeSettings { pool, ..ServeSettings::new(folder) };
        let (store, _) = Store::open(&folder.join("daemon.db"), 10).expect("a store");
        let registry = Registry::of(vec![Arc::new(agentkernel_testkit::FakeBackend::new())]);
        Arc::new(crate::serve::daemon(settings, registry, store).expect("a daemon"))
    }
}
