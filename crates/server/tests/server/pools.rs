//! Warm sandboxes are used, told, and never used twice.

use agentkernel_api::ShutdownMode;
use agentkernel_core::ByteSize;
use agentkernel_pool::PoolSettings;
use agentkernel_server::ServeSettings;
use serde_json::{Value, json};

use crate::client::Client;
use crate::daemon::{Daemon, create, folder, run, settings, until};

async fn warm(client: &Client) -> u64 {
    client.get("/v1/pools").await.expect(200)["pools"][0]["warm"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_and_sandboxes_come_from_the_pool_and_say_so() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.pool = PoolSettings::default();
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    let set = json!({"low": 2, "high": 2});
    let stats = client.put("/v1/pools", "application/json", set.to_string().as_bytes()).await.expect(200);
    assert_eq!(
        (&stats["pools"][0]["keys"][0]["low"], &stats["pools"][0]["backend"]),
        (&json!(2), &json!("fake"))
    );
    until("they are warm", async || warm(&client).await == 2).await;
    let before = daemon.backend.living();
    let result = client.post("/v1/runs", run(&["true"])).await.expect(200);
    assert_eq!(result["origin"], "warm");
    assert!(result["phases"]["acquire_ns"].is_u64() && result["phases"]["boot_ns"] == Value::Null);
    let sandbox = create(&client, json!({"memory": "64M", "timeout_ms": 60_000})).await;
    assert_eq!((&sandbox["origin"], &sandbox["limits"]["memory"]), (&json!("warm"), &json!("64M")));
    assert_eq!(sandbox["warning"], "it isolates nothing");
    assert_ne!(sandbox["host_name"], sandbox["id"]);
    // Whoever was used once is never used again.
    until("they are warm again", async || warm(&client).await == 2).await;
    let after = daemon.backend.living();
    let again = before.iter().filter(|name| after.contains(name)).count();
    assert!(again <= 1, "{before:?} and {after:?}");
    let mounted = json!({"sandbox": {"disk": "3M"}, "command": {"argv": ["true"]}});
    assert_eq!(client.post("/v1/runs", mounted).await.expect(200)["origin"], "cold");
    let drained = client.post("/v1/pools/drain", json!({})).await.expect(200);
    assert!(drained["stopped"].as_u64().expect("a number") >= 2);
    daemon.stop(ShutdownMode::Drain).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    for wrong in [
        json!({"low": 2, "high": 1}),
        json!({"low": 1}),
        json!({"low": -1, "high": 1}),
        json!({"low": 1, "high": 1, "sandbox": {"memory": "unlimited"}}),
        json!({"low": 1, "high": 1, "sandbox": {"memroy": "1M"}}),
    ] {
        client.put("/v1/pools", "application/json", wrong.to_string().as_bytes()).await.refused(400, "usage");
    }
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_there_is_room_for_is_not_promised() {
    let folder = folder();
    let settings = ServeSettings {
        pool: PoolSettings { warm_max: 3, memory_max: ByteSize::mib(1024), ..PoolSettings::default() },
        ..settings(folder.path())
    };
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    let set = async |low: u32, profile: &str| {
        let request = json!({"low": low, "high": 9, "sandbox": {"profile": profile}}).to_string();
        client.put("/v1/pools", "application/json", request.as_bytes()).await
    };
    // 512 MiB each, and 2 GiB.
    set(2, "restrictive").await.expect(200);
    set(3, "restrictive").await.refused(400, "usage");
    set(0, "moderate").await.expect(200);
    let text = set(1, "moderate").await.refused(400, "usage").to_string();
    assert!(text.contains("low") && text.contains("1024 MiB") && text.contains("--pool 1..1"), "{text}");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_warm_from_the_start_is_set_before_anybody_can_ask() {
    let folder = folder();
    let with = |sandbox: agentkernel_api::SandboxRequest| {
        let warm = agentkernel_api::PoolRequest { sandbox, low: 2, high: 3 };
        let pool = PoolSettings::default();
        agentkernel_server::ServeSettings { pool, warm: Some(warm), ..settings(folder.path()) }
    };
    let daemon = Daemon::start(with(agentkernel_api::SandboxRequest::default())).await;
    let pools = daemon.client().get("/v1/pools").await.expect(200);
    let key = &pools["pools"][0]["keys"][0];
    assert_eq!((&key["low"], &key["high"]), (&json!(2), &json!(3)), "{pools}");
    daemon.stop(ShutdownMode::Kill).await;
    let unlimited =
        agentkernel_api::SandboxRequest { memory: Some("unlimited".into()), ..Default::default() };
    let backend = std::sync::Arc::new(agentkernel_testkit::FakeBackend::new());
    let refused = Daemon::of(with(unlimited), backend.clone(), backend).await.map(drop).expect_err("refused");
    assert!(refused.why.contains("unlimited"), "{refused}");
}
