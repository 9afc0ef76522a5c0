//! Whatever is done to a pool, and whatever happens to its sandboxes, its promises hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use agentkernel_core::{ByteSize, SandboxName};
use agentkernel_pool::{Lease, Pool, PoolSettings};
use proptest::prelude::*;
use tokio::time::{sleep, timeout};

use crate::stub::{BOOT, Remote, Stub, spec_of, until};

const KEYS: u32 = 4;

/// Something that is done, or that happens. Indexes choose among what there is.
#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire(u32),
    /// A request that is given up after so many milliseconds.
    GiveUp(u32, u64),
    Stop(usize),
    Drop(usize),
    Die(usize),
    Deafen(usize),
    Fail(usize),
    Target(u32, usize, usize),
    Drain(u32),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..KEYS).prop_map(Step::Acquire),
        2 => (0..KEYS, 0..30_u64).prop_map(|(key, time_ms)| Step::GiveUp(key, time_ms)),
        3 => any::<usize>().prop_map(Step::Stop),
        3 => any::<usize>().prop_map(Step::Drop),
        3 => any::<usize>().prop_map(Step::Die),
        2 => any::<usize>().prop_map(Step::Deafen),
        1 => (0..4_usize).prop_map(Step::Fail),
        2 => (0..KEYS, 0..3_usize, 0..4_usize).prop_map(|(key, low, more)| Step::Target(key, low, low + more)),
        1 => (0..KEYS).prop_map(Step::Drain),
        4 => (0..30_u64).prop_map(Step::Wait),
        2 => (0..10_000_u64).prop_map(Step::Wait),
    ]
}

/// Small, so that every limit is met.
fn settings() -> PoolSettings {
    PoolSettings {
        target: 0..=3,
        warm_max: 5,
        memory_max: ByteSize::mib(512 * 4),
        keys_max: 3,
        refills_max: 2,
        colds_max: 2,
        age_max: Duration::from_secs(8),
        check_interval: Duration::from_secs(1),
        check_deadline: Duration::from_millis(200),
        checked_within: Duration::from_millis(500),
        demand_window: Duration::from_secs(5),
        ..PoolSettings::default()
    }
}

struct World {
    stub: Stub,
    pool: Pool,
    leases: Vec<Lease>,
    leased: BTreeSet<SandboxName>,
    dead: BTreeSet<SandboxName>,
}

impl World {
    fn new() -> Self {
        let stub = Stub::new();
        let pool = stub.pool(settings());
        Self { stub, pool, leases: Vec::new(), leased: BTreeSet::new(), dead: BTreeSet::new() }
    }

    async fn apply(&mut self, step: Step) {
        match step {
            Step::Acquire(key) => self.acquire(key).await,
            Step::GiveUp(key, time_ms) => {
                drop(timeout(Duration::from_millis(time_ms), self.pool.acquire(&spec_of(key))).await);
            }
            Step::Stop(choice) => {
                if let Some(lease) = chosen(&mut self.leases, choice) {
                    lease.stop().await.expect("stopped");
                }
            }
            Step::Drop(choice) => drop(chosen(&mut self.leases, choice)),
            Step::Die(choice) => {
                if let Some(remote) = self.remote(choice) {
                    self.dead.insert(remote.spec.name().clone());
                    remote.die();
                }
            }
            Step::Deafen(choice) => {
                self.remote(choice).iter().for_each(|remote| remote.deaf.store(true, SeqCst));
            }
            Step::Fail(count) => self.stub.fail_next(count),
            // Refused where there is no room for one more key.
            Step::Target(key, low, high) => drop(self.pool.set_target(&self.key(key), low..=high)),
            Step::Drain(key) => drop(self.pool.drain(&self.key(key)).await.expect("drained")),
            Step::Wait(time_ms) => sleep(Duration::from_millis(time_ms)).await,
        }
    }

    /// A request, which fails only where the test wants it.
    async fn acquire(&mut self, key: u32) {
        let spec = spec_of(key);
        let Ok(lease) = self.pool.acquire(&spec).await else { return };
        let name = lease.sandbox().name().clone();
        assert!(!self.dead.contains(&name), "{name} was dead, and was leased");
        assert!(self.leased.insert(name.clone()), "{name} was leased twice");
        let remote = self.stub.remote(&name).expect("it lives");
        assert_eq!(remote.spec.limits(), spec.limits(), "it is of another key");
        self.leases.push(lease);
    }

    fn key(&self, number: u32) -> agentkernel_pool::PoolKey {
        self.pool.poolable(&spec_of(number)).expect("poolable")
    }

    fn remote(&self, choice: usize) -> Option<Arc<Remote>> {
        let living = self.stub.living();
        living.get(choice.checked_rem(living.len())?).cloned()
    }

    /// What holds at every moment.
    fn check(&self) {
        let stats = self.pool.stats();
        assert!(stats.warm + stats.booting <= stats.warm_max, "{stats:?}");
        assert!(stats.memory_promised_bytes <= stats.memory_max_bytes, "{stats:?}");
        assert!(stats.keys.len() <= settings().keys_max, "{stats:?}");
        assert!(stats.keys.iter().all(|key| (key.target_low..=key.target_high).contains(&key.target)));
        assert_eq!(stats.total.leased, stats.total.hits + stats.total.misses);
        assert!(self.stub.boots.under_way.load(SeqCst) <= settings().refills_max + settings().colds_max);
    }

    /// Once everything that was begun is done: what lives is warm or leased, and nothing else.
    async fn settled(&self) {
        sleep(BOOT * 20).await;
        until(|| self.stub.living().len() == self.pool.stats().warm + self.leases.len()).await;
    }

    async fn end(mut self) {
        self.pool.shutdown().await.expect("stopped");
        assert_eq!(self.stub.living().len(), self.leases.len());
        assert!(self.pool.acquire(&spec_of(0)).await.is_err());
        self.leases.clear();
        assert_eq!((self.stub.living().len(), self.stub.boots.under_way.load(SeqCst)), (0, 0));
    }
}

fn chosen<T>(all: &mut Vec<T>, choice: usize) -> Option<T> {
    let at = choice.checked_rem(all.len())?;
    Some(all.swap_remove(at))
}

async fn play(steps: Vec<Step>) {
    let mut world = World::new();
    for step in steps {
        world.apply(step).await;
        world.check();
    }
    world.settled().await;
    world.end().await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_sandbox_is_leased_twice_or_dead_or_lost_whatever_happens(
        steps in prop::collection::vec(step(), 0..120)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(play(steps));
    }
}
