//! How it ends: nothing is left, and nothing is leased afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use agentkernel_core::ErrorKind;
use agentkernel_pool::{Cold, Origin, PoolSettings};
use tokio::time::{Instant, sleep, timeout};

use crate::stub::{BOOT, Stub, builder, key, spec, spec_of, until};

#[tokio::test(start_paused = true)]
async fn a_drained_key_leaves_nothing_and_others_stay() {
    let stub = Stub::new();
    let pool = stub.warm_pool(3, PoolSettings::default()).await;
    let other = pool.poolable(&spec_of(1)).expect("poolable");
    pool.set_target(&other, 2..=2).expect("set");
    until(|| pool.stats().warm == 5).await;
    assert_eq!(pool.drain(&key(&pool)).await, Ok(3));
    assert_eq!((stub.living().len(), stub.boots.stopped.load(SeqCst)), (2, 3));
    sleep(Duration::from_secs(60)).await;
    assert_eq!((stub.living().len(), pool.stats().keys.len()), (2, 1), "it is not filled again");
    assert_eq!(pool.stats().total.discarded.drained, 3);
    // It may be asked for again, as if for the first time.
    assert_eq!(pool.acquire(&spec()).await.expect("booted").origin, Origin::Cold { why: Cold::New });
}

#[tokio::test(start_paused = true)]
async fn draining_waits_for_what_is_booting_and_stops_it() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { refills_max: 2, ..PoolSettings::default() });
    pool.set_target(&key(&pool), 4..=4).expect("set");
    sleep(BOOT / 2).await;
    assert_eq!(stub.boots.under_way.load(SeqCst), 2);
    let began = Instant::now();
    pool.drain_all().await.expect("drained");
    assert!(began.elapsed() >= BOOT / 2);
    assert_eq!((stub.living().len(), stub.begun(), stub.boots.stopped.load(SeqCst)), (0, 2, 2));
    assert_eq!(stub.boots.killed.load(SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_stopped_is_told_and_waited_for_no_longer_than_its_deadline() {
    let stub = Stub::new();
    stub.boots.stop_hangs.store(true, SeqCst);
    let settings = PoolSettings { stop_deadline: Duration::from_secs(7), ..PoolSettings::default() };
    let pool = stub.warm_pool(2, settings).await;
    let began = Instant::now();
    let error = pool.drain_all().await.expect_err("it hangs");
    assert_eq!((began.elapsed().as_secs(), error.kind), (7, ErrorKind::Cleanup));
    assert_eq!((pool.stats().total.stop_failures, stub.living().len()), (2, 0), "dropped, which kills");
}

#[tokio::test(start_paused = true)]
async fn after_shutdown_nothing_is_left_but_leases_and_requests_are_refused() {
    let stub = Stub::new();
    let pool = stub.warm_pool(3, PoolSettings::default()).await;
    let lease = pool.acquire(&spec()).await.expect("warm");
    pool.shutdown().await.expect("stopped");
    assert_eq!(stub.living().len(), 1);
    let error = pool.acquire(&spec()).await.expect_err("refused");
    assert_eq!(error.to_string(), "acquire a sandbox: the pool was shut down");
    assert!(pool.set_target(&key(&pool), 1..=1).is_err());
    sleep(Duration::from_secs(60)).await;
    assert_eq!(stub.living().len(), 1);
    lease.stop().await.expect("stopped");
    assert_eq!(stub.living().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn requests_under_way_at_shutdown_get_nothing() {
    let stub = Stub::new();
    let pool = Arc::new(stub.pool(PoolSettings { colds_max: 2, ..PoolSettings::default() }));
    let acquire = |_| {
        let pool = pool.clone();
        // With a mount, so that it is booted for this request alone.
        let mounted = builder().mount("/srv:/data".parse().expect("a mount")).build().expect("valid");
        tokio::spawn(async move { pool.acquire(&mounted).await.map(drop) })
    };
    let tenants: Vec<_> = (0..5).map(acquire).collect();
    sleep(BOOT / 2).await;
    pool.shutdown().await.expect("stopped");
    assert_eq!((stub.living().len(), stub.boots.under_way.load(SeqCst)), (0, 0), "they are waited for");
    assert_eq!((stub.begun(), stub.boots.stopped.load(SeqCst)), (2, 2), "nobody's turn comes any more");
    for tenant in tenants {
        let error = tenant.await.expect("no panic").expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Unavailable);
    }
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_answers_after_shutdown_has_begun_is_not_leased() {
    let stub = Stub::new();
    let second = Duration::from_secs(1);
    let settings = PoolSettings {
        checked_within: Duration::ZERO,
        check_interval: second * 100,
        ..PoolSettings::default()
    };
    let pool = Arc::new(stub.warm_pool(1, settings).await);
    sleep(second).await;
    let remote = stub.living()[0].clone();
    *remote.ping_time.lock().expect("not poisoned") = second;
    let tenant = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(&spec()).await.map(drop) }
    });
    sleep(second / 2).await;
    assert_eq!(remote.pings.load(SeqCst), 1);
    pool.shutdown().await.expect("stopped");
    assert_eq!((stub.living().len(), stub.boots.stopped.load(SeqCst)), (0, stub.begun()));
    assert_eq!(tenant.await.expect("no panic").expect_err("refused").kind, ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_pool_kills_what_is_warm_at_once() {
    let stub = Stub::new();
    let pool = stub.warm_pool(4, PoolSettings::default()).await;
    let lease = pool.acquire(&spec()).await.expect("warm");
    drop(pool);
    assert_eq!((stub.living().len(), stub.boots.killed.load(SeqCst)), (1, 3), "only the lease lives");
    sleep(Duration::from_secs(60)).await;
    assert_eq!((stub.living().len(), stub.boots.under_way.load(SeqCst)), (1, 0));
    drop(lease);
    assert_eq!(stub.living().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_pool_drops_what_is_booting() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings::default());
    pool.set_target(&key(&pool), 4..=4).expect("set");
    sleep(BOOT / 2).await;
    drop(pool);
    tokio::task::yield_now().await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((stub.boots.under_way.load(SeqCst), stub.living().len()), (0, 0));
}

#[test]
fn the_end_of_the_runtime_kills_what_is_warm() {
    let stub = Stub::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    let pool = runtime.block_on(stub.warm_pool(3, PoolSettings::default()));
    drop(runtime);
    assert_eq!(stub.living().len(), 0);
    drop(pool);
}

#[tokio::test(start_paused = true)]
async fn a_lease_outlives_its_pool_and_leaves_no_task() {
    let stub = Stub::new();
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    let sandbox = pool.acquire(&spec()).await.expect("warm").into_sandbox();
    timeout(Duration::from_secs(9), pool.shutdown()).await.expect("in time").expect("stopped");
    drop(pool);
    sandbox.ping().await.expect("it lives");
    sandbox.stop().await.expect("stopped");
    sleep(Duration::from_millis(100)).await;
    assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
}
