//! Sandboxes whose size is changed when they are leased.

use std::sync::atomic::Ordering::SeqCst;

use agentkernel_core::{ByteSize, CpuCount, Limit, Limits, Profile, Resize, SandboxSpec};
use agentkernel_pool::{Cold, Origin, PoolSettings};

use crate::stub::{Stub, builder, spec, until};

fn sized(mib: u64) -> SandboxSpec {
    let cpus = Limit::At(CpuCount::whole(3));
    let limits = Limits { memory: Limit::At(ByteSize::mib(mib)), cpus, ..Limits::of(Profile::Restrictive) };
    builder().limits(limits).build().expect("valid")
}

#[tokio::test(start_paused = true)]
async fn a_warm_sandbox_of_another_size_is_resized_before_it_is_leased() {
    let stub = Stub::resizable();
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    let spec = sized(77);
    let lease = pool.acquire(&spec).await.expect("warm");
    assert!(matches!(lease.origin, Origin::Warm { .. }));
    let remote = stub.remote(lease.sandbox().name()).expect("lives");
    assert_eq!(*remote.resized.lock().expect("not poisoned"), [Resize::from(spec.limits())]);
}

#[tokio::test(start_paused = true)]
async fn the_next_ones_are_booted_in_the_size_that_was_asked_for_last() {
    let stub = Stub::resizable();
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    drop(pool.acquire(&sized(77)).await.expect("warm"));
    until(|| pool.stats().warm == 1).await;
    assert_eq!(pool.stats().memory_promised_bytes, 77 << 20);
    let lease = pool.acquire(&sized(77)).await.expect("warm");
    let remote = stub.remote(lease.sandbox().name()).expect("lives");
    assert_eq!(Resize::from(remote.spec.limits()), Resize::from(sized(77).limits()));
    assert_eq!(*remote.resized.lock().expect("not poisoned"), []);
}

#[tokio::test(start_paused = true)]
async fn a_size_that_the_pool_may_not_promise_does_not_empty_it() {
    let stub = Stub::resizable();
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    let lease = pool.acquire(&sized(9000)).await.expect("warm");
    assert!(matches!(lease.origin, Origin::Warm { .. }));
    until(|| pool.stats().warm == 1).await;
    assert_eq!(pool.stats().memory_promised_bytes, 512 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_cannot_be_resized_is_not_leased() {
    let stub = Stub::resizable();
    stub.boots.resize_fails.store(true, SeqCst);
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    let spec = sized(77);
    let lease = pool.acquire(&spec).await.expect("booted");
    assert_eq!(lease.origin, Origin::Cold { why: Cold::Unfit });
    assert_eq!(stub.remote(lease.sandbox().name()).expect("lives").spec, spec);
    assert_eq!(pool.stats().total.discarded.unhealthy, 1);
}

#[tokio::test(start_paused = true)]
async fn where_nothing_can_be_resized_each_size_has_its_own_shelf() {
    let stub = Stub::new();
    let pool = stub.warm_pool(1, PoolSettings::default()).await;
    let lease = pool.acquire(&sized(77)).await.expect("booted");
    assert_eq!(lease.origin, Origin::Cold { why: Cold::New });
    assert!(matches!(pool.acquire(&spec()).await.expect("warm").origin, Origin::Warm { .. }));
}
