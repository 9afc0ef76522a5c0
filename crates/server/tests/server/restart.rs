//! What survives the daemon, and what is told of what does not.

use std::time::Duration;

use agentkernel_api::ShutdownMode;
use agentkernel_core::CauseOfDeath;
use agentkernel_testkit::{Fault, FaultyBackend};
use serde_json::json;

use crate::daemon::{Daemon, command, create, folder, run, settings, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_was_killed_leaves_its_sandboxes_to_the_next() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let sandbox = create(&client, json!({"name": "web", "labels": {"a": "b"}, "timeout_ms": 60_000})).await;
    let dead = create(&client, json!({"name": "dead"})).await;
    client.post("/v1/sandboxes/web/exec", command(&["sh", "-c", "echo kept >file"])).await.expect(200);
    let script = "read line; echo got $line; exec sleep 1000";
    let background = json!({"argv": ["sh", "-c", script], "background": true, "stdin": "pipe"});
    let pid = client.post("/v1/sandboxes/web/exec", background).await.expect(201)["pid"].clone();
    create(&client, json!({"name": "paused"})).await;
    client.post("/v1/sandboxes/paused/pause", json!({})).await.expect(200);
    let mut lost = client.socket("/v1/runs/stream").await.expect("a WebSocket");
    lost.text(run(&["sleep", "1000"])).await;
    lost.started().await;
    let backend = daemon.crash().await;
    until("the run went with it", async || backend.living().len() == 3).await;
    let dead_name = dead["host_name"].as_str().expect("a name").parse().expect("a name");
    let ender = backend.clone();
    tokio::task::spawn_blocking(move || ender.end(&dead_name, CauseOfDeath::Killed)).await.expect("ended");

    let daemon = Daemon::with(settings(folder.path()), backend).await;
    let client = daemon.client();
    let back = client.get("/v1/sandboxes/web").await.expect(200);
    for same in ["id", "name", "owner", "labels", "limits", "host_name", "created_ms", "state"] {
        assert_eq!(back[same], sandbox[same], "{same}");
    }
    let moved = back["deadline_ms"]
        .as_u64()
        .expect("a time")
        .abs_diff(sandbox["deadline_ms"].as_u64().expect("a time"));
    assert!(moved < 100, "the deadline moved by {moved} ms");
    let kept = client.post("/v1/sandboxes/web/exec", command(&["cat", "file"])).await.expect(200);
    assert_eq!(kept["stdout"], "kept\n");
    let mut socket =
        client.socket(&format!("/v1/sandboxes/web/processes/{pid}/stream")).await.expect("a WebSocket");
    socket.started().await;
    socket.stdin(b"me\n").await;
    assert_eq!(socket.stdout_of(7).await, b"got me\n");
    let gone = client.get("/v1/sandboxes/dead").await.refused(410, "gone");
    assert_eq!(gone["sandbox"]["cause"], "boundary_crashed");
    assert_eq!(gone["sandbox"]["detail"], "the daemon was restarted and the sandbox had ended");
    assert_eq!(client.get("/v1/sandboxes/paused").await.expect(200)["state"], "paused");
    client.post("/v1/sandboxes/paused/resume", json!({})).await.expect(200);
    client.post("/v1/sandboxes/paused/exec", command(&["true"])).await.expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn time_goes_on_while_nobody_is_there() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "short", "timeout_ms": 500})).await;
    create(&client, json!({"name": "long", "timeout_ms": 60_000})).await;
    let backend = daemon.crash().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    let daemon = Daemon::with(settings(folder.path()), backend).await;
    let client = daemon.client();
    until("its time was up", async || {
        client.get("/v1/sandboxes/short").await.json()["error"]["sandbox"]["cause"] == "timeout"
    })
    .await;
    client.get("/v1/sandboxes/long").await.expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_outlives_the_daemon_the_end_is_told() {
    let folder = folder();
    let backend = std::sync::Arc::new(agentkernel_testkit::FakeBackend::new());
    // The fault does nothing here.
    let faulty = || std::sync::Arc::new(FaultyBackend::new(backend.clone(), Fault::WrongTimes).mortal());
    let daemon = Daemon::of(settings(folder.path()), faulty(), backend.clone()).await.expect("it serves");
    create(&daemon.client(), json!({"name": "web"})).await;
    daemon.crash().await;
    until("it went with the daemon", async || backend.living().is_empty()).await;
    let daemon = Daemon::of(settings(folder.path()), faulty(), backend).await.expect("it serves");
    let gone = daemon.client().get("/v1/sandboxes/web").await.refused(410, "gone");
    assert_eq!(gone["sandbox"]["cause"], "boundary_crashed");
    create(&daemon.client(), json!({"name": "web"})).await;
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_new_sandboxes_and_leaves_nothing_half_done() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "before"})).await;
    let booted = async || client.get("/v1/pools").await.expect(200)["pools"][0]["total"]["misses"].clone();
    let before = booted().await;
    fill(folder.path());
    let error = client.post("/v1/sandboxes", json!({"name": "web"})).await.refused(507, "store_failed");
    assert!(error["hint"].as_str().expect("a hint").contains("disk"));
    assert_eq!(booted().await, before, "one was booted that could not be written down");
    assert_eq!(daemon.backend.living().len(), 1);
    assert_eq!(client.get("/v1/health").await.expect(200)["status"], "store_failing");
    // What needs no store goes on, and an end is told though it cannot be written down.
    client.post("/v1/runs", run(&["true"])).await.expect(200);
    client.post("/v1/sandboxes/before/exec", command(&["true"])).await.expect(200);
    client.delete("/v1/sandboxes/before").await.expect(204);
    client.get("/v1/sandboxes/before").await.refused(410, "gone");
    until("nothing is left", async || daemon.backend.living().is_empty()).await;
    empty(folder.path());
    create(&client, json!({"name": "web"})).await;
    assert_eq!(client.get("/v1/health").await.expect(200)["status"], "ok");
    daemon.stop(ShutdownMode::Kill).await;
}

