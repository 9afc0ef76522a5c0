//! What a call costs in a machine, as ratios: on an emulated host no time means anything by itself. By hand, with a release
//! build: `scripts/kvm-lab -- target/release/deps/lab-… --ignored --nocapture measure`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_core::{Backend as _, Image};
use agentkernel_pool::{Pool, PoolSettings};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};

use crate::bare::Bare;
use crate::modules::{cached, called, home, module_image};
use crate::rig::{backend, has_kvm, spec};

const CALLS: usize = 100;
/// Longer than a machine is restored for.
const PAUSE: Duration = Duration::from_millis(100);
const BOOTS: usize = 7;
const AT_ONCE: usize = 20;
/// So many boot at a time, that none is late where a processor is emulated.
const BOOTS_AT_ONCE: usize = 4;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; run it by hand with --release"]
async fn measure() {
    if !has_kvm() {
        return;
    }
    let image = module_image();
    let cold = async |backend: &agentkernel_hyperlight::HyperlightBackend| {
        let began = Instant::now();
        let booted = backend.boot(&spec(image.clone(), 128)).await.expect("it boots");
        called(&*booted.sandbox, "add(40, 2)").await.expect("returned");
        (began.elapsed(), booted.sandbox)
    };
    let (whole, kept) = (backend(), cached(home().join("measured")));
    drop(cold(&kept).await);
    let (mut booted, mut restored) = (Vec::new(), Vec::new());
    for _ in 0..BOOTS {
        booted.push(cold(&whole).await.0);
        restored.push(cold(&kept).await.0);
    }
    let (_, sandbox) = cold(&kept).await;
    let Image::Module(file) = &image else { unreachable!("it is one") };
    let mut bare = Bare::new(file, 128);
    let (mut calls, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        // The machine is restored behind the answer, so that the second of two is one that waits for that.
        called(&*sandbox, "add(40, 2)").await.expect("returned");
        let began = Instant::now();
        called(&*sandbox, "add(40, 2)").await.expect("returned");
        calls.push(began.elapsed());
        // Nor is it restored while the other is measured.
        tokio::time::sleep(PAUSE).await;
        bare.restore_and_call();
        let began = Instant::now();
        bare.restore_and_call();
        alone.push(began.elapsed());
    }
    println!("{}", bare.profile());
    let (booted, restored, call) = (median(booted), median(restored), median(calls));
    println!("the crate alone, restored and called, n {CALLS}: {:?}", median(alone));
    println!("compiled and booted, n {BOOTS}: {booted:?}; from a kept snapshot, n {BOOTS}: {restored:?}");
    println!("restored in place and called, n {CALLS}: {call:?}");
    println!("  1/{:.0} of a boot, 1/{:.1} of a kept one", ratio(booted, call), ratio(restored, call));
}

/// Many at once, each in a machine of its own: made for it, and from a pool.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures; run it by hand with --release"]
async fn measure_many() {
    if !has_kvm() {
        return;
    }
    let (kept, spec) = (cached(home().join("measured")), spec(module_image(), 64));
    let began = Instant::now();
    let each = (0..AT_ONCE).map(|_| async {
        let booted = backend().boot(&spec).await.expect("it boots");
        called(&*booted.sandbox, "add(40, 2)").await.expect("returned");
    });
    stream::iter(each).buffer_unordered(BOOTS_AT_ONCE).collect::<Vec<()>>().await;
    let cold = began.elapsed();
    drop(kept.boot(&spec).await.expect("it boots"));
    let pool = Pool::new(Arc::new(kept), PoolSettings::default()).expect("a pool");
    let key = pool.poolable(&spec).expect("it can be kept");
    pool.set_target(&key, AT_ONCE..=AT_ONCE).expect("a target");
    while pool.stats().keys.iter().all(|key| key.warm < AT_ONCE) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let began = Instant::now();
    let each = (0..AT_ONCE).map(|_| async {
        let lease = pool.acquire(&spec).await.expect("leased");
        called(lease.sandbox(), "add(40, 2)").await.expect("returned");
        lease
    });
    let leases = join_all(each).await;
    let pooled = began.elapsed();
    println!(
        "{AT_ONCE} at once: {cold:?} cold, {pooled:?} by the pool, {:.0} times as fast",
        ratio(cold, pooled)
    );
    for lease in leases {
        lease.stop().await.expect("stopped");
    }
    pool.shutdown().await.expect("shut down");
}

fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}
