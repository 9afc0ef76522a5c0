//! What happens behind the requests.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use agentkernel_pool::{CircuitState, Cold, KeyStats, Origin, Pool, PoolSettings};
use tokio::time::{Instant, sleep};

use crate::stub::{BOOT, Stub, key, spec, until};

const MINUTE: Duration = Duration::from_secs(60);

fn only_key(pool: &Pool) -> KeyStats {
    pool.stats().keys.first().expect("there is one").clone()
}

/// So many requests at once, each of which lets go of what it gets.
async fn burst(pool: &Arc<Pool>, count: usize) {
    let mut tenants = tokio::task::JoinSet::new();
    for _ in 0..count {
        let pool = pool.clone();
        tenants.spawn(async move { drop(pool.acquire(&spec()).await.expect("leased")) });
    }
    tenants.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn one_request_keeps_one_warm_and_a_burst_keeps_as_many() {
    let stub = Stub::new();
    let pool = Arc::new(stub.pool(PoolSettings { target: 0..=6, ..PoolSettings::default() }));
    burst(&pool, 1).await;
    until(|| pool.stats().warm == 1).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((only_key(&pool).target, pool.stats().warm), (1, 1));
    burst(&pool, 4).await;
    until(|| pool.stats().warm == 4).await;
    burst(&pool, 50).await;
    until(|| pool.stats().warm == 6).await;
    sleep(Duration::from_secs(1)).await;
    assert_eq!((only_key(&pool).target, pool.stats().warm), (6, 6));
}

#[tokio::test(start_paused = true)]
async fn when_nobody_asks_any_more_the_target_falls_and_the_surplus_is_stopped() {
    let stub = Stub::new();
    let pool = Arc::new(stub.pool(PoolSettings { demand_window: MINUTE, ..PoolSettings::default() }));
    pool.set_target(&key(&pool), 1..=6).expect("set");
    burst(&pool, 5).await;
    until(|| pool.stats().warm == 5).await;
    sleep(MINUTE - Duration::from_secs(1)).await;
    assert_eq!(only_key(&pool).target, 5, "it is remembered for a window");
    sleep(MINUTE + Duration::from_secs(2)).await;
    let stats = only_key(&pool);
    assert_eq!((stats.target, stats.warm, stats.counts.discarded.surplus), (1, 1, 4));
    assert_eq!(stub.living().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn refills_are_bounded() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { refills_max: 3, ..PoolSettings::default() });
    let began = Instant::now();
    pool.set_target(&key(&pool), 9..=9).expect("set");
    until(|| pool.stats().warm == 9).await;
    assert_eq!(stub.boots.most_at_once.load(SeqCst), 3);
    assert!(began.elapsed() >= BOOT * 3);
}

#[tokio::test(start_paused = true)]
async fn a_refill_waits_for_those_who_have_just_leased_while_half_is_left() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { refill_pause: MINUTE, ..PoolSettings::default() });
    pool.set_target(&key(&pool), 4..=4).expect("set");
    until(|| pool.stats().warm == 4).await;
    let begun = || stub.boots.begun.load(SeqCst);
    let _first = pool.acquire(&spec()).await.expect("leased");
    sleep(MINUTE - Duration::from_secs(1)).await;
    let _second = pool.acquire(&spec()).await.expect("leased");
    sleep(MINUTE - Duration::from_secs(1)).await;
    assert_eq!(begun(), 4, "two of four are left, and the last lease was less than a pause ago");
    sleep(Duration::from_secs(2)).await;
    assert_eq!(pool.stats().warm, 4, "after the pause");
    let _tenants = [pool.acquire(&spec()).await, pool.acquire(&spec()).await, pool.acquire(&spec()).await];
    sleep(BOOT * 2 - Duration::from_millis(1)).await;
    assert_eq!(begun(), 6, "one of four is left: who takes them all may have the time of two boots");
    until(|| pool.stats().warm == 4).await;
}

#[tokio::test(start_paused = true)]
async fn refills_make_room_for_those_who_wait_but_one_goes_on() {
    let stub = Stub::new();
    let pool = Arc::new(stub.pool(PoolSettings { refills_max: 4, colds_max: 8, ..PoolSettings::default() }));
    let cold = |pool: Arc<Pool>| {
        tokio::spawn(async move {
            let mounted = crate::stub::builder().mount("/srv:/data".parse().expect("a mount"));
            drop(pool.acquire(&mounted.build().expect("valid")).await.expect("booted"));
        })
    };
    let colds: Vec<_> = (0..8).map(|_| cold(pool.clone())).collect();
    tokio::task::yield_now().await;
    pool.set_target(&key(&pool), 8..=8).expect("set");
    sleep(BOOT / 2).await;
    assert_eq!((stub.boots.under_way.load(SeqCst), pool.stats().booting), (9, 1));
    for cold in colds {
        cold.await.expect("no panic");
    }
    sleep(BOOT * 3 / 4).await;
    assert_eq!(pool.stats().booting, 4);
}

