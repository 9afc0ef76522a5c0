//! Sandboxes in use that are kept, and others that go on from there.

use std::collections::BTreeSet;

use agentkernel_api::ShutdownMode;
use agentkernel_core::Backend as _;
use serde_json::{Value, json};

use crate::client::Client;
use crate::daemon::{Daemon, command, create, folder, settings, until};

/// Writes a file that tells whose past a sandbox has.
async fn write(client: &Client, name: &str, content: &str) {
    let script = format!("echo {content} > file");
    let path = format!("/v1/sandboxes/{name}/exec");
    client.post(&path, command(&["sh", "-c", &script])).await.expect(200);
}

async fn read(client: &Client, name: &str) -> Value {
    let path = format!("/v1/sandboxes/{name}/exec");
    client.post(&path, command(&["cat", "file"])).await.expect(200)["stdout"].clone()
}

fn names(list: &Value) -> Vec<&str> {
    let sandboxes = list["sandboxes"].as_array().expect("a list");
    sandboxes.iter().map(|sandbox| sandbox["name"].as_str().expect("a name")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_is_taken_found_gone_on_from_and_removed() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let labels = json!({"kind": "a"});
    create(&client, json!({"name": "web", "memory": "64M", "labels": labels, "env": {"WHO": "parent"}}))
        .await;
    write(&client, "web", "past").await;
    let kept = client.post("/v1/sandboxes/web/snapshots", json!({"name": "one"})).await.expect(201);
    assert_eq!(
        (&kept["name"], &kept["sandbox"], &kept["backend"]),
        (&json!("one"), &json!("web"), &json!("fake"))
    );
    client.post("/v1/sandboxes/web/snapshots", json!({"name": "one"})).await.refused(409, "name_taken");
    client.post("/v1/sandboxes/web/snapshots", json!({"name": "../one"})).await.refused(400, "usage");
    write(&client, "web", "present").await;
    let drawn = client.post("/v1/sandboxes/web/snapshots", json!({})).await.expect(201)["name"].clone();
    let listed = client.get("/v1/snapshots").await.expect(200);
    let listed: Vec<_> =
        listed["snapshots"].as_array().expect("a list").iter().map(|one| &one["name"]).collect();
    assert_eq!(listed, [&json!("one"), &drawn]);

    let request = json!({"name": "again", "labels": {"kind": "b"}, "timeout_ms": 60_000});
    let again = client.post("/v1/snapshots/one/sandboxes", request).await.expect(201);
    assert_eq!(
        (&again["name"], &again["origin"], &again["state"]),
        (&json!("again"), &json!("restored"), &json!("running"))
    );
    assert_eq!((&again["limits"]["memory"], &again["labels"]["kind"]), (&json!("64M"), &json!("b")));
    assert!(again["deadline_ms"].is_u64() && again["reason"] == "it keeps the snapshot one");
    assert_eq!(again["renewal"]["random_sample"].as_str().expect("evidence").len(), 32);
    assert_eq!(
        (read(&client, "again").await, read(&client, "web").await),
        (json!("past\n"), json!("present\n"))
    );
    let who = client.post("/v1/sandboxes/again/exec", command(&["sh", "-c", "echo $WHO"])).await.expect(200);
    assert_eq!(who["stdout"], "parent\n", "what was asked of the one holds for the other");

    client.delete("/v1/snapshots/one").await.expect(204);
    client.delete("/v1/snapshots/one").await.refused(404, "not_found");
    client.post("/v1/snapshots/one/sandboxes", json!({})).await.refused(404, "not_found");
    assert_eq!(read(&client, "again").await, "past\n", "it is not concerned");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forks_are_made_all_or_none_and_leave_no_snapshot() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let (client, backend) = (daemon.client(), daemon.backend.clone());
    create(&client, json!({"name": "web"})).await;
    write(&client, "web", "past").await;
    let none_left = async || backend.snapshots().await.expect("listed").is_empty();
    let forks = client
        .post("/v1/sandboxes/web/fork", json!({"count": 12, "each": {"name": "try"}}))
        .await
        .expect(201);
    let expected: Vec<_> = (1..=12).map(|number| format!("try-{number}")).collect();
    assert_eq!(names(&forks), expected);
    for name in &expected {
        assert_eq!(read(&client, name).await, "past\n");
    }
    until("the snapshot is gone", none_left).await;
    let one = client.post("/v1/sandboxes/web/fork", json!({"each": {"name": "other"}})).await.expect(201);
    assert_eq!(names(&one), ["other"]);
    assert_eq!(client.get("/v1/snapshots").await.expect(200)["snapshots"], json!([]));

    // One of them cannot be.
    client
        .post("/v1/sandboxes/web/fork", json!({"count": 12, "each": {"name": "try"}}))
        .await
        .refused(409, "name_taken");
    create(&client, json!({"name": "new-3"})).await;
    client
        .post("/v1/sandboxes/web/fork", json!({"count": 5, "each": {"name": "new"}}))
        .await
        .refused(409, "name_taken");
    until("what was made is gone", async || backend.living().len() == 15).await;
    until("the snapshot is gone", none_left).await;
    for wrong in
        [json!({"count": 0}), json!({"count": 257}), json!({"each": {"name": "A"}}), json!({"memory": "1G"})]
    {
        client.post("/v1/sandboxes/web/fork", wrong).await.refused(400, "usage");
    }
    client.post("/v1/sandboxes/web/pause", json!({})).await.expect(200);
    client.post("/v1/sandboxes/web/fork", json!({})).await.refused(409, "conflict");
    client.post("/v1/sandboxes/web/snapshots", json!({})).await.refused(409, "conflict");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_fork_of_a_killed_daemon_left_is_removed_by_the_next_and_nothing_else_is() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "web"})).await;
    client.post("/v1/sandboxes/web/snapshots", json!({"name": "mine"})).await.expect(201);
    // As the daemon writes it, in the moment before its forks are made.
    let owner = client.get("/v1/sandboxes/web").await.expect(200)["owner"].clone();
    let about = |by: &std::path::Path| {
        json!({"owner": owner, "sandbox": "web", "request": {}, "fork_by": by}).to_string()
    };
    let another = tempfile::tempdir().expect("a folder");
    let (ours, gone) =
        (about(&folder.path().canonicalize().expect("there")), about("/nonexistent/daemon".as_ref()));
    let (theirs, strange) = (about(another.path()), "what others write".to_owned());
    let spec = agentkernel_core::SandboxSpec::builder(
        "of-nobody".parse().expect("a name"),
        agentkernel_core::Profile::Restrictive,
    );
    let booted = daemon.backend.boot(&spec.build().expect("sound")).await.expect("booted");
    for (name, about) in [("left", ours), ("gone", gone), ("being-made", theirs), ("of-others", strange)] {
        booted.sandbox.snapshot(&name.parse().expect("a name"), &about).await.expect("taken");
    }
    drop(booted);
    let backend = daemon.crash().await;
    let daemon = Daemon::with(settings(folder.path()), backend.clone()).await;
    let left = backend.snapshots().await.expect("listed");
    let left: BTreeSet<_> = left.iter().map(|info| info.name.as_str()).collect();
    assert_eq!(
        left,
        BTreeSet::from(["being-made", "mine", "of-others"]),
        "another daemon may be making forks"
    );
    let listed = daemon.client().get("/v1/snapshots").await.expect(200);
    assert_eq!(listed["snapshots"].as_array().expect("a list").len(), 1, "what others took is theirs");
    daemon.stop(ShutdownMode::Kill).await;
}
