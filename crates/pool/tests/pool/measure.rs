//! How long it takes to lease a sandbox that is warm.
//!
//! ```sh
//! cargo test --release -p agentkernel-pool --test pool measure_acquire -- --ignored --nocapture
//! ```

use std::sync::Arc;
use std::time::Instant;

use agentkernel_core::{Backend, ByteSize, Command, ProcessEvent};
use agentkernel_pool::{Origin, Pool, PoolSettings};
use agentkernel_testkit::FakeBackend;
use tokio::runtime::{Builder, Runtime};

use crate::stub::{Stub, key, spec, until};

const ROUNDS: usize = 40;
const WARM: usize = 50;

/// Leases of a full shelf one after the other, each measured alone; the shelf is filled in between.
async fn rounds(backend: Arc<dyn Backend>) -> Vec<u128> {
    let memory_max = ByteSize::mib(1 << 20);
    let settings =
        PoolSettings { memory_max, target: WARM..=WARM, warm_max: WARM, ..PoolSettings::default() };
    let pool = Arc::new(Pool::new(backend, settings).expect("the settings make sense"));
    pool.set_target(&key(&pool), WARM..=WARM).expect("set");
    let mut times_ns = Vec::new();
    for _ in 0..ROUNDS {
        until(|| pool.stats().warm == WARM).await;
        let pool = pool.clone();
        // A task of the runtime, as every request of a daemon is.
        let round = tokio::spawn(async move {
            let (spec, mut times_ns, mut leases) = (spec(), Vec::new(), Vec::new());
            for _ in 0..WARM / 2 {
                let began = Instant::now();
                let lease = pool.acquire(&spec).await.expect("leased");
                times_ns.push(began.elapsed().as_nanos());
                assert!(matches!(lease.origin, Origin::Warm { .. }));
                leases.push(lease);
            }
            times_ns
        });
        times_ns.extend(round.await.expect("no panic"));
    }
    times_ns
}

fn print(what: &str, mut times_ns: Vec<u128>) {
    times_ns.sort_unstable();
    let rank = |percent: usize| times_ns[(times_ns.len() * percent).div_ceil(100) - 1];
    println!(
        "{what}: {} leases, p50 {} ns, p90 {} ns, p99 {} ns, most {} ns",
        times_ns.len(),
        rank(50),
        rank(90),
        rank(99),
        rank(100)
    );
}

fn runtimes() -> [(&'static str, Runtime); 2] {
    let one = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    [("one thread", one), ("two threads", two)]
}

#[test]
#[ignore = "measures; run it with --release --ignored --nocapture --test-threads 1"]
fn measure_acquire() {
    for (threads, runtime) in runtimes() {
        let backend = Stub::new();
        print(&format!("stub, {threads}"), runtime.block_on(rounds(Arc::new(backend))));
        print(&format!("fake, {threads}"), runtime.block_on(rounds(Arc::new(FakeBackend::new()))));
    }
}

#[test]
#[ignore = "measures; run it with --release --ignored --nocapture --test-threads 1"]
fn measure_boot_and_first_command() {
    for (threads, runtime) in runtimes() {
        let times_ns = runtime.block_on(async {
            let pool = Pool::new(Arc::new(FakeBackend::new()), PoolSettings::default()).expect("a pool");
            pool.set_target(&key(&pool), 0..=0).expect("set");
            let mut times_ns = Vec::new();
            for _ in 0..50 {
                let (spec, began) = (spec(), Instant::now());
                let lease = pool.acquire(&spec).await.expect("leased");
                let mut process = lease.sandbox().exec(&Command::new(["true"])).await.expect("started");
                while !matches!(process.next().await.expect("it goes on"), ProcessEvent::Exited(_)) {}
                times_ns.push(began.elapsed().as_nanos());
            }
            times_ns
        });
        print(&format!("fake, {threads}, cold, with a command"), times_ns);
    }
}
