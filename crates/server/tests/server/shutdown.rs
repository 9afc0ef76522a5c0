//! However the daemon is stopped, nothing is left.

use agentkernel_api::ShutdownMode;
use serde_json::json;

use crate::daemon::{Daemon, command, create, folder, run, settings, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_commands_end_and_takes_nothing_new() {
    let folder = folder();
    let mut daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    client.post("/v1/sandboxes/a/exec", command(&["mkfifo", "pipe"])).await.expect(200);
    let mut run_stream = client.socket("/v1/runs/stream").await.expect("a WebSocket");
    run_stream.text(json!({"command": {"argv": ["cat"], "stdin": "pipe"}})).await;
    run_stream.started().await;
    let mut exec = client.socket("/v1/sandboxes/a/exec/stream").await.expect("a WebSocket");
    exec.text(json!({"argv": ["cat"], "stdin": "pipe"})).await;
    exec.started().await;
    client.post("/v1/shutdown", json!({"mode": "drain"})).await.expect(202);
    until("it refuses", async || client.post("/v1/sandboxes", json!({})).await.status == 503).await;
    assert_eq!(client.get("/v1/health").await.expect(200)["status"], "stopping");
    for stream in [&mut run_stream, &mut exec] {
        stream.stdin(b"still here").await;
        stream.text(json!({"stdin_end": true})).await;
        assert_eq!(stream.exited().await["exit_code"], 0);
        assert_eq!(stream.stdout, b"still here");
    }
    daemon.ended().await.expect("it ended well");
    assert_eq!(daemon.backend.living(), []);
    assert!(!daemon.serving.socket.exists());
    // And the next daemon knows why.
    let next = Daemon::start(settings(folder.path())).await;
    let gone = next.client().get("/v1/sandboxes/a").await.refused(410, "gone");
    assert_eq!(gone["sandbox"]["cause"], "shutdown");
    next.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_waits_for_nobody() {
    let folder = folder();
    let mut daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a", "idle_timeout_ms": 100_000})).await;
    let mut stream = client.socket("/v1/runs/stream").await.expect("a WebSocket");
    stream.text(run(&["sh", "-c", "trap '' TERM; sleep 1000"])).await;
    stream.started().await;
    let _idle = client.raw(b"").await;
    let events = client.begin("GET", "/v1/events", "", b"").await;
    daemon.serving.stop(ShutdownMode::Kill);
    let exited = stream.exited().await;
    assert_eq!((&exited["cause"], &exited["exit_code"]), (&json!("shutdown"), &json!(null)));
    daemon.ended().await.expect("it ended well");
    assert_eq!(daemon.backend.living(), []);
    drop(events);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_ends_the_patience_of_a_drain() {
    let folder = folder();
    let mut daemon = Daemon::start(settings(folder.path())).await;
    let mut stream = daemon.client().socket("/v1/runs/stream").await.expect("a WebSocket");
    stream.text(run(&["sleep", "1000"])).await;
    stream.started().await;
    daemon.serving.stop(ShutdownMode::Drain);
    until("it refuses", async || daemon.client().post("/v1/runs", run(&["true"])).await.status == 503).await;
    daemon.serving.stop(ShutdownMode::Kill);
    assert_eq!(stream.exited().await["cause"], "shutdown");
    daemon.ended().await.expect("it ended well");
    assert_eq!(daemon.backend.living(), []);
}