#[tokio::test(start_paused = true)]
async fn what_waits_has_rehearsed_and_what_somebody_waited_for_has_not() {
    let stub = Stub::new();
    let rehearsals = |lease: &agentkernel_pool::Lease| {
        let remote = stub.remote(lease.sandbox().name()).expect("it lives");
        (lease.origin, remote.rehearsals.load(SeqCst))
    };
    let pool = stub.pool(PoolSettings::default());
    let cold = pool.acquire(&spec()).await.expect("leased");
    assert!(matches!(rehearsals(&cold), (Origin::Cold { .. }, 0)));
    pool.set_target(&key(&pool), 1..=1).expect("set");
    until(|| pool.stats().warm == 1).await;
    let warm = pool.acquire(&spec()).await.expect("leased");
    assert!(matches!(rehearsals(&warm), (Origin::Warm { .. }, 1)));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_rehearse_is_never_leased() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings::default());
    stub.boots.rehearsal_fails.store(true, SeqCst);
    pool.set_target(&key(&pool), 1..=1).expect("set");
    until(|| only_key(&pool).counts.boot_failures == 1).await;
    until(|| stub.living().is_empty()).await;
    assert_eq!(pool.stats().warm, 0);
    stub.boots.rehearsal_fails.store(false, SeqCst);
    until(|| pool.stats().warm == 1).await;
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_ever_more_seldom() {
    let stub = Stub::new();
    let settings = PoolSettings {
        backoff_min: Duration::from_secs(1),
        backoff_max: Duration::from_secs(64),
        ..PoolSettings::default()
    };
    let pool = stub.pool(settings);
    stub.fail_next(usize::MAX);
    pool.set_target(&key(&pool), 1..=1).expect("set");
    sleep(Duration::from_secs(127)).await;
    // After 1, 2, 4, 8, 16, 32 and 64 s, or after three quarters of that.
    assert!((7..=8).contains(&stub.begun()), "{} boots", stub.begun());
    sleep(Duration::from_secs(640)).await;
    assert!((17..=22).contains(&stub.begun()), "{} boots", stub.begun());
}

#[tokio::test(start_paused = true)]
async fn a_streak_of_failures_opens_the_circuit_and_a_success_closes_it() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { circuit_failures: 3, ..PoolSettings::default() });
    stub.fail_next(3);
    pool.set_target(&key(&pool), 2..=2).expect("set");
    until(|| only_key(&pool).circuit == CircuitState::Open).await;
    let stats = only_key(&pool);
    assert_eq!((stats.failures_in_a_row, stats.counts.boot_failures), (3, 3));
    assert!(stats.retry_in_ms.is_some());
    assert_eq!(stats.counts.last_error.as_deref(), Some("start the sandbox: the stub was told to fail"));
    stub.fail_next(1);
    let error = pool.acquire(&spec()).await.expect_err("the backend fails");
    assert_eq!(error.why, "the stub was told to fail");
    until(|| pool.stats().warm == 2).await;
    let stats = only_key(&pool);
    assert_eq!((stats.circuit, stats.failures_in_a_row), (CircuitState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn while_the_circuit_is_open_requests_are_cold_and_a_cold_success_closes_it() {
    let stub = Stub::new();
    let hours = Duration::from_secs(7200);
    let settings = PoolSettings {
        backoff_min: hours,
        backoff_max: hours,
        circuit_failures: 1,
        ..PoolSettings::default()
    };
    let pool = stub.pool(settings);
    stub.fail_next(1);
    pool.set_target(&key(&pool), 1..=1).expect("set");
    until(|| only_key(&pool).circuit == CircuitState::Open).await;
    let lease = pool.acquire(&spec()).await.expect("booted");
    assert_eq!(lease.origin, Origin::Cold { why: Cold::CircuitOpen });
    until(|| pool.stats().warm == 1).await;
}

#[tokio::test(start_paused = true)]
async fn after_a_failure_one_alone_shows_that_it_works_again() {
    let stub = Stub::new();
    let settings =
        PoolSettings { refills_max: 4, backoff_min: Duration::from_secs(1), ..PoolSettings::default() };
    let pool = stub.pool(settings);
    stub.fail_next(4);
    pool.set_target(&key(&pool), 4..=4).expect("set");
    until(|| stub.begun() == 4 && pool.stats().booting == 0).await;
    until(|| pool.stats().booting > 0).await;
    assert_eq!(pool.stats().booting, 1);
    until(|| pool.stats().warm == 4).await;
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_hangs_is_given_up_and_tried_again() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { boot_deadline: Duration::from_secs(9), ..PoolSettings::default() });
    stub.boots.hang.store(true, SeqCst);
    pool.set_target(&key(&pool), 1..=1).expect("set");
    sleep(Duration::from_secs(8)).await;
    stub.boots.hang.store(false, SeqCst);
    assert_eq!(pool.stats().total.boot_failures, 0);
    until(|| pool.stats().warm == 1).await;
    assert_eq!(
        pool.stats().total.last_error.as_deref(),
        Some("start the sandbox: it was not ready within 9 s")
    );
}

#[tokio::test(start_paused = true)]
async fn a_boot_that_panics_counts_as_a_failure() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { backoff_min: MINUTE, ..PoolSettings::default() });
    stub.boots.panic.store(true, SeqCst);
    pool.set_target(&key(&pool), 1..=1).expect("set");
    sleep(Duration::from_secs(30)).await;
    assert_eq!((stub.begun(), pool.stats().booting, pool.stats().total.boot_failures), (1, 0, 1));
    stub.boots.panic.store(false, SeqCst);
    until(|| pool.stats().warm == 1).await;
}

