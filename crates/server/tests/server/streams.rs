//! Commands over WebSockets.

use std::time::Duration;

use agentkernel_api::ShutdownMode;
use agentkernel_testkit::noise;
use futures_util::StreamExt as _;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::daemon::{Daemon, command, create, folder, run, settings, until};

#[tokio::test(flavor = "multi_thread")]
async fn stdin_and_stdout_are_the_same_bytes() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let mut socket = daemon.client().socket("/v1/runs/stream").await.expect("a WebSocket");
    socket.text(json!({"command": {"argv": ["cat"], "stdin": "pipe"}})).await;
    socket.started().await;
    let bytes = noise(3 << 20);
    let mut sent = 0;
    for part in bytes.chunks(50_000) {
        socket.stdin(part).await;
        sent += part.len();
        // A pipe takes 64 KiB; more than that must not be on its way unread.
        let length = sent.saturating_sub(100_000);
        socket.stdout_of(length).await;
    }
    socket.text(json!({"stdin_end": true})).await;
    let exited = socket.exited().await;
    assert_eq!(exited["exit_code"], 0);
    assert!(socket.stdout == bytes, "other bytes came back");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_streams_signals_and_the_end_are_told_in_their_order() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let mut socket = daemon.client().socket("/v1/runs/stream").await.expect("a WebSocket");
    let script = "trap 'echo bye; exit 3' TERM; echo err >&2; echo ready; while :; do sleep 0.02; done";
    socket.text(run(&["sh", "-c", script])).await;
    let started = socket.started().await;
    assert_eq!(started["origin"], "cold");
    assert_eq!(started["warning"], "it isolates nothing", "whoever gets less than the name promises is told");
    assert!(started["pid"].as_u64().expect("a PID") > 0);
    socket.stdout_of(6).await;
    socket.text(json!({"signal": {"number": 15}})).await;
    let exited = socket.exited().await;
    assert_eq!((&exited["exit_code"], &exited["cause"]), (&json!(3), &json!("exited")));
    assert_eq!((&socket.stdout[..], &socket.stderr[..]), (&b"ready\nbye\n"[..], &b"err\n"[..]));
    assert_eq!(exited["stdout"], "");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_has_the_size_that_it_is_given() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let mut socket = daemon.client().socket("/v1/runs/stream").await.expect("a WebSocket");
    let terminal = json!({"rows": 31, "cols": 77});
    let argv = ["sh", "-c", "stty size; read line; stty size"];
    socket.text(json!({"command": {"argv": argv, "stdin": "pipe", "terminal": terminal}})).await;
    socket.started().await;
    socket.stdout_of(7).await;
    socket.text(json!({"resize": {"rows": 40, "cols": 100}})).await;
    socket.stdin(b"\n").await;
    socket.exited().await;
    let text = String::from_utf8_lossy(&socket.stdout).into_owned();
    assert!(text.starts_with("31 77") && text.contains("40 100"), "{text:?}");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_stream_along_whatever_it_was_doing() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.ping_interval = Duration::from_millis(50);
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    // One that is silent, one whose output nobody reads, one whose stdin is full.
    for argv in [vec!["sleep", "1000"], vec!["cat", "/dev/zero"], vec!["sleep", "1001"]] {
        let mut socket = client.socket("/v1/runs/stream").await.expect("a WebSocket");
        let fills_stdin = argv[1] == "1001";
        socket.text(json!({"command": {"argv": argv, "stdin": "pipe"}})).await;
        socket.started().await;
        for _ in 0..if fills_stdin { 20 } else { 0 } {
            let part = Message::binary(vec![0; 30_000]);
            let sent = futures_util::SinkExt::send(&mut socket.stream, part);
            if tokio::time::timeout(Duration::from_millis(200), sent).await.is_err() {
                break;
            }
        }
        assert_eq!(daemon.backend.living().len(), 1);
        drop(socket);
        until("nothing is left", async || daemon.backend.living().is_empty()).await;
    }
    daemon.stop(ShutdownMode::Kill).await;
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: u64 = text.split(' ').nth(1).expect("resident").parse().expect("a number");
    pages * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_makes_the_command_wait_and_no_memory_grow() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.stream_bytes = u64::MAX;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    let sandbox = create(&client, json!({})).await;
    let path = format!("/v1/sandboxes/{}/exec/stream", sandbox["id"].as_str().expect("an id"));
    let mut socket = client.socket(&path).await.expect("a WebSocket");
    // It says on stderr, which goes to a file, how much it got rid of.
    let script = "i=0; while head -c 1048576 /dev/zero; do i=$((i+1)); echo $i >written; done";
    socket.text(command(&["sh", "-c", script])).await;
    socket.started().await;
    let before = resident_bytes();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let grown = resident_bytes().saturating_sub(before);
    let path =
        format!("/v1/sandboxes/{}/files?path=/workspace/written", sandbox["id"].as_str().expect("an id"));
    let reply = client.get(&path).await;
    let written = if reply.status == 200 {
        String::from_utf8_lossy(&reply.body).trim().parse().expect("a number")
    } else {
        0
    };
    assert!(written <= 3, "{written} MiB left the command while nobody read");
    assert!(grown < 32 << 20, "{grown} bytes more");
    // And it goes on once somebody reads.
    socket.stdout_of(8 << 20).await;
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_make_no_sense_end_the_stream_with_an_error() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    for first in ["{", "{}", r#"{"command":{"argv":["true"]},"x":1}"#, r#"{"command":{"argv":[]}}"#] {
        let mut socket = client.socket("/v1/runs/stream").await.expect("a WebSocket");
        socket.send(Message::text(first)).await;
        assert_eq!(socket.next().await["error"]["kind"], "usage", "{first}");
    }
    for wrong in [r#"{"signal":{"number":65}}"#, r#"{"dance":true}"#, "[]", &"[".repeat(10_000)] {
        let mut socket = client.socket("/v1/runs/stream").await.expect("a WebSocket");
        socket.text(run(&["sleep", "1000"])).await;
        socket.started().await;
        socket.send(Message::text(wrong)).await;
        assert_eq!(socket.next().await["error"]["kind"], "usage", "{wrong:.40}");
        until("nothing is left", async || daemon.backend.living().is_empty()).await;
    }
    let mut socket = client.socket("/v1/runs/stream").await.expect("a WebSocket");
    socket.text(run(&["sleep", "1000"])).await;
    socket.started().await;
    socket.send(Message::binary(vec![7, 7])).await;
    assert_eq!(socket.next().await["error"]["kind"], "usage");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_beyond_the_limit_ends_the_stream() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.body_bytes = 10_000;
    let daemon = Daemon::start(settings).await;
    let mut socket = daemon.client().socket("/v1/runs/stream").await.expect("a WebSocket");
    socket.text(json!({"command": {"argv": ["cat"], "stdin": "pipe"}})).await;
    socket.started().await;
    socket.stdin(&[0; 20_000]).await;
    let mut rest = Vec::new();
    while let Some(Ok(message)) = socket.stream.next().await {
        rest.push(message);
    }
    assert!(!rest.iter().any(|message| matches!(message, Message::Binary(bytes) if bytes.len() > 100)));
    until("nothing is left", async || daemon.backend.living().is_empty()).await;
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_into_a_sandbox_that_is_not_there_is_refused_before_it_begins() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    assert_eq!(client.socket("/v1/sandboxes/none/exec/stream").await.err(), Some(404));
    let sandbox = create(&client, json!({"name": "web"})).await;
    assert_eq!(client.socket("/v1/sandboxes/web/processes/1/stream").await.err(), Some(404));
    let id = sandbox["id"].as_str().expect("an id");
    client.delete(&format!("/v1/sandboxes/{id}")).await.expect(204);
    assert_eq!(client.socket("/v1/sandboxes/web/exec/stream").await.err(), Some(410));
    daemon.stop(ShutdownMode::Kill).await;
}
