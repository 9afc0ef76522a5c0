//! What a call costs, beside Wasmtime alone.
//!
//! ```sh
//! cargo test --release -p agentkernel-wasm --test wasm measure -- --ignored --nocapture --test-threads 1
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_core::{Backend as _, Call, Sandbox};
use agentkernel_wasm::WasmBackend;
use serde_json::json;
use tokio::runtime::Builder;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, Linker, Module, PoolingAllocationConfig, Store};

use crate::fixture::{File, limits};

const ADD: &str = "(module (memory 1) (func (export \"add\") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1))))";
const SAMPLES: usize = 20_000;

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let rank = |percent: usize| times[(times.len() * percent).div_ceil(100) - 1].as_nanos();
    println!(
        "{what}: {} samples, p50 {} ns, p90 {} ns, p99 {} ns",
        times.len(),
        rank(50),
        rank(90),
        rank(99)
    );
}

/// A new instance, one call and the instance's end, by the crate that we use and nothing else.
async fn bare() -> Vec<Duration> {
    let mut config = Config::new();
    config.async_support(true).epoch_interruption(true);
    let places = PoolingAllocationConfig::new();
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(places));
    let engine = Engine::new(&config).expect("an engine");
    let module = Module::new(&engine, ADD).expect("valid");
    let instances = Linker::<()>::new(&engine).instantiate_pre(&module).expect("linked");
    let mut times = Vec::new();
    for _ in 0..SAMPLES {
        let began = Instant::now();
        let mut store = Store::new(&engine, ());
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        let instance = instances.instantiate_async(&mut store).await.expect("an instance");
        let add = instance.get_typed_func::<(i32, i32), i32>(&mut store, "add").expect("a function");
        assert_eq!(add.call_async(&mut store, (40, 2)).await.expect("returned"), 42);
        drop(store);
        times.push(began.elapsed());
    }
    times
}

async fn one(sandbox: &dyn Sandbox, call: &Call) {
    assert_eq!(sandbox.call(call).await.expect("returned").values, [json!(42)]);
}

#[test]
#[ignore = "measures; run it with --release --ignored --nocapture --test-threads 1"]
fn measure_calls() {
    let file = File::of(ADD);
    let call: Call = "add(40, 2)".parse().expect("a call");
    let single = Builder::new_current_thread().enable_all().build().expect("a runtime");
    print("bare: instance, call, end", single.block_on(bare()));
    let backend = WasmBackend::new(None);
    let sandbox = single.block_on(backend.boot(&file.spec(limits()))).expect("boots").sandbox;
    let mut times = Vec::new();
    single.block_on(async {
        for _ in 0..SAMPLES {
            let began = Instant::now();
            one(&*sandbox, &call).await;
            times.push(began.elapsed());
        }
    });
    print("ours: the same by the door", times);
    drop(sandbox);
    drop(backend);
}

#[test]
#[ignore = "measures; run it with --release --ignored --nocapture --test-threads 1"]
fn measure_many_calls() {
    let file = File::of(ADD);
    let call: Call = "add(40, 2)".parse().expect("a call");
    let two = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let backend = WasmBackend::new(None);
    let sandboxes: Vec<Arc<dyn Sandbox>> = (0..2)
        .map(|_| two.block_on(backend.boot(&file.spec(limits()))).expect("boots").sandbox.into())
        .collect();
    let began = Instant::now();
    let tasks: Vec<_> = sandboxes
        .iter()
        .map(|sandbox| {
            let (sandbox, call) = (Arc::clone(sandbox), call.clone());
            two.spawn(async move {
                for _ in 0..10 * SAMPLES {
                    one(&*sandbox, &call).await;
                }
            })
        })
        .collect();
    for task in tasks {
        two.block_on(task).expect("no panic");
    }
    let rate = (20 * SAMPLES) as f64 / began.elapsed().as_secs_f64();
    println!("two threads: {rate:.0} fresh instances a second, {} in all", 20 * SAMPLES);
    let mut times = Vec::new();
    for _ in 0..50 {
        let began = Instant::now();
        let calls: Vec<_> = (0..100)
            .map(|at| {
                let (sandbox, call) = (Arc::clone(&sandboxes[at % 2]), call.clone());
                two.spawn(async move { one(&*sandbox, &call).await })
            })
            .collect();
        for call in calls {
            two.block_on(call).expect("no panic");
        }
        times.push(began.elapsed());
    }
    print("a hundred calls at once", times);
}
