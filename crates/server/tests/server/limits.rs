//! Every limit that can be reached says so, and nothing is half done.

use std::time::Duration;

use agentkernel_api::ShutdownMode;
use agentkernel_core::ByteSize;
use serde_json::json;

use crate::client::{Client, Reply};
use crate::daemon::{Daemon, command, create, folder, run, settings, until};

/// That a limit was reached, and when to come again.
fn busy(reply: &Reply) {
    reply.refused(429, "busy");
    assert!(reply.header("retry-after").expect("Retry-After").parse::<u64>().expect("seconds") >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_may_have_so_many_sandboxes_and_runs_count() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.sandboxes_per_owner = 2;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    create(&client, json!({"name": "b"})).await;
    busy(&client.post("/v1/sandboxes", json!({})).await);
    busy(&client.post("/v1/runs", run(&["true"])).await);
    client.delete("/v1/sandboxes/a").await.expect(204);
    client.post("/v1/runs", run(&["true"])).await.expect(200);
    until("only the other is left", async || daemon.backend.living().len() == 1).await;
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_owners_together_may_have_so_many_too() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.sandboxes_max = 1;
    let daemon = Daemon::start(settings).await;
    create(&daemon.client(), json!({})).await;
    busy(&daemon.client().post("/v1/sandboxes", json!({})).await);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_promised_up_to_a_multiple_of_what_is_there() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.memory_promised_percent = 100;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    create(&client, json!({"name": "a", "memory": "unlimited"})).await;
    busy(&client.post("/v1/sandboxes", json!({"memory": "64M"})).await);
    client.delete("/v1/sandboxes/a").await.expect(204);
    create(&client, json!({"memory": "64M"})).await;
    busy(&client.post("/v1/sandboxes", json!({"memory": "unlimited"})).await);
    busy(&client.post("/v1/sandboxes", json!({"memory": "1000T"})).await);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_runs_short_takes_nothing_new() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.memory_reserve = ByteSize::mib(1 << 30);
    let daemon = Daemon::start(settings).await;
    busy(&daemon.client().post("/v1/runs", run(&["true"])).await);
    assert_eq!(daemon.backend.living(), []);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_of_those_being_made_has_an_end() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.queue_max = 0;
    let daemon = Daemon::start(settings).await;
    busy(&daemon.client().post("/v1/runs", run(&["true"])).await);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_kept_as_far_as_there_is_room_for_all() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.output_bytes = 64 << 10;
    settings.limits.output_bytes_total = 100 << 10;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let made = json!({"argv": ["mkfifo", "pipe"], "output_limit": 1});
    client.post("/v1/sandboxes/a/exec", made).await.expect(200);
    let second = tokio::spawn({
        let client = client.clone();
        async move { client.post("/v1/sandboxes/a/exec", command(&["cat", "pipe"])).await }
    });
    until("it waits", async || running(&client).await == 1).await;
    busy(&client.post("/v1/sandboxes/a/exec", command(&["true"])).await);
    let small = json!({"argv": ["sh", "-c", "echo x >pipe"], "output_limit": 1024});
    client.post("/v1/sandboxes/a/exec", small).await.expect(200);
    assert_eq!(second.await.expect("no panic").expect(200)["stdout"], "x\n");
    let too_much = json!({"argv": ["true"], "output_limit": 65 << 10});
    client.post("/v1/sandboxes/a/exec", too_much).await.refused(400, "usage");
    daemon.stop(ShutdownMode::Kill).await;
}

/// Room is taken as output comes, and not for all that might.
#[tokio::test(flavor = "multi_thread")]
async fn many_that_say_little_need_little_room_and_one_that_finds_none_is_ended() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.output_bytes_total = 1 << 20;
    settings.limits.output_wait = Duration::from_millis(200);
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let commands = (0..10).map(|_| {
        let client = client.clone();
        tokio::spawn(async move {
            client.post("/v1/sandboxes/a/exec", command(&["sh", "-c", "sleep 0.2; echo x"])).await
        })
    });
    for said in commands.collect::<Vec<_>>() {
        assert_eq!(said.await.expect("no panic").expect(200)["stdout"], "x\n");
    }
    let all = command(&["head", "-c", "600000", "/dev/zero"]);
    client.post("/v1/sandboxes/a/exec", all).await.expect(200);
    let too_much = command(&["head", "-c", "2000000", "/dev/zero"]);
    busy(&client.post("/v1/sandboxes/a/exec", too_much).await);
    client.post("/v1/sandboxes/a/exec", command(&["true"])).await.expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}

/// How many commands run in the sandbox.
async fn running(client: &Client) -> usize {
    let all = client.get("/v1/sandboxes/a/processes").await.expect(200);
    all.as_array().expect("a list").iter().filter(|one| one["state"] == "running").count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_may_have_so_many_commands() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.processes_per_sandbox = 1;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let request = json!({"argv": ["sleep", "1000"], "background": true});
    let pid = client.post("/v1/sandboxes/a/exec", request.clone()).await.expect(201)["pid"].clone();
    busy(&client.post("/v1/sandboxes/a/exec", command(&["true"])).await);
    busy(&client.post("/v1/sandboxes/a/exec", request).await);
    client.post(&format!("/v1/sandboxes/a/processes/{pid}/signal"), json!({"number": 9})).await.expect(204);
    until("there is room", async || {
        client.post("/v1/sandboxes/a/exec", command(&["true"])).await.status == 200
    })
    .await;
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_idle_connections_keep_nobody_out() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(client.raw(b"").await);
    }
    client.post("/v1/runs", run(&["true"])).await.expect(200);
    let metrics = String::from_utf8(client.get("/metrics").await.body).expect("text");
    let line = metrics.lines().find(|line| line.starts_with("agentkernel_connections ")).expect("counted");
    assert!(line.trim_start_matches("agentkernel_connections ").parse::<u64>().expect("a number") >= 1001);
    drop(idle);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_limit_wait_for_their_turn() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.connections_max = 2;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    let (one, two) = (client.raw(b"").await, client.raw(b"").await);
    let third = tokio::spawn({
        let client = client.clone();
        async move { client.get("/v1/health").await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!third.is_finished());
    drop((one, two));
    third.await.expect("no panic").expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}
