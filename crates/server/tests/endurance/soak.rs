//! A long life: after hundreds of sandboxes the daemon is what it was before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use agentkernel_api::ShutdownMode;
use agentkernel_pool::PoolSettings;
use serde_json::json;

use crate::client::Client;
use crate::daemon::{Daemon, command, create, folder, run, settings, until};
use crate::measure;

/// Ended sandboxes that the daemon remembers: fewer than it makes, so that their number is no growth.
const HISTORY: usize = 50;

/// How many more it may remember until it looks again.
const HISTORY_SLACK: usize = 256;

/// Allocators do not give everything back, and the first rounds fill caches.
const GROWTH_BYTES_MAX: u64 = 24 << 20;

/// When whatever ends by itself has ended.
const SETTLE_DEADLINE: Duration = Duration::from_secs(20);

/// Everything that could grow.
#[derive(Debug, PartialEq, Eq)]
struct Size {
    descriptors: Vec<String>,
    children: usize,
    tasks: usize,
}

impl Size {
    fn of(daemon: &Daemon) -> Self {
        let tasks = daemon.runtime.as_ref().map_or(0, |runtime| runtime.metrics().num_alive_tasks());
        Self { descriptors: measure::descriptors(), children: measure::children(), tasks }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.descriptors.len() <= other.descriptors.len()
            && self.children <= other.children
            && self.tasks <= other.tasks
    }
}

/// One of everything that clients do.
async fn round(client: &Client, number: usize) {
    let name = format!("soak-{number}");
    let path = |rest: &str| format!("/v1/sandboxes/{name}{rest}");
    client.post("/v1/runs", run(&["true"])).await.expect(200);
    create(client, json!({"name": name, "labels": {"number": number.to_string()}})).await;
    client.put(&path("/files?path=/workspace/a"), "application/octet-stream", &[7; 10_000]).await.expect(204);
    client.post(&path("/exec"), command(&["cat", "a"])).await.expect(200);
    client.post(&path("/exec"), json!({"argv": ["sleep", "1000"], "background": true})).await.expect(201);
    client.get(&path("/archive?path=/workspace")).await;
    let mut socket = client.socket(&path("/exec/stream")).await.expect("a WebSocket");
    socket.text(json!({"argv": ["cat"], "stdin": "pipe"})).await;
    socket.started().await;
    drop(socket); // a client that goes away
    client.post(&path("/exec"), command(&["/no/such/program"])).await.refused(422, "command_not_found");
    if number.is_multiple_of(2) {
        client.post(&path("/stop"), json!({})).await.expect(200);
        client.post(&path("/start"), json!({})).await.expect(200);
    }
    client.delete(&path("")).await.expect(204);
    // Half of those that have ended are forgotten at once.
    if number.is_multiple_of(2) {
        client.delete(&path("")).await.expect(204);
    }
}

/// Rounds, several at a time.
async fn rounds(client: &Client, numbers: std::ops::Range<usize>) {
    let next = Arc::new(std::sync::atomic::AtomicUsize::new(numbers.start));
    let workers = (0..8).map(|_| {
        let (client, next, end) = (client.clone(), next.clone(), numbers.end);
        tokio::spawn(async move {
            loop {
                let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if number >= end {
                    return;
                }
                round(&client, number).await;
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.expect("every round goes well");
    }
}

/// Waits until all is as it was, and says what is not.
async fn settled(daemon: &Daemon, before: &Size) {
    let began = Instant::now();
    loop {
        let now = Size::of(daemon);
        if now.is_within(before) {
            return;
        }
        assert!(began.elapsed() < SETTLE_DEADLINE, "{now:?}, and it was {before:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn soak(count: usize) {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.history_max = HISTORY;
    settings.pool = PoolSettings { target: 2..=2, ..PoolSettings::default() };
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    // The first rounds make what stays: threads, caches, the pool, the history.
    rounds(&client, 0..2 * HISTORY).await;
    until("the pool is full", async || warm(&client).await == 2).await;
    let before = Size::of(&daemon);
    let (memory, store) = (measure::resident_bytes(), measure::folder_bytes(folder.path()));
    rounds(&client, 2 * HISTORY..2 * HISTORY + count).await;
    until("the pool is full", async || warm(&client).await == 2).await;
    settled(&daemon, &before).await;
    let grown = measure::resident_bytes().saturating_sub(memory);
    assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes more after {count} rounds");
    let all = client.get("/v1/sandboxes?all=true").await.expect(200);
    assert!(
        all["sandboxes"].as_array().expect("a list").len() <= HISTORY + HISTORY_SLACK,
        "more are remembered than may be"
    );
    let larger = measure::folder_bytes(folder.path()).saturating_sub(store);
    assert!(larger <= store, "the store has {larger} bytes more than {store}");
    daemon.stop(ShutdownMode::Kill).await;
}

async fn warm(client: &Client) -> u64 {
    client.get("/v1/pools").await.expect(200)["pools"][0]["warm"].as_u64().expect("a number")
}

#[test]
fn after_a_hundred_rounds_the_daemon_is_what_it_was() {
    measure::alone(soak(100));
}

#[test]
#[ignore = "takes minutes: cargo test -p agentkernel-server --test endurance -- --ignored soak"]
fn soak_after_three_thousand_rounds_the_daemon_is_what_it_was() {
    measure::alone(soak(3000));
}