/// As if the disk were full: the store may not grow by a page.
fn fill(folder: &std::path::Path) {
    at_most(
        folder,
        "CREATE TRIGGER full BEFORE INSERT ON sandboxes BEGIN SELECT RAISE(FAIL, 'database or disk is full'); END",
    );
}

fn empty(folder: &std::path::Path) {
    at_most(folder, "DROP TRIGGER full");
}

fn at_most(folder: &std::path::Path, sentence: &str) {
    let connection = rusqlite::Connection::open(folder.join("daemon.db")).expect("opened");
    connection.execute_batch(sentence).expect("done");
}

#[tokio::test(flavor = "multi_thread")]
async fn history_is_kept_and_has_an_end() {
    let folder = folder();
    let mut limited = settings(folder.path());
    limited.limits.history_max = 3;
    let daemon = Daemon::start(limited.clone()).await;
    for name in ["a", "b", "c", "d", "e"] {
        create(&daemon.client(), json!({"name": name})).await;
        daemon.client().delete(&format!("/v1/sandboxes/{name}")).await.expect(204);
    }
    daemon.stop(ShutdownMode::Kill).await;
    let daemon = Daemon::start(limited).await;
    let all = daemon.client().get("/v1/sandboxes?all=true").await.expect(200);
    let names: Vec<_> = all["sandboxes"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["c", "d", "e"]);
    daemon.client().get("/v1/sandboxes/b").await.refused(404, "no_such_sandbox");
    daemon.client().get("/v1/sandboxes/c").await.refused(410, "gone");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_cannot_be_read_keeps_the_daemon_from_serving() {
    let folder = folder();
    std::fs::write(folder.path().join("daemon.db"), vec![b'x'; 8192]).expect("written");
    let backend = std::sync::Arc::new(agentkernel_testkit::FakeBackend::new());
    let error = Daemon::of(settings(folder.path()), backend.clone(), backend).await.err().expect("refused");
    assert!(error.subject.ends_with("daemon.db") && error.hint.is_some(), "{error}");
}
