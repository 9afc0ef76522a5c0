//! The pool on the fake backend, whose sandboxes are real folders and processes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_core::{
    Backend, ByteSize, Command, Limit, Limits, OutputStream, ProcessEvent, Profile, Sandbox, SandboxName,
};
use agentkernel_pool::{Origin, Pool, PoolSettings};
use agentkernel_testkit::{FakeBackend, Fault, FaultyBackend};

use crate::stub::{builder, key, spec, until};

fn pool(settings: PoolSettings) -> Pool {
    Pool::new(Arc::new(FakeBackend::new()), settings).expect("the settings make sense")
}

/// What a shell script says.
async fn say(sandbox: &dyn Sandbox, script: &str) -> String {
    let mut process = sandbox.exec(&Command::new(["sh", "-c", script])).await.expect("started");
    let mut text = Vec::new();
    loop {
        match process.next().await.expect("it goes on") {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => text.extend(bytes),
            ProcessEvent::Output(OutputStream::Stderr, _) => {}
            ProcessEvent::Exited(_) => return String::from_utf8_lossy(&text).trim().to_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_sandbox_is_never_leased_twice_to_a_thousand_tenants() {
    let settings = PoolSettings {
        memory_max: ByteSize::mib(1 << 20),
        target: 8..=32,
        queue_wait_max: Duration::from_secs(600),
        ..PoolSettings::default()
    };
    let pool = Arc::new(pool(settings));
    let mut tenants = tokio::task::JoinSet::new();
    for number in 0..1000_u32 {
        let pool = pool.clone();
        tenants.spawn(async move {
            let lease = pool.acquire(&spec()).await.expect("leased");
            // Every tenth has a look for what another tenant left, which each one leaves.
            let sandbox = lease.sandbox();
            if number.is_multiple_of(10) {
                assert_eq!(say(sandbox, "ls; echo mine > mine").await, "", "somebody was here");
            } else {
                let mut mine = sandbox.files().write(b"/workspace/mine", 0o600).await.expect("opened");
                mine.write("mine".into()).await.expect("written");
                mine.finish().await.expect("closed");
            }
            let (name, is_warm) = (sandbox.name().clone(), matches!(lease.origin, Origin::Warm { .. }));
            lease.stop().await.expect("stopped");
            (name, is_warm)
        });
    }
    let ended = tenants.join_all().await;
    let names: BTreeSet<&SandboxName> = ended.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), 1000);
    let total = pool.stats().total;
    let warm: u64 = ended.iter().map(|(_, is_warm)| u64::from(*is_warm)).sum();
    assert_eq!((total.leased, total.hits), (1000, warm));
    pool.shutdown().await.expect("stopped");
}

#[tokio::test]
async fn a_backend_that_boots_one_sandbox_for_all_is_noticed() {
    // That the test above can fail: here the backend itself gives every tenant the same sandbox.
    let shared = FaultyBackend::new(Arc::new(FakeBackend::new()), Fault::SharedSandbox);
    let pool = Pool::new(Arc::new(shared), PoolSettings { target: 0..=0, ..PoolSettings::default() });
    let pool = pool.expect("the settings make sense");
    let first = pool.acquire(&spec()).await.expect("leased");
    assert_eq!(say(first.sandbox(), "ls; echo mine > mine").await, "");
    let second = pool.acquire(&spec()).await.expect("leased");
    assert_eq!(say(second.sandbox(), "ls").await, "mine");
}

#[tokio::test]
async fn a_warm_sandbox_has_the_memory_that_was_asked_for_last() {
    assert!(FakeBackend::new().capabilities().resize);
    let pool = pool(PoolSettings::default());
    pool.set_target(&key(&pool), 1..=1).expect("set");
    until(|| pool.stats().warm == 1).await;
    let limits = Limits { memory: Limit::At(ByteSize::mib(77)), ..Limits::of(Profile::Restrictive) };
    let small = builder().limits(limits).build().expect("valid");
    let lease = pool.acquire(&small).await.expect("leased");
    assert!(matches!(lease.origin, Origin::Warm { .. }));
    assert_eq!(say(lease.sandbox(), "ulimit -v").await, (77 << 10).to_string());
    lease.stop().await.expect("stopped");
    pool.shutdown().await.expect("stopped");
}
