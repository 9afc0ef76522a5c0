//! What a request gets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use agentkernel_core::{ByteSize, ErrorKind};
use agentkernel_pool::{Cold, NotPoolable, Origin, PoolSettings};
use tokio::time::{Instant, sleep, timeout};

use crate::stub::{BOOT, Stub, builder, key, spec, until};

#[tokio::test(start_paused = true)]
async fn an_empty_pool_boots_at_once_and_says_so() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings::default());
    let (spec, began) = (spec(), Instant::now());
    let lease = pool.acquire(&spec).await.expect("booted");
    assert!(began.elapsed() < BOOT * 2);
    assert_eq!(lease.origin, Origin::Cold { why: Cold::New });
    assert_eq!(lease.sandbox().name(), spec.name());
    assert_eq!((lease.phases.acquire, lease.phases.boot), (None, Some(BOOT / 2)));
    lease.stop().await.expect("stopped");
    let total = pool.stats().total;
    assert_eq!((total.hits, total.misses, total.leased), (0, 1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_warm_sandbox_is_leased_without_waiting() {
    let stub = Stub::new();
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    sleep(Duration::from_secs(3)).await;
    let (spec, began) = (spec(), Instant::now());
    let lease = pool.acquire(&spec).await.expect("warm");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let Origin::Warm { age } = lease.origin else { panic!("{:?}", lease.origin) };
    assert!((Duration::from_secs(3)..Duration::from_secs(4)).contains(&age), "{age:?}");
    assert_eq!((lease.phases.acquire, lease.phases.boot), (Some(lease.phases.total), None));
    assert_ne!(lease.sandbox().name(), spec.name(), "it was named before anybody asked");
    let total = pool.stats().total;
    assert_eq!((total.hits, total.misses, total.leased), (1, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn after_each_lease_the_shelf_is_full_again() {
    let stub = Stub::new();
    let pool = stub.warm_pool(2, PoolSettings::default()).await;
    for _ in 0..5 {
        pool.acquire(&spec()).await.expect("warm").stop().await.expect("stopped");
        until(|| pool.stats().warm == 2).await;
    }
    assert_eq!((pool.stats().total.hits, stub.begun()), (5, 7));
}

#[tokio::test(start_paused = true)]
async fn the_one_that_has_waited_longest_is_leased_first() {
    let stub = Stub::new();
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    let first = stub.living()[0].spec.name().clone();
    pool.set_target(&key(&pool), 3..=3).expect("set");
    until(|| pool.stats().warm == 3).await;
    assert_eq!(*pool.acquire(&spec()).await.expect("warm").sandbox().name(), first);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_thousand_at_once_no_two_get_the_same_sandbox() {
    let stub = Stub::new();
    *stub.boots.time.lock().expect("not poisoned") = Some(Duration::ZERO);
    let settings =
        PoolSettings { memory_max: ByteSize::mib(1 << 20), target: 32..=64, ..PoolSettings::default() };
    let pool = Arc::new(stub.warm_pool(32, settings).await);
    let mut tenants = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let pool = pool.clone();
        tenants.spawn(async move {
            let lease = pool.acquire(&spec()).await.expect("leased");
            let name = lease.sandbox().name().clone();
            // Some stop it, some just let go of it.
            if number % 2 == 0 {
                lease.stop().await.expect("stopped");
            }
            name
        });
    }
    let names: BTreeSet<_> = tenants.join_all().await.into_iter().collect();
    assert_eq!(names.len(), 1000);
    let total = pool.stats().total;
    assert_eq!(total.leased, 1000);
    assert!(total.hits >= 32, "{} of them were warm", total.hits);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_pooled_is_booted_and_says_why() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings::default());
    let mounted = builder().mount("/srv/data:/data".parse().expect("a mount")).build().expect("valid");
    let mortal = builder().lifetime(Some(Duration::from_secs(7))).build().expect("valid");
    for (spec, expected) in [(mounted, NotPoolable::Mounts), (mortal, NotPoolable::Lifetime)] {
        let lease = pool.acquire(&spec).await.expect("booted");
        assert_eq!(lease.origin, Origin::Cold { why: Cold::NotPoolable(expected) });
        assert_eq!(stub.remote(spec.name()).expect("lives").spec, spec);
        lease.stop().await.expect("stopped");
    }
    sleep(Duration::from_secs(1)).await;
    assert_eq!((stub.begun(), pool.stats().keys.len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_cold_boot_that_fails_shows_the_backends_own_error() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings::default());
    stub.fail_next(1);
    let error = pool.acquire(&spec()).await.expect_err("failed");
    assert_eq!(error.to_string(), "start the sandbox: the stub was told to fail");
    assert_eq!(pool.stats().total.last_error, Some(error.to_string()));
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_while_it_boots_leaves_nothing() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { target: 0..=0, colds_max: 1, ..PoolSettings::default() });
    for _ in 0..3 {
        let spec = spec();
        assert!(timeout(BOOT / 2, pool.acquire(&spec)).await.is_err(), "it was not given up");
        assert_eq!((stub.boots.under_way.load(SeqCst), stub.living().len()), (0, 0));
    }
    // Its turn is somebody else's, and nothing counts that is not there.
    pool.acquire(&spec()).await.expect("booted").stop().await.expect("stopped");
    timeout(Duration::from_secs(1), pool.shutdown()).await.expect("nothing is waited for").expect("stopped");
}

#[tokio::test(start_paused = true)]
async fn cold_boots_take_turns_and_tell_how_long_they_queued() {
    let stub = Stub::new();
    let pool = Arc::new(stub.pool(PoolSettings { target: 0..=0, colds_max: 2, ..PoolSettings::default() }));
    let began = Instant::now();
    let mut tenants = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let pool = pool.clone();
        tenants.spawn(async move { pool.acquire(&spec()).await.expect("booted") });
    }
    let leases = tenants.join_all().await;
    assert_eq!(stub.boots.most_at_once.load(SeqCst), 2);
    assert!((BOOT * 3..BOOT * 4).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert!(leases.iter().all(|lease| lease.phases.queue.is_some()));
}

#[tokio::test(start_paused = true)]
async fn who_queues_for_too_long_is_told() {
    let stub = Stub::new();
    let settings =
        PoolSettings { colds_max: 1, queue_wait_max: Duration::from_secs(2), ..PoolSettings::default() };
    let pool = Arc::new(stub.pool(settings));
    stub.boots.hang.store(true, SeqCst);
    let first = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire(&spec()).await }
    });
    tokio::task::yield_now().await;
    let began = Instant::now();
    let error = pool.acquire(&spec()).await.expect_err("no turn");
    assert_eq!((error.kind, began.elapsed().as_secs()), (ErrorKind::Timeout, 2));
    assert_eq!(
        error.to_string(),
        "acquire a sandbox: 1 sandboxes are being booted, and no turn came within 2 s"
    );
    first.abort();
}

#[tokio::test(start_paused = true)]
async fn who_has_queued_takes_what_has_become_warm_meanwhile() {
    let stub = Stub::new();
    let pool = Arc::new(stub.pool(PoolSettings { target: 1..=1, colds_max: 1, ..PoolSettings::default() }));
    let acquire = || {
        let pool = pool.clone();
        tokio::spawn(async move { pool.acquire(&spec()).await.expect("leased") })
    };
    let (first, second) = (acquire(), acquire());
    let (first, second) = (first.await.expect("no panic"), second.await.expect("no panic"));
    assert!(matches!(first.origin, Origin::Cold { .. }));
    assert!(matches!(second.origin, Origin::Warm { .. }), "{:?}", second.origin);
    assert!(second.phases.queue.is_some());
}
