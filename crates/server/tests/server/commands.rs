//! Commands in a sandbox that lives on, in the foreground and in the background.

use std::time::Duration;

use agentkernel_api::ShutdownMode;
use serde_json::{Value, json};

use crate::client::Client;
use crate::daemon::{Daemon, command, create, folder, settings, until};

/// Starts a command in the background, and returns its PID.
async fn background(client: &Client, script: &str) -> u64 {
    let request = json!({"argv": ["sh", "-c", script], "background": true, "stdin": "pipe"});
    let info = client.post("/v1/sandboxes/a/exec", request).await.expect(201);
    assert_eq!((&info["state"], &info["background"]), (&json!("running"), &json!(true)));
    info["pid"].as_u64().expect("a PID")
}

async fn info(client: &Client, pid: u64) -> Value {
    client.get(&format!("/v1/sandboxes/a/processes/{pid}")).await.expect(200)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_keeps_its_files_from_command_to_command() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a", "env": {"A": "1"}})).await;
    let script = "echo $A$B >file; pwd";
    let request = json!({"argv": ["sh", "-c", script], "env": {"B": "2"}});
    let first = client.post("/v1/sandboxes/a/exec", request).await;
    assert!(first.header("server-timing").expect("Server-Timing").starts_with("exec;dur="));
    assert_eq!(first.expect(200)["cause"], Value::Null);
    let second = client.post("/v1/sandboxes/a/exec", command(&["cat", "file"])).await.expect(200);
    assert_eq!(second["stdout"], "12\n");
    let failing = client.post("/v1/sandboxes/a/exec", command(&["sh", "-c", "kill -9 $$"])).await.expect(200);
    assert_eq!((&failing["exit_code"], &failing["signal"]), (&Value::Null, &json!(9)));
    client.post("/v1/sandboxes/a/exec", command(&["/none"])).await.refused(422, "command_not_found");
    let root = json!({"argv": ["true"], "user": "root"});
    client.post("/v1/sandboxes/a/exec", root).await.refused(400, "usage");
    let piped = json!({"argv": ["cat"], "stdin": "pipe"});
    client.post("/v1/sandboxes/a/exec", piped).await.refused(400, "usage");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_time_is_up_ends_and_its_sandbox_lives_on() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let request = json!({"argv": ["sleep", "1000"], "timeout_ms": 100});
    let result = client.post("/v1/sandboxes/a/exec", request).await.expect(200);
    assert_eq!((&result["timed_out"], &result["cause"]), (&json!(true), &Value::Null));
    client.post("/v1/sandboxes/a/exec", command(&["true"])).await.expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_back_to_a_command_hears_what_he_missed_and_what_follows() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let pid = background(&client, "echo early; echo err >&2; read line; echo got $line; exit 4").await;
    until("it is in the log", async || client.get("/v1/sandboxes/a/logs").await.body.len() >= 10).await;
    let path = format!("/v1/sandboxes/a/processes/{pid}/stream");
    // One who leaves leaves it running.
    let mut first = client.socket(&path).await.expect("a WebSocket");
    first.started().await;
    first.stdout_of(6).await;
    drop(first);
    let mut second = client.socket(&path).await.expect("a WebSocket");
    assert_eq!(second.started().await["pid"], pid);
    assert_eq!(second.stdout_of(6).await, b"early\n");
    second.stdin(b"me\n").await;
    let exited = second.exited().await;
    assert_eq!(exited["exit_code"], 4);
    assert_eq!((&second.stdout[..], &second.stderr[..]), (&b"early\ngot me\n"[..], &b"err\n"[..]));
    // And who comes after its end hears all of it.
    let mut third = client.socket(&path).await.expect("a WebSocket");
    third.started().await;
    assert_eq!(third.exited().await["exit_code"], 4);
    assert_eq!(third.stdout, b"early\ngot me\n");
    let info = info(&client, pid).await;
    assert_eq!((&info["state"], &info["result"]["exit_code"]), (&json!("exited"), &json!(4)));
    let log = client.get(&format!("/v1/sandboxes/a/logs?pid={pid}")).await.body;
    assert_eq!(log.len(), b"early\ngot me\nerr\n".len());
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_nobody_listens_to_never_waits_and_its_log_has_a_limit() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.log_bytes = 200_000;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let pid = background(&client, "head -c 20000000 /dev/zero; echo; echo the end").await;
    until("it ended", async || info(&client, pid).await["state"] == "exited").await;
    assert_eq!(info(&client, pid).await["result"]["output_bytes"], 20_000_009);
    let log = client.get("/v1/sandboxes/a/logs").await.body;
    assert!(log.len() <= 200_000 && log.ends_with(b"\nthe end\n"), "{} bytes", log.len());
    let mut socket =
        client.socket(&format!("/v1/sandboxes/a/processes/{pid}/stream")).await.expect("a WebSocket");
    socket.started().await;
    assert!(socket.next().await["notice"].as_str().expect("a notice").contains("not remembered"));
    socket.exited().await;
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_be_followed_to_the_end_of_the_sandbox() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let mut follow = client.begin("GET", "/v1/sandboxes/a/logs?follow=true", "", b"").await;
    background(&client, "echo one").await;
    background(&client, "echo two").await;
    until("both are there", async || client.get("/v1/sandboxes/a/logs").await.body.len() == 8).await;
    client.delete("/v1/sandboxes/a").await.expect(204);
    let whole = tokio::time::timeout(Duration::from_secs(10), crate::client::read_reply(&mut follow)).await;
    assert_eq!(whole.expect("it ends").body.len(), 8);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_reach_commands_by_their_pid() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let pid = background(&client, "exec sleep 1000").await;
    let path = format!("/v1/sandboxes/a/processes/{pid}/signal");
    client.post(&path, json!({"number": 0})).await.refused(400, "usage");
    client.post(&path, json!({"number": 65})).await.refused(400, "usage");
    client.post("/v1/sandboxes/a/processes/1/signal", json!({"number": 9})).await.refused(404, "not_found");
    client.post(&path, json!({"number": 15, "group": true})).await.expect(204);
    until("it ended", async || info(&client, pid).await["state"] == "exited").await;
    assert_eq!(info(&client, pid).await["result"]["signal"], 15);
    let stats = client.get("/v1/sandboxes/a/stats").await.expect(200);
    assert_eq!((&stats["processes"], &stats["usage"]["memory_bytes"]), (&json!(0), &Value::Null));
    assert_eq!(client.get("/v1/sandboxes/a/posture").await.expect(200)["holds"], false);
    daemon.stop(ShutdownMode::Kill).await;
}
