//! More clients than usual, and such as do not want anything but harm.

use std::time::Duration;

use agentkernel_api::ShutdownMode;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinSet;

use crate::client::{Client, Wire, read_reply};
use crate::daemon::{Daemon, create, folder, run, settings, until};
use crate::measure;

const JSON: &str = "Content-Type: application/json\r\n";

/// What both ends of a connection may cost, their tasks and buffers included.
const CONNECTION_BYTES_MAX: u64 = 24 << 10;

/// How many the daemon counts.
async fn open(client: &Client) -> usize {
    let metrics = String::from_utf8(client.get("/metrics").await.body).expect("text");
    let line =
        metrics.lines().find_map(|line| line.strip_prefix("agentkernel_connections ")).expect("counted");
    line.parse().expect("a number")
}

#[test]
fn ten_thousand_idle_connections_keep_nobody_out_and_cost_little() {
    measure::alone(async {
        let count = measure::connections(10_000);
        let folder = folder();
        let daemon = Daemon::start(settings(folder.path())).await;
        let client = daemon.client();
        client.post("/v1/runs", run(&["true"])).await.expect(200);
        let (files, before) = (measure::descriptors().len(), measure::resident_bytes());
        let mut idle = Vec::new();
        for _ in 0..count {
            idle.push(client.raw(b"").await);
        }
        until("all are counted", async || open(&client).await > count).await;
        let grown = measure::resident_bytes().saturating_sub(before);
        assert!(grown < count as u64 * CONNECTION_BYTES_MAX, "{count} connections take {grown} bytes");
        client.post("/v1/runs", run(&["true"])).await.expect(200);
        // They are connections still: any of them may ask.
        let mut last = idle.pop().expect("some");
        last.write_all(b"GET /v1/health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .await
            .expect("written");
        read_reply(&mut last).await.expect(200);
        drop((idle, last));
        until("nobody is left", async || open(&client).await == 1).await;
        until("its files are closed", async || measure::descriptors().len() <= files).await;
        daemon.stop(ShutdownMode::Kill).await;
    });
}

/// Sends a piece again and again until it is hung up on.
async fn dribble(mut wire: Box<dyn Wire>, piece: &'static [u8]) {
    let mut heard = [0; 4096];
    loop {
        tokio::select! {
            read = wire.read(&mut heard) => if matches!(read, Ok(0) | Err(_)) { return },
            () = tokio::time::sleep(Duration::from_millis(50)) => {
                if wire.write_all(piece).await.is_err() {
                    return;
                }
            }
        }
    }
}

#[test]
fn those_who_send_a_byte_now_and_then_are_hung_up_on_and_disturb_nobody() {
    measure::alone(async {
        let folder = folder();
        let mut settings = settings(folder.path());
        settings.limits.head_deadline = Duration::from_secs(1);
        settings.limits.body_deadline = Duration::from_secs(1);
        let daemon = Daemon::start(settings).await;
        let client = daemon.client();
        let (files, before) = (measure::descriptors().len(), measure::resident_bytes());
        let body = format!("POST /v1/runs HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: 1000000\r\n\r\n{{");
        let mut slow = JoinSet::new();
        for _ in 0..500 {
            slow.spawn(dribble(client.raw(b"GET /v1/health HTTP/1.1\r\nX-Slow: ").await, b"x"));
            slow.spawn(dribble(client.raw(body.as_bytes()).await, b" "));
        }
        for _ in 0..20 {
            client.post("/v1/runs", run(&["true"])).await.expect(200);
        }
        let grown = measure::resident_bytes().saturating_sub(before);
        assert!(grown < 64 << 20, "1000 slow clients take {grown} bytes");
        let all = tokio::time::timeout(Duration::from_secs(30), slow.join_all()).await;
        all.expect("each of them is hung up on");
        until("nobody is left", async || open(&client).await == 1).await;
        until("its files are closed", async || measure::descriptors().len() <= files).await;
        daemon.stop(ShutdownMode::Kill).await;
    });
}

#[test]
fn whoever_stops_sending_a_file_is_not_waited_for_and_keeps_no_sandbox_busy() {
    measure::alone(async {
        let folder = folder();
        let mut settings = settings(folder.path());
        settings.limits.body_deadline = Duration::from_millis(300);
        let daemon = Daemon::start(settings).await;
        let client = daemon.client();
        create(&client, json!({"name": "web", "idle_timeout_ms": 1500})).await;
        for path in ["files?path=/workspace/a", "archive?path=/workspace"] {
            let of = if path.starts_with('f') { "octet-stream" } else { "x-tar" };
            let head = format!(
                "PUT /v1/sandboxes/web/{path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/{of}\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n"
            );
            let mut wire = client.raw(&[head.as_bytes(), b"half of it"].concat()).await;
            let reply = tokio::time::timeout(Duration::from_secs(10), read_reply(&mut wire)).await;
            reply.expect("in time").refused(400, "usage");
        }
        client.get("/v1/sandboxes/web/files?path=/workspace/a").await.refused(422, "file");
        until("it is idle", async || {
            client.get("/v1/sandboxes/web").await.json()["error"]["sandbox"]["cause"] == "idle"
        })
        .await;
        daemon.stop(ShutdownMode::Kill).await;
    });
}

/// Sends this for as long as somebody reads, up to 32 MiB, and returns the status of the reply.
async fn pour(client: Client, piece: &'static [u8]) -> u16 {
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nHost: a\r\n{JSON}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    let mut wire = client.raw(head.as_bytes()).await;
    let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
    for _ in 0..(32 << 20) / piece.len() {
        if wire.write_all(&chunk).await.is_err() {
            break;
        }
    }
    drop(wire.write_all(b"0\r\n\r\n").await);
    read_reply(&mut wire).await.status
}

#[test]
fn a_flood_of_huge_and_deep_json_takes_no_more_memory_than_bodies_may() {
    measure::alone(async {
        let folder = folder();
        let mut settings = settings(folder.path());
        settings.limits.body_bytes_total = 16 << 20;
        let daemon = Daemon::start(settings).await;
        let client = daemon.client();
        let before = measure::resident_bytes();
        let mut flood = JoinSet::new();
        for number in 0..100 {
            let piece: &[u8] = if number % 2 == 0 { &[b'['; 16 << 10] } else { &[b' '; 16 << 10] };
            flood.spawn(pour(client.clone(), piece));
        }
        let mut most = 0;
        while let Some(status) = flood.join_next().await {
            let status = status.expect("no panic");
            assert!(matches!(status, 400 | 413 | 429), "{status}");
            most = most.max(measure::resident_bytes().saturating_sub(before));
            // Small requests find room, too: with 100 floods under way, or after them.
            client.get("/v1/health").await.expect(200);
        }
        assert!(most < 96 << 20, "{most} bytes more");
        client.post("/v1/runs", run(&["true"])).await.expect(200);
        daemon.stop(ShutdownMode::Kill).await;
    });
}

#[test]
fn bodies_that_are_on_their_way_have_a_limit_together() {
    measure::alone(async {
        let folder = folder();
        let mut settings = settings(folder.path());
        settings.limits.body_bytes_total = 256 << 10;
        let daemon = Daemon::start(settings).await;
        let client = daemon.client();
        let half = |length: usize| {
            let head = format!("POST /v1/runs HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: 1000000\r\n\r\n");
            [head.into_bytes(), vec![b' '; length]].concat()
        };
        let promised: Vec<_> = vec![client.raw(&half(0)).await, client.raw(&half(0)).await];
        client.post("/v1/runs", run(&["true"])).await.expect(200);
        let large = [vec![b' '; 100 << 10], run(&["true"]).to_string().into_bytes()].concat();
        // Whichever comes first has the room: the half must, and is sent until it does.
        let (mut sent, mut statuses) = (None, Vec::new());
        while statuses.last() != Some(&429) {
            assert!(statuses.len() < 200, "there is always room: {statuses:?}");
            sent = Some(client.raw(&half(200 << 10)).await);
            tokio::time::sleep(Duration::from_millis(20)).await;
            statuses.push(client.send("POST", "/v1/runs", JSON, &large).await.status);
        }
        let refused = client.send("POST", "/v1/runs", JSON, &large).await;
        refused.refused(429, "busy");
        assert!(refused.header("retry-after").is_some());
        client.post("/v1/runs", run(&["true"])).await.expect(200);
        drop((promised, sent));
        until("there is room", async || client.send("POST", "/v1/runs", JSON, &large).await.status == 200)
            .await;
        daemon.stop(ShutdownMode::Kill).await;
    });
}
