//! How quick it is. Not a test of anything: run it alone, with optimisation, and read what it prints.

use std::time::{Duration, Instant};

use agentkernel_core::{Command, ProcessEvent, Stdin};
use bytes::Bytes;

use crate::real_guest::RealGuest;

const ROUNDS: usize = 1000;
const BYTES: usize = 4 << 30;

fn quantiles(what: &str, mut samples: Vec<Duration>) {
    samples.sort();
    let at = |percent: usize| samples[(samples.len() - 1) * percent / 100];
    println!("{what}: p50 {:?}, p95 {:?}, p99 {:?}, n {}", at(50), at(95), at(99), samples.len());
}

async fn measure(runtime: &str) {
    let guest = RealGuest::start().await;
    println!("--- {runtime}; the agent was ready {:?} after its main", guest.info.startup());
    let mut samples = Vec::new();
    for _ in 0..ROUNDS {
        samples.push(guest.link.ping().await.expect("answered"));
    }
    quantiles("ping", samples);
    let (mut started, mut ended) = (Vec::new(), Vec::new());
    let command = Command::new(["/bin/true"]);
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        let mut process = guest.exec(&command).await;
        started.push(begin.elapsed());
        while !matches!(process.next().await, Ok(ProcessEvent::Exited(_))) {}
        ended.push(begin.elapsed());
    }
    quantiles("exec until started", started);
    quantiles("exec until exited", ended);
    stdout(&guest).await;
    stdin(&guest).await;
}

async fn stdout(guest: &RealGuest) {
    let mut command = Command::new(["head", "-c"]);
    command.argv.extend([BYTES.to_string().into(), b"/dev/zero".to_vec()]);
    let (begin, mut process) = (Instant::now(), guest.exec(&command).await);
    let (mut total, mut chunks) = (0, 0);
    while let Ok(ProcessEvent::Output(_, bytes)) = process.next().await {
        total += bytes.len();
        chunks += 1;
    }
    assert_eq!(total, BYTES);
    let rate = gigabytes_per_second(BYTES, begin.elapsed());
    println!("stdout: {rate:.2} GB/s, {} KiB a chunk", BYTES / chunks / 1024);
}

async fn stdin(guest: &RealGuest) {
    let process =
        guest.exec(&Command { stdin: Stdin::Pipe, ..Command::new(["sh", "-c", "cat > /dev/null"]) }).await;
    let (control, mut process) = (process.control(), process);
    let (begin, piece) = (Instant::now(), Bytes::from(vec![0; 1 << 20]));
    for _ in 0..BYTES / piece.len() / 4 {
        control.write_stdin(piece.clone()).await.expect("written");
    }
    control.close_stdin().await.expect("closed");
    process.next().await.expect("the end");
    println!("stdin: {:.2} GB/s", gigabytes_per_second(BYTES / 4, begin.elapsed()));
}

#[expect(clippy::cast_precision_loss, reason = "three digits are printed")]
fn gigabytes_per_second(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / time.as_secs_f64() / 1e9
}

#[tokio::test]
#[ignore = "measures; run it with --release --ignored --nocapture --test-threads 1"]
async fn on_one_thread() {
    measure("current-thread runtime").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; run it with --release --ignored --nocapture --test-threads 1"]
async fn on_two_threads() {
    measure("multi-thread runtime").await;
}
