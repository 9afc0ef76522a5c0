//! Every state of a sandbox, and every cause of its death.

use std::time::Duration;

use agentkernel_api::ShutdownMode;
use agentkernel_core::CauseOfDeath;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::client::Client;
use crate::daemon::{Daemon, command, create, folder, run, settings, until};

/// What is told of a sandbox that must have ended.
async fn ended(client: &Client, id: &str) -> Value {
    until("it ended", async || client.get(&format!("/v1/sandboxes/{id}")).await.status == 410).await;
    let path = format!("/v1/sandboxes/{id}");
    until("its end is told", async || client.get(&path).await.json()["error"]["sandbox"]["state"] == "ended")
        .await;
    client.get(&path).await.refused(410, "gone")["sandbox"].clone()
}

fn id(sandbox: &Value) -> &str {
    sandbox["id"].as_str().expect("an id")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_goes_through_its_states() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let labels = json!({"for": "a test"});
    let sandbox = create(&client, json!({"name": "web", "memory": "64M", "labels": labels})).await;
    assert_eq!((&sandbox["state"], &sandbox["name"]), (&json!("running"), &json!("web")));
    assert_eq!((&sandbox["labels"], &sandbox["limits"]["memory"]), (&labels, &json!("64M")));
    assert_eq!(client.get("/v1/sandboxes/web").await.expect(200), sandbox);
    assert_eq!(client.get(&format!("/v1/sandboxes/{}", id(&sandbox))).await.expect(200), sandbox);
    let again = client.post("/v1/sandboxes", json!({"name": "web"})).await;
    again.refused(409, "name_taken");
    let post = |what: &str| {
        let (client, path) = (client.clone(), format!("/v1/sandboxes/web/{what}"));
        async move { client.post(&path, json!({})).await.expect(200)["state"].clone() }
    };
    assert_eq!(post("pause").await, "paused");
    assert_eq!(post("pause").await, "paused");
    client.post("/v1/sandboxes/web/exec", command(&["true"])).await.refused(409, "conflict");
    assert_eq!(post("resume").await, "running");
    assert_eq!(post("start").await, "running");
    client.post("/v1/sandboxes/web/exec", command(&["true"])).await.expect(200);
    assert_eq!(post("stop").await, "ended");
    assert_eq!(daemon.backend.living(), []);
    client.post("/v1/sandboxes/web/exec", command(&["true"])).await.refused(410, "gone");
    client.post("/v1/sandboxes/web/pause", json!({})).await.refused(410, "gone");
    client.post("/v1/sandboxes/web/stop", json!({})).await.refused(410, "gone");
    assert_eq!(ended(&client, "web").await["cause"], "killed");
    assert_eq!(post("start").await, "running");
    assert_eq!(client.get("/v1/sandboxes/web").await.expect(200)["id"], sandbox["id"]);
    client.delete("/v1/sandboxes/web").await.expect(204);
    client.get("/v1/sandboxes/web").await.refused(410, "gone");
    client.delete("/v1/sandboxes/web").await.expect(204);
    client.get("/v1/sandboxes/web").await.refused(404, "no_such_sandbox");
    client.delete("/v1/sandboxes/web").await.refused(404, "no_such_sandbox");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_cause_is_told_as_it_is() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    for (cause, word) in [
        (CauseOfDeath::OutOfMemory, "out_of_memory"),
        (CauseOfDeath::BoundaryCrashed, "boundary_crashed"),
        (CauseOfDeath::HostPressure, "host_pressure"),
    ] {
        let sandbox = create(&client, json!({})).await;
        let name = sandbox["host_name"].as_str().expect("a name").parse().expect("a name");
        let backend = daemon.backend.clone();
        tokio::task::spawn_blocking(move || backend.end(&name, cause)).await.expect("ended");
        assert_eq!(ended(&client, id(&sandbox)).await["cause"], word);
    }
    let timeout = create(&client, json!({"timeout_ms": 200})).await;
    assert_eq!(ended(&client, id(&timeout)).await["cause"], "timeout");
    let idle = create(&client, json!({"idle_timeout_ms": 200})).await;
    assert_eq!(ended(&client, id(&idle)).await["cause"], "idle");
    let run = client.post("/v1/runs", run(&["true"])).await.expect(200);
    assert_eq!(ended(&client, run["sandbox"].as_str().expect("an id")).await["cause"], "exited");
    let killed = create(&client, json!({})).await;
    client.delete(&format!("/v1/sandboxes/{}", id(&killed))).await.expect(204);
    let all = client.get("/v1/sandboxes?all=true").await.expect(200);
    let causes: Vec<_> =
        all["sandboxes"].as_array().expect("a list").iter().map(|one| &one["cause"]).collect();
    let expected =
        ["out_of_memory", "boundary_crashed", "host_pressure", "timeout", "idle", "exited", "killed"];
    assert_eq!(causes, expected);
    let text = String::from_utf8(client.get("/metrics").await.body).expect("text");
    for word in expected {
        let line = format!("agentkernel_sandboxes_ended_total{{cause=\"{word}\"}} 1\n");
        assert!(text.contains(&line), "{line}{text}");
    }
    assert!(
        client.get("/v1/sandboxes").await.expect(200)["sandboxes"].as_array().expect("a list").is_empty()
    );
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_is_used_is_not_idle() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let sandbox = create(&client, json!({"name": "a", "idle_timeout_ms": 150})).await;
    let long = client.post("/v1/sandboxes/a/exec", command(&["sleep", "0.5"])).await.expect(200);
    assert_eq!((&long["exit_code"], &long["cause"]), (&json!(0), &Value::Null));
    let background = json!({"argv": ["sleep", "0.5"], "background": true});
    client.post("/v1/sandboxes/a/exec", background).await.expect(201);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(client.get("/v1/sandboxes/a").await.expect(200)["state"], "running");
    assert_eq!(ended(&client, id(&sandbox)).await["cause"], "idle");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_can_be_moved_and_ends_what_runs() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a", "timeout_ms": 400})).await;
    let longer = json!({"timeout_ms": 60_000});
    let told = client.post("/v1/sandboxes/a/timeout", longer).await.expect(200);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let sandbox = client.get("/v1/sandboxes/a").await.expect(200);
    assert_eq!((&sandbox["state"], &sandbox["deadline_ms"]), (&json!("running"), &told["deadline_ms"]));
    let exec = tokio::spawn({
        let client = client.clone();
        async move { client.post("/v1/sandboxes/a/exec", command(&["sleep", "1000"])).await.expect(200) }
    });
    until("it runs", async || {
        let all = client.get("/v1/sandboxes/a/processes").await.expect(200);
        all.as_array().is_some_and(|all| !all.is_empty())
    })
    .await;
    client.post("/v1/sandboxes/a/timeout", json!({"timeout_ms": 100})).await.expect(200);
    let result = exec.await.expect("no panic");
    assert_eq!((&result["cause"], &result["timed_out"]), (&json!("timeout"), &json!(true)));
    assert_eq!(result["exit_code"], Value::Null);
    for wrong in [json!({"timeout_ms": 0}), json!({"timeout_ms": u64::MAX}), json!({"timeout_ms": -1})] {
        create(&client, json!({"name": "b"})).await;
        client.post("/v1/sandboxes/b/timeout", wrong).await.refused(400, "usage");
        client.delete("/v1/sandboxes/b").await.expect(204);
    }
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_as_it_happens_and_to_its_owner() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let mut events = client.begin("GET", "/v1/events", "", b"").await;
    let mut text = String::new();
    hear(&mut events, &mut text, ": listening").await;
    create(&client, json!({"name": "web"})).await;
    client.post("/v1/sandboxes/web/exec", command(&["true"])).await.expect(200);
    client.delete("/v1/sandboxes/web").await.expect(204);
    hear(&mut events, &mut text, "\"state\":\"ended\"").await;
    let told: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("an event"))
        .collect();
    let kinds: Vec<_> = told
        .iter()
        .map(|event| (event["kind"].as_str().expect("a kind"), event["state"].as_str().expect("a state")))
        .collect();
    let expected = [
        ("state", "creating"),
        ("state", "running"),
        ("started", "running"),
        ("exited", "running"),
        ("state", "stopping"),
        ("state", "ended"),
    ];
    assert_eq!(kinds, expected);
    daemon.stop(ShutdownMode::Kill).await;
}

async fn hear(wire: &mut Box<dyn crate::client::Wire>, text: &mut String, until: &str) {
    let mut buffer = [0; 4096];
    while !text.contains(until) {
        let read = tokio::time::timeout(Duration::from_secs(20), wire.read(&mut buffer)).await;
        let length = read.expect("something in time").expect("no error");
        assert!(length > 0, "the end, after {text}");
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_as_soon_as_it_has_ended_stays_forgotten() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    for _ in 0..30 {
        let sandbox = create(&client, json!({"timeout_ms": 1})).await;
        let path = format!("/v1/sandboxes/{}", id(&sandbox));
        while client.get(&path).await.json()["error"]["sandbox"]["state"] != "ended" {}
        client.delete(&path).await.expect(204);
    }
    assert_eq!(client.get("/v1/sandboxes?all=true").await.expect(200)["sandboxes"], json!([]));
    daemon.stop(ShutdownMode::Kill).await;
}
