//! What a pool never has more of.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use agentkernel_core::{ByteSize, ErrorKind};
use agentkernel_pool::{Cold, Origin, Pool, PoolSettings};
use tokio::time::sleep;

use crate::stub::{Stub, builder, key, spec, spec_of, until};

/// Every sandbox of these tests is promised so much.
const EACH_MIB: u64 = 512;

async fn set(pool: &Pool, number: u32, count: usize) {
    let key = pool.poolable(&spec_of(number)).expect("poolable");
    pool.set_target(&key, count..=count).expect("set");
}

#[tokio::test(start_paused = true)]
async fn no_more_are_warm_than_all_keys_together_may_have() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { warm_max: 5, ..PoolSettings::default() });
    for number in 0..3 {
        set(&pool, number, 3).await;
    }
    sleep(Duration::from_secs(60)).await;
    let warm: Vec<usize> = pool.stats().keys.iter().map(|key| key.warm).collect();
    assert_eq!((warm.iter().sum::<usize>(), stub.living().len(), stub.begun()), (5, 5, 5));
    assert!(warm.iter().all(|count| *count > 0), "{warm:?}: the emptiest is filled first");
}

#[tokio::test(start_paused = true)]
async fn no_more_memory_is_promised_than_there_may_be() {
    let stub = Stub::new();
    let memory_max = ByteSize::mib(EACH_MIB * 3 + EACH_MIB / 2);
    let pool = stub.pool(PoolSettings { memory_max, ..PoolSettings::default() });
    set(&pool, 0, 8).await;
    sleep(Duration::from_secs(60)).await;
    let stats = pool.stats();
    assert_eq!((stats.warm, stub.begun(), stats.memory_promised_bytes), (3, 3, (EACH_MIB * 3) << 20));
    // What is leased is no longer promised by the pool.
    let lease = pool.acquire(&spec_of(0)).await.expect("warm");
    until(|| pool.stats().warm == 3).await;
    assert_eq!(stub.living().len(), 4);
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_short_of_memory_boots_nothing_that_nobody_has_asked_for() {
    static LEFT_MIB: AtomicU64 = AtomicU64::new(99);
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings {
        memory_left: || Some(ByteSize::mib(LEFT_MIB.load(SeqCst))),
        memory_reserve: ByteSize::mib(100),
        ..PoolSettings::default()
    });
    set(&pool, 0, 2).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!((stub.begun(), pool.stats().short_of_memory), (0, true));
    // Somebody who asks gets what he asks for all the same.
    let lease = pool.acquire(&spec_of(0)).await.expect("booted");
    assert!(matches!(lease.origin, Origin::Cold { why: Cold::Empty }), "{:?}", lease.origin);
    sleep(Duration::from_secs(60)).await;
    assert_eq!(stub.begun(), 1);
    LEFT_MIB.store(100, SeqCst);
    until(|| pool.stats().warm == 2).await;
    assert!(!pool.stats().short_of_memory);
}

#[tokio::test(start_paused = true)]
async fn the_key_that_was_asked_for_longest_ago_makes_room_for_a_new_one() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { keys_max: 2, ..PoolSettings::default() });
    for number in [0, 1, 0] {
        drop(pool.acquire(&spec_of(number)).await.expect("leased"));
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(pool.stats().warm, 2);
    drop(pool.acquire(&spec_of(2)).await.expect("leased"));
    until(|| pool.stats().warm == 2).await;
    assert_eq!((pool.stats().total.discarded.evicted, pool.stats().keys.len()), (1, 2));
    assert_eq!((stub.boots.stopped.load(SeqCst), stub.living().len()), (1, 2));
    let mut stayed = pool.acquire(&spec_of(0)).await.expect("leased");
    assert!(matches!(stayed.origin, Origin::Warm { .. }), "{stayed:?}");
    stayed = pool.acquire(&spec_of(1)).await.expect("leased");
    assert_eq!(stayed.origin, Origin::Cold { why: Cold::New });
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_set_is_not_taken_away() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { keys_max: 1, ..PoolSettings::default() });
    set(&pool, 0, 1).await;
    until(|| pool.stats().warm == 1).await;
    let lease = pool.acquire(&spec_of(1)).await.expect("booted");
    assert_eq!(lease.origin, Origin::Cold { why: Cold::NoShelf });
    let other = pool.poolable(&spec_of(1)).expect("poolable");
    let error = pool.set_target(&other, 1..=1).expect_err("no room");
    assert_eq!(error.to_string(), "set the target of a key: the targets of 1 keys are set already");
    assert_eq!((pool.stats().warm, pool.stats().total.discarded.evicted), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_target_can_be_changed_and_nonsense_is_refused() {
    let stub = Stub::new();
    let pool = stub.warm_pool(4, PoolSettings::default()).await;
    pool.set_target(&key(&pool), 1..=2).expect("set");
    until(|| stub.living().len() == 1).await;
    assert_eq!((pool.stats().warm, pool.stats().total.discarded.surplus), (1, 3));
    #[expect(clippy::reversed_empty_ranges, reason = "this is the nonsense")]
    let error = pool.set_target(&key(&pool), 2..=1).expect_err("refused");
    assert_eq!(error.kind, ErrorKind::Usage);
}

#[tokio::test(start_paused = true)]
async fn specs_with_mounts_are_pooled_where_the_settings_say_so() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { mounts: true, ..PoolSettings::default() });
    let mounted = || builder().mount("/srv/data:/data".parse().expect("a mount")).build().expect("valid");
    drop(pool.acquire(&mounted()).await.expect("booted"));
    until(|| pool.stats().warm == 1).await;
    let lease = pool.acquire(&mounted()).await.expect("warm");
    assert!(matches!(lease.origin, Origin::Warm { .. }));
    assert_eq!(stub.remote(lease.sandbox().name()).expect("lives").spec.mounts(), mounted().mounts());
    assert!(matches!(pool.acquire(&spec()).await.expect("booted").origin, Origin::Cold { .. }));
}

#[tokio::test(start_paused = true)]
async fn statistics_are_written_as_json_with_their_units() {
    let stub = Stub::new();
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    drop(pool.acquire(&spec()).await.expect("warm"));
    let stats = serde_json::to_value(pool.stats()).expect("JSON");
    assert_eq!(stats["memory_max_bytes"], 8_u64 << 30);
    let key = &stats["keys"][0];
    assert_eq!(
        (&key["hits"], &key["circuit"], &key["boot_p50_ns"]),
        (&1.into(), &"closed".into(), &20_000_000.into())
    );
    assert!(key["acquire_p99_ns"].is_u64(), "{key}");
    assert_eq!(key["discarded"]["died"], 0);
}
