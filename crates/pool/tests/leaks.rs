//! That nothing is left on the host. Alone in its process, whose open files it counts.

#![cfg(not(loom))]

use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{Command, Profile, Sandbox, SandboxName, SandboxSpec, SandboxSpecBuilder};
use agentkernel_pool::{Pool, PoolSettings};
use agentkernel_testkit::leaks::{Marks, Snapshot, describe};
use agentkernel_testkit::{FakeBackend, random_u64};
use tokio::time::{sleep, timeout};

fn builder() -> SandboxSpecBuilder {
    SandboxSpec::builder(SandboxName::from_random(random_u64()), Profile::Restrictive)
}

fn spec() -> SandboxSpec {
    builder().build().expect("valid")
}

/// A pool with so many warm sandboxes.
async fn warm_pool(count: usize) -> Pool {
    let pool = Pool::new(Arc::new(FakeBackend::new()), PoolSettings::default()).expect("a pool");
    let key = pool.poolable(&spec()).expect("poolable");
    pool.set_target(&key, count..=count).expect("set");
    while pool.stats().warm < count {
        sleep(Duration::from_millis(1)).await;
    }
    pool
}

/// Starts something in the sandbox that does not end by itself.
async fn occupy(sandbox: &dyn Sandbox) {
    let command = Command::new(["sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo x >file; sleep 1000"]);
    // Its process is killed when it is dropped; what that left behind is not.
    drop(sandbox.exec(&command).await.expect("started"));
}

async fn lease_in_every_way(pool: &Pool) {
    let stopped = pool.acquire(&spec()).await.expect("leased");
    let dropped = pool.acquire(&spec()).await.expect("leased");
    let kept = pool.acquire(&spec()).await.expect("leased").into_sandbox();
    for sandbox in [stopped.sandbox(), dropped.sandbox(), &*kept] {
        occupy(sandbox).await;
    }
    stopped.stop().await.expect("stopped");
    drop(dropped);
    kept.stop().await.expect("stopped");
}

async fn give_up_while_booting(pool: &Pool) {
    for time_us in [0, 100, 300, 1000, 2000, 4000] {
        // A lifetime, so that it is booted for this request alone.
        let cold = builder().lifetime(Some(Duration::from_secs(1000))).build().expect("valid");
        drop(timeout(Duration::from_micros(time_us), pool.acquire(&cold)).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_the_end_nothing_is_left_on_the_host() {
    // The fake's folders are named after their sandboxes, and these begin so.
    let before = Snapshot::take(&Marks::of_this_process().word("ak-fake-ak-"));
    let pool = warm_pool(3).await;
    lease_in_every_way(&pool).await;
    give_up_while_booting(&pool).await;
    pool.shutdown().await.expect("stopped");
    drop(warm_pool(2).await);
    let leaks = before.settled(Duration::from_secs(5)).await;
    assert!(leaks.is_empty(), "left on the host:{}", describe(&leaks));
}
