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

#[tokio::test(flavor = "multi_thread")]
async fn the_store_is_one_whole_file_when_the_daemon_has_ended() {
    let folder = folder();
    let files = || {
        let names = std::fs::read_dir(folder.path()).expect("a folder");
        let names = names.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name.starts_with("daemon.db")).collect();
        names.sort();
        names
    };
    let daemon = Daemon::start(settings(folder.path())).await;
    create(&daemon.client(), json!({"name": "a"})).await;
    assert!(files().len() > 1, "it has no journal, and so proves nothing: {:?}", files());
    daemon.stop(ShutdownMode::Kill).await;
    assert_eq!(files(), ["daemon.db"]);
    // Nor does one that could not start after all leave any.
    let mut wrong = settings(folder.path());
    wrong.tcp = Some("192.0.2.1:1".parse().expect("an address"));
    let backend = std::sync::Arc::new(agentkernel_testkit::FakeBackend::new());
    assert!(Daemon::of(wrong, backend.clone(), backend).await.is_err());
    assert_eq!(files(), ["daemon.db"]);
}