#[tokio::test(start_paused = true)]
async fn sandboxes_that_do_not_last_are_replaced_ever_more_seldom() {
    let stub = Stub::new();
    let settings =
        PoolSettings { backoff_min: Duration::from_secs(1), refills_max: 1, ..PoolSettings::default() };
    let pool = stub.pool(settings);
    stub.boots.die.store(true, SeqCst);
    pool.set_target(&key(&pool), 1..=1).expect("set");
    sleep(Duration::from_secs(60)).await;
    assert!((6..=8).contains(&stub.begun()), "{} boots", stub.begun());
    let stats = only_key(&pool);
    assert_eq!((stats.circuit, stats.counts.boot_failures), (CircuitState::Open, 0));
    assert_eq!(stats.counts.discarded.died, u64::from(stats.failures_in_a_row));
    let error = stats.counts.last_error.expect("told");
    assert!(
        error.starts_with("keep a sandbox warm: ak-") && error.ends_with("the test killed it"),
        "{error}"
    );
    // One that lasts until it is asked closes the circuit, and none before.
    stub.boots.die.store(false, SeqCst);
    until(|| pool.stats().warm == 1).await;
    assert_eq!(only_key(&pool).circuit, CircuitState::Open);
    sleep(Duration::from_secs(6)).await;
    assert_eq!(only_key(&pool).circuit, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn sandboxes_that_never_answer_are_replaced_ever_more_seldom() {
    let stub = Stub::new();
    let pool =
        stub.pool(PoolSettings { backoff_min: MINUTE, backoff_max: MINUTE * 60, ..PoolSettings::default() });
    stub.boots.deaf.store(true, SeqCst);
    pool.set_target(&key(&pool), 1..=1).expect("set");
    sleep(MINUTE * 20).await;
    // After 1, 2, 4, 8 and 16 minutes, and 8 s each until it is noticed.
    assert!((5..=6).contains(&stub.begun()), "{} boots", stub.begun());
}

#[tokio::test(start_paused = true)]
async fn a_lease_shows_that_sandboxes_last_again() {
    let stub = Stub::new();
    let pool = stub.pool(PoolSettings { circuit_failures: 1, ..PoolSettings::default() });
    stub.boots.die.store(true, SeqCst);
    pool.set_target(&key(&pool), 1..=1).expect("set");
    until(|| only_key(&pool).circuit == CircuitState::Open).await;
    stub.boots.die.store(false, SeqCst);
    until(|| pool.stats().warm == 1).await;
    assert_eq!(only_key(&pool).circuit, CircuitState::Open);
    let lease = pool.acquire(&spec()).await.expect("leased");
    assert!(matches!(lease.origin, Origin::Warm { .. }));
    assert_eq!(only_key(&pool).circuit, CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_had_answered_before_it_died_is_no_reason_to_wait() {
    let stub = Stub::new();
    let pool = stub.warm_pool(1, PoolSettings { backoff_min: MINUTE, ..PoolSettings::default() }).await;
    sleep(Duration::from_secs(6)).await;
    stub.living()[0].die();
    sleep(Duration::from_secs(1)).await;
    assert_eq!((only_key(&pool).failures_in_a_row, pool.stats().warm, stub.begun()), (0, 1, 2));
}
