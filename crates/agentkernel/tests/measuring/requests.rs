//! A daemon's API without a process for each client: requests one after the other, a hundred at once, and thousands of
//! fresh sandboxes. Every answer is compared; each client has a connection for each request, as ours always has.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_api as api;
use agentkernel_client::{Address, Client};
use agentkernel_testkit::random_u64;
use tokio::runtime::Runtime;
use tokio::sync::Barrier;

use crate::support::{DEADLINE, Trial, comes_true};

const AT_ONCE: u32 = 100;
const ROUNDS: usize = 6;
const IN_TURN: usize = 1_000;
const CLIENTS: usize = 4;

/// A module with one function, that adds.
const ADDS: &str = r#"(module (func (export "add") (param i32 i32) (result i32)
    local.get 0 local.get 1 i32.add))"#;

/// One request of a kind, and whether its answer was right.
#[derive(Clone)]
enum Asked {
    Run(api::SandboxRequest),
    Call(api::SandboxRequest),
}

impl Asked {
    /// Asks for it. Returns the sandbox's name.
    async fn once(&self, client: &Client) -> String {
        match self {
            Self::Run(sandbox) => {
                let word = format!("{:016x}", random_u64());
                let command = api::CommandRequest::new(["echo", &word]);
                let run = api::RunRequest { sandbox: sandbox.clone(), command };
                let result = client.run(&run).await.expect("it runs");
                assert_eq!(
                    (result.exit_code, result.stdout.as_bytes()),
                    (Some(0), format!("{word}\n").as_bytes())
                );
                result.sandbox
            }
            Self::Call(sandbox) => {
                let (one, other) = ((random_u64() >> 40) as i32, (random_u64() >> 40) as i32);
                let arguments = vec![one.into(), other.into()];
                let call = api::FunctionCall { function: "add".into(), arguments, timeout_ms: None };
                let call = api::CallRequest { sandbox: sandbox.clone(), call };
                let result = client.call(&call).await.expect("it is called");
                assert_eq!(result.values, [serde_json::Value::from(one + other)]);
                result.sandbox
            }
        }
    }
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3;
    let (count, min) = (times.len(), ms(0));
    println!("{what}: n {count}, p50 {:.2} ms, p95 {:.2}, p99 {:.2}, min {min:.2}", ms(50), ms(95), ms(99));
}

/// A daemon and its clients.
struct Clients {
    trial: Trial,
    runtime: Runtime,
    client: Client,
}

impl Clients {
    /// Of a daemon with room for so many warm ones. `None`, loudly, where the embedded boundary does not work.
    fn of_a_daemon_for(most: u32) -> Option<Self> {
        let mut trial = Trial::alone()?;
        trial.serve(&["--pool", &format!("0..{most}")]);
        let socket = trial.environment.agentkernel_home().join("daemon.sock");
        let client = Client::new(Address::Unix(socket));
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        Some(Self { trial, runtime, client })
    }

    /// Keeps so many sandboxes warm.
    fn keep(&self, sandbox: &api::SandboxRequest, low: u32, high: u32) {
        let request = api::PoolRequest { sandbox: sandbox.clone(), low, high };
        self.runtime.block_on(self.client.set_pool(&request)).expect("a pool");
    }

    /// Waits until enough of this backend are warm.
    fn wait_for(&self, backend: &str, is_enough: impl Fn(u64) -> bool) {
        let are_warm = || {
            let pools = self.runtime.block_on(self.client.pools()).expect("pools").pools;
            pools.iter().any(|pool| pool.backend == backend && is_enough(pool.warm))
        };
        assert!(comes_true(DEADLINE, are_warm), "never so many of {backend} are warm");
    }

    fn in_turn(&self, what: &str, asked: &Asked, pause: Duration) {
        let times = self.runtime.block_on(async {
            let mut times = Vec::new();
            for _ in 0..IN_TURN {
                tokio::time::sleep(pause).await;
                let began = Instant::now();
                asked.once(&self.client).await;
                times.push(began.elapsed());
            }
            times
        });
        print(what, times);
    }

    /// A hundred at once, as soon as so many are warm: until the last answer.
    fn at_once(&self, what: &str, asked: &Asked, backend: &str) {
        let round = |_| {
            self.wait_for(backend, |warm| warm >= u64::from(AT_ONCE));
            self.runtime.block_on(self.together(asked))
        };
        print(what, (0..ROUNDS).map(round).collect());
    }

