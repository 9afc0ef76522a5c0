//! The pool itself: who wants a sandbox gets a warm one, or one that is booted at once.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agentkernel_core::{Backend, Result, SandboxSpec};
use tokio::sync::{Notify, Semaphore};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

use crate::gate::Gate;
use crate::key::{KeyRules, NotPoolable, PoolKey};
use crate::meter::Meter;
use crate::refill;
use crate::settings::{PoolSettings, check_target};
use crate::shelf::{Shelf, bytes_of};
use crate::shelves::{Found, Shelves};
use crate::stats::{Discard, PoolStats};

/// Warm sandboxes of one backend, each for one tenant.
///
/// It is guaranteed that
/// - no sandbox is leased twice, and none that somebody had is ever warm again;
/// - a request never waits for a refill: where nothing is warm, a sandbox is booted for it at once;
/// - no limit of its [`PoolSettings`] is passed, and dropping the pool kills every warm sandbox.
///
/// It is not guaranteed that a sandbox is warm, or that one that was warm works a moment later.
pub struct Pool {
    pub(crate) shared: Arc<Shared>,
    refiller: AbortHandle,
}

/// What the pool and its refiller both know.
pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) settings: Arc<PoolSettings>,
    pub(crate) rules: KeyRules,
    pub(crate) shelves: Shelves,
    /// Turns of those who wait for cold boots.
    pub(crate) colds: Semaphore,
    /// Everything that the pool has booted, is booting or is stopping.
    pub(crate) gate: Arc<Gate>,
    pub(crate) meter: Arc<Meter>,
    /// Wakes the refiller.
    pub(crate) wake: Arc<Notify>,
    /// The host had too little memory left when something was to be booted last.
    pub(crate) is_short: AtomicBool,
}

impl Pool {
    /// A pool without a warm sandbox. Must be called in a tokio runtime, on which the pool then lives.
    pub fn new(backend: Arc<dyn Backend>, settings: PoolSettings) -> Result<Self> {
        settings.check()?;
        let rules = KeyRules { mounts: settings.mounts, ..KeyRules::of(&*backend) };
        let shared = Arc::new(Shared {
            backend,
            rules,
            shelves: Shelves::new(settings.keys_max),
            colds: Semaphore::new(settings.colds_max),
            settings: Arc::new(settings),
            gate: Arc::default(),
            meter: Arc::default(),
            wake: Arc::default(),
            is_short: AtomicBool::new(false),
        });
        let refiller = tokio::spawn(refill::run(Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, refiller })
    }

    /// The key of a spec, or why sandboxes like it are not kept warm.
    pub fn poolable(&self, spec: &SandboxSpec) -> Result<PoolKey, NotPoolable> {
        self.shared.rules.poolable(spec)
    }

    /// Says how many sandboxes of this key are to be warm: at least so many without any demand, at most
    /// so many with it. A key that was set is kept until it is drained.
    pub fn set_target(&self, key: &PoolKey, target: RangeInclusive<usize>) -> Result<()> {
        check_target(&target)?;
        match self.shared.find(key.clone())? {
            Found::Old(shelf) | Found::New(shelf, _) => shelf.set_target(target),
            Found::NoRoom => return Err(no_room(self.shared.settings.keys_max)),
        }
        self.shared.wake.notify_one();
        Ok(())
    }

    /// How many sandboxes of this key could be warm at once, if there were no other key, and as long as nobody has asked
    /// for another size.
    #[must_use]
    pub fn room(&self, key: &PoolKey) -> usize {
        let PoolSettings { memory_max, warm_max, .. } = &self.shared.settings.as_ref();
        let by_memory = memory_max.get() / bytes_of(key.first_size()).max(1);
        usize::try_from(by_memory).unwrap_or(usize::MAX).min(*warm_max)
    }

    /// Stops all warm sandboxes of a key and forgets it, targets included; returns when nothing of it is
    /// left, with the number of sandboxes that were stopped.
    pub async fn drain(&self, key: &PoolKey) -> Result<usize> {
        drained(self.shared.shelves.remove(key).into_iter().collect()).await
    }

    /// The same for every key.
    pub async fn drain_all(&self) -> Result<usize> {
        drained(self.shared.shelves.take_all()).await
    }

    /// Ends the pool: requests are refused from here on, those under way as well, and every warm sandbox
    /// is stopped. Returns when nothing of the pool is left but what was leased.
    pub async fn shutdown(&self) -> Result<usize> {
        self.shared.gate.close();
        let drained = drained(self.shared.shelves.close()).await;
        self.shared.gate.empty().await;
        drained
    }

    /// What it has, and what it has done.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let now = Instant::now();
        let mut keys: Vec<_> = self.shared.shelves.all().iter().map(|shelf| shelf.stats(now)).collect();
        keys.sort_by(|one, other| one.key.cmp(&other.key));
        PoolStats {
            warm: keys.iter().map(|key| key.warm).sum(),
            booting: keys.iter().map(|key| key.booting).sum(),
            warm_max: self.shared.settings.warm_max,
            memory_promised_bytes: keys.iter().map(|key| key.memory_promised_bytes).sum(),
            memory_max_bytes: self.shared.settings.memory_max.get(),
            short_of_memory: self.shared.is_short.load(Ordering::Relaxed),
            total: self.shared.meter.counts(),
            keys,
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.refiller.abort();
        self.shared.gate.close();
        for shelf in self.shared.shelves.close() {
            shelf.kill();
        }
    }
}

impl Shared {
    /// The shelf of a spec for which there is a key.
    pub(crate) fn find_for(&self, spec: &SandboxSpec) -> Result<Found> {
        match self.shelves.of(spec) {
            Some(shelf) => Ok(Found::Old(shelf)),
            None => self.find(self.rules.key(spec)),
        }
    }

    /// The shelf of a key. A shelf that has to go for it is being stopped.
    pub(crate) fn find(&self, key: PoolKey) -> Result<Found> {
        let whole = (&self.gate, &self.meter);
        let found = self.shelves.find(key, |key| Shelf::new(key, &self.settings, &self.wake, whole))?;
        if let Found::New(_, Some(gone)) = &found {
            drop(gone.close(Discard::Evicted));
        }
        Ok(found)
    }
}

/// Waits until nothing of these shelves is left.
async fn drained(shelves: Vec<Arc<Shelf>>) -> Result<usize> {
    // First all are told, then each is waited for.
    let stopping: Vec<JoinHandle<Result<()>>> =
        shelves.iter().flat_map(|shelf| shelf.close(Discard::Drained)).collect();
    let (mut count, mut failure) = (0, None);
    for stopped in stopping {
        match stopped.await {
            Ok(Ok(())) => count += 1,
            Ok(Err(error)) => failure = failure.or(Some(error)),
            Err(_) => {} // the runtime ends, and has dropped it
        }
    }
    for shelf in shelves {
        shelf.gate.empty().await;
    }
    failure.map_or(Ok(count), Err)
}

fn no_room(keys_max: usize) -> agentkernel_core::Error {
    let why = format!("the targets of {keys_max} keys are set already");
    agentkernel_core::Error::new(agentkernel_core::ErrorKind::Usage, "set the target of a key", why)
        .hint("drain a key that is no longer needed, or allow more keys")
}
