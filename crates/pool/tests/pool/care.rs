//! What becomes of sandboxes while they wait.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use agentkernel_pool::{Cold, Origin, Pool, PoolSettings};
use agentkernel_testkit::{FakeBackend, Fault, FaultyBackend};
use tokio::time::{Instant, sleep};

use crate::stub::{Stub, key, spec, until};

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn an_aged_sandbox_is_stopped_and_replaced() {
    let stub = Stub::new();
    let pool = stub.warm_pool(3, PoolSettings { age_max: SECOND * 40, ..PoolSettings::default() }).await;
    let first: Vec<_> = stub.living().iter().map(|remote| remote.spec.name().clone()).collect();
    sleep(SECOND * 29).await;
    assert_eq!(pool.stats().total.discarded.aged, 0);
    sleep(SECOND * 12).await;
    until(|| pool.stats().warm == 3).await;
    assert_eq!(pool.stats().total.discarded.aged, 3);
    assert!(first.iter().all(|name| stub.remote(name).is_none()));
    assert_eq!((stub.boots.stopped.load(SeqCst), stub.boots.killed.load(SeqCst)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn not_all_age_at_once() {
    let stub = Stub::new();
    let settings = PoolSettings { age_max: SECOND * 400, refills_max: 8, ..PoolSettings::default() };
    let pool = stub.warm_pool(8, settings).await;
    sleep(SECOND * 300).await;
    until(|| pool.stats().total.discarded.aged > 0).await;
    assert!(pool.stats().total.discarded.aged < 8);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_dies_while_it_waits_is_gone_at_once_and_replaced() {
    let stub = Stub::new();
    let pool = stub.warm_pool(2, PoolSettings::default()).await;
    let dead = stub.living()[0].clone();
    dead.die();
    let died = Instant::now();
    until(|| pool.stats().total.discarded.died == 1).await;
    assert!(died.elapsed() <= Duration::from_millis(1), "{:?}", died.elapsed());
    until(|| pool.stats().warm == 2).await;
    assert!(stub.remote(dead.spec.name()).is_none(), "it was stopped");
    assert_eq!(stub.boots.killed.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dead_sandbox_is_not_leased_even_if_nobody_has_noticed_yet() {
    let stub = Stub::new();
    let pool = stub.warm_pool(2, PoolSettings::default()).await;
    let waits = stub.living();
    waits.iter().for_each(|remote| remote.die());
    // On this one thread no watcher has run since.
    assert_eq!(pool.stats().warm, 2);
    let lease = pool.acquire(&spec()).await.expect("booted");
    assert_eq!(lease.origin, Origin::Cold { why: Cold::Empty });
    assert!(waits.iter().all(|remote| remote.spec.name() != lease.sandbox().name()));
    assert_eq!(pool.stats().total.discarded.died, 2);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_does_not_answer_is_gone_within_its_deadline() {
    let stub = Stub::new();
    let settings =
        PoolSettings { check_interval: SECOND * 5, check_deadline: SECOND * 2, ..PoolSettings::default() };
    let pool = stub.warm_pool(1, settings).await;
    stub.living()[0].deaf.store(true, SeqCst);
    sleep(SECOND * 6).await;
    assert_eq!(pool.stats().total.discarded.unhealthy, 0);
    sleep(SECOND * 2).await;
    assert_eq!(pool.stats().total.discarded.unhealthy, 1);
    until(|| pool.stats().warm == 1).await;
}

#[tokio::test]
async fn a_sandbox_whose_pings_fail_is_discarded() {
    let settings = PoolSettings { check_interval: Duration::from_millis(10), ..PoolSettings::default() };
    let faulty = FaultyBackend::new(Arc::new(FakeBackend::new()), Fault::PingFails);
    let pool = Pool::new(Arc::new(faulty), settings).expect("the settings make sense");
    pool.set_target(&key(&pool), 1..=1).expect("set");
    until(|| pool.stats().total.discarded.unhealthy > 0).await;
    pool.shutdown().await.expect("stopped");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_answered_lately_is_not_asked_again() {
    let stub = Stub::new();
    let settings =
        PoolSettings { check_interval: SECOND * 5, checked_within: SECOND * 12, ..PoolSettings::default() };
    let pool = stub.warm_pool(1, settings).await;
    sleep(SECOND * 101).await;
    let remote = stub.living()[0].clone();
    assert_eq!(remote.pings.load(SeqCst), 20);
    let lease = pool.acquire(&spec()).await.expect("warm");
    assert_eq!(lease.sandbox().name(), remote.spec.name());
    assert_eq!(remote.pings.load(SeqCst), 20);
}

/// A pool whose sandboxes are asked when they are leased, and not before.
async fn unchecked(stub: &Stub) -> Pool {
    let settings = PoolSettings {
        check_interval: SECOND * 100,
        check_deadline: SECOND,
        checked_within: SECOND * 2,
        ..PoolSettings::default()
    };
    let pool = stub.warm_pool(2, settings).await;
    sleep(SECOND * 3).await;
    pool
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_did_not_answer_lately_is_asked_before_it_is_leased() {
    let stub = Stub::new();
    let pool = unchecked(&stub).await;
    let lease = pool.acquire(&spec()).await.expect("warm");
    assert!(matches!(lease.origin, Origin::Warm { .. }));
    assert_eq!(stub.remote(lease.sandbox().name()).expect("lives").pings.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn who_finds_one_that_does_not_answer_waits_no_second_time() {
    let stub = Stub::new();
    let pool = unchecked(&stub).await;
    stub.living().iter().for_each(|remote| remote.deaf.store(true, SeqCst));
    let began = Instant::now();
    let lease = pool.acquire(&spec()).await.expect("booted");
    assert_eq!(lease.origin, Origin::Cold { why: Cold::Unfit });
    assert_eq!(began.elapsed().as_secs(), 1, "one deadline, and a boot");
    assert_eq!(pool.stats().total.discarded.unhealthy, 1);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_while_a_sandbox_is_asked_takes_it_along() {
    let stub = Stub::new();
    let pool = unchecked(&stub).await;
    stub.living().iter().for_each(|remote| remote.deaf.store(true, SeqCst));
    let spec = spec();
    assert!(tokio::time::timeout(SECOND / 2, pool.acquire(&spec)).await.is_err());
    assert_eq!(stub.boots.killed.load(SeqCst), 1);
    sleep(SECOND).await;
    assert_eq!((pool.stats().warm, stub.living().len()), (2, 2), "and another one is booted");
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_is_leased_is_nobodys_business() {
    let stub = Stub::new();
    let pool = stub.warm_pool(1, PoolSettings { age_max: SECOND * 60, ..PoolSettings::default() }).await;
    let lease = pool.acquire(&spec()).await.expect("warm");
    sleep(SECOND * 200).await;
    let remote = stub.remote(lease.sandbox().name()).expect("it lives, however old it is");
    assert_eq!(remote.pings.load(SeqCst), 0);
}