    async fn together(&self, asked: &Asked) -> Duration {
        let ready = Arc::new(Barrier::new(AT_ONCE as usize + 1));
        let ask = |_| {
            let (asked, client, ready) = (asked.clone(), self.client.clone(), Arc::clone(&ready));
            tokio::spawn(async move {
                ready.wait().await;
                asked.once(&client).await
            })
        };
        let asked: Vec<_> = (0..AT_ONCE).map(ask).collect();
        ready.wait().await;
        let began = Instant::now();
        let mut sandboxes = BTreeSet::new();
        for one in asked {
            sandboxes.insert(one.await.expect("no panic"));
        }
        let took = began.elapsed();
        assert_eq!(sandboxes.len(), AT_ONCE as usize, "each has a sandbox of its own");
        took
    }

    /// So many fresh ones by some clients, each of which asks again when it has its answer.
    fn sustained(&self, what: &str, asked: &Asked, count: usize) {
        let began = Instant::now();
        let (mut sandboxes, mut times) = (BTreeSet::new(), Vec::new());
        self.runtime.block_on(async {
            let ask = |_| {
                let (asked, client) = (asked.clone(), self.client.clone());
                tokio::spawn(async move {
                    let mut done = Vec::new();
                    for _ in 0..count / CLIENTS {
                        let began = Instant::now();
                        done.push((asked.once(&client).await, began.elapsed()));
                    }
                    done
                })
            };
            for one in (0..CLIENTS).map(ask).collect::<Vec<_>>() {
                let done = one.await.expect("no panic");
                times.extend(done.iter().map(|(_, took)| *took));
                sandboxes.extend(done.into_iter().map(|(sandbox, _)| sandbox));
            }
        });
        assert_eq!(sandboxes.len(), count, "each has a sandbox of its own");
        println!("{what}: {:.0} a second", count as f64 / began.elapsed().as_secs_f64());
        print(what, times);
    }
}

/// Sandboxes of this backend.
fn of(backend: &str) -> api::SandboxRequest {
    api::SandboxRequest { backend: Some(backend.into()), ..api::SandboxRequest::default() }
}

/// Requests that make sandboxes, and `fresh` of those by few clients.
pub fn measure(fresh: usize) {
    let Some(clients) = Clients::of_a_daemon_for(2 * AT_ONCE) else { return };
    let (run, pause) = (Asked::Run(of("oci")), Duration::from_millis(20));
    clients.keep(&of("oci"), AT_ONCE, 2 * AT_ONCE);
    clients.wait_for("oci", |warm| warm >= u64::from(AT_ONCE));
    clients.in_turn("a run, one after the other, 20 ms between two", &run, pause);
    clients.at_once("a hundred runs at once", &run, "oci");
    clients.sustained(&format!("{fresh} fresh sandboxes by {CLIENTS} clients"), &run, fresh);
    let module = clients.trial.environment.work().join("adds.wat");
    std::fs::write(&module, ADDS).expect("written");
    let module = Some(module.display().to_string().into());
    let sandbox = api::SandboxRequest { module, ..of("wasm") };
    clients.keep(&sandbox, AT_ONCE, 2 * AT_ONCE);
    let call = Asked::Call(sandbox);
    clients.in_turn("a call, one after the other", &call, Duration::ZERO);
    clients.at_once("a hundred calls at once", &call, "wasm");
}

/// How long so many sandboxes take to be warm, and to be no more.
pub fn measure_pool(count: u32) {
    let Some(clients) = Clients::of_a_daemon_for(count) else { return };
    let began = Instant::now();
    clients.keep(&of("oci"), count, count);
    clients.wait_for("oci", |warm| warm == u64::from(count));
    println!("{count} warm after {:.1} s", began.elapsed().as_secs_f64());
    let began = Instant::now();
    clients.keep(&of("oci"), 0, 0);
    let drained = clients.runtime.block_on(clients.client.drain_pools(&api::DrainRequest::default()));
    drained.expect("drained");
    clients.wait_for("oci", |warm| warm == 0);
    println!("taken down in {:.1} s", began.elapsed().as_secs_f64());
}
