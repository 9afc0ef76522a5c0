//! One command in a sandbox of its own.

use std::time::Duration;

use agentkernel_api::ShutdownMode;
use serde_json::{Value, json};

use crate::daemon::{Daemon, create, folder, run, settings, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_returns_exit_code_both_streams_and_phases() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let request = run(&["sh", "-c", "echo out; echo err >&2; exit 7"]);
    let reply = daemon.client().post("/v1/runs", request).await;
    let result = reply.expect(200);
    assert_eq!(result["exit_code"], 7);
    assert_eq!((&result["stdout"], &result["stderr"]), (&json!("out\n"), &json!("err\n")));
    assert_eq!((&result["cause"], &result["timed_out"]), (&json!("exited"), &json!(false)));
    assert_eq!(result["origin"], "cold");
    let phases = &result["phases"];
    let parts = ["queue_ns", "acquire_ns", "boot_ns", "ready_ns", "exec_ns", "stop_ns", "residual_ns"];
    let sum: u64 = parts.iter().filter_map(|part| phases[part].as_u64()).sum();
    assert_eq!(Some(sum), phases["total_ns"].as_u64(), "{phases}");
    assert_eq!(phases["acquire_ns"], Value::Null);
    let timing = reply.header("server-timing").expect("Server-Timing");
    assert!(timing.contains("exec;dur=") && timing.contains("total;dur="), "{timing}");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn words_variables_and_output_are_bytes() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let script = r#"printf '%s|' "$@"; printf '%s' "$A$B""#;
    let argv = json!(["sh", "-c", script, "sh", "a b", "", {"base64": "/w=="}, "$(x)'\""]);
    let request = json!({
        "sandbox": {"env": {"A": "of the sandbox", "B": "1"}},
        "command": {"argv": argv, "env": {"A": {"base64": "/v8="}}}
    });
    let result = daemon.client().post("/v1/runs", request).await.expect(200);
    let word: agentkernel_api::Word = serde_json::from_value(result["stdout"].clone()).expect("a word");
    assert_eq!(word.as_bytes(), b"a b||\xff|$(x)'\"|\xfe\xff1");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_cannot_be_run_is_an_error_and_not_an_exit_code() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    client.post("/v1/runs", run(&["/no/such/program"])).await.refused(422, "command_not_found");
    client.post("/v1/runs", run(&["/etc"])).await.refused(422, "command_not_executable");
    client.post("/v1/runs", run(&[])).await.refused(400, "usage");
    client.post("/v1/runs", run(&[""])).await.refused(400, "usage");
    client.post("/v1/runs", json!({"command": {"argv": ["a\u{0}b"]}})).await.refused(400, "usage");
    for wrong in ["memory", "cpus", "pids", "disk", "profile", "backend", "image", "user", "name"] {
        let request = json!({"sandbox": {wrong: "?!"}, "command": {"argv": ["true"]}});
        let error = client.post("/v1/runs", request).await.refused(400, "usage");
        assert_eq!(error["subject"], format!("sandbox.{wrong}"));
    }
    until("nothing is left", async || daemon.backend.living().is_empty()).await;
    daemon.stop(ShutdownMode::Kill).await;
}

/// Whether what a run left is still there when it has been answered long ago, while others use the daemon all the time.
async fn is_left_in_a_crowd(daemon: &Daemon) -> bool {
    let (client, crowd) = (daemon.client(), daemon.client());
    let crowd = tokio::spawn(async move {
        loop {
            crowd.get("/v1/sandboxes/other/files/stat?path=/").await.expect(200);
        }
    });
    client.post("/v1/runs", run(&["true"])).await.expect(200);
    // By itself it takes some milliseconds, and at most half a second more.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let is_left = daemon.backend.living().len() > 1;
    until("it is taken down", async || daemon.backend.living().len() == 1).await;
    crowd.abort();
    is_left
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_left_is_taken_down_after_a_crowd_is_through_where_there_is_room() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    create(&daemon.client(), json!({"name": "other"})).await;
    let mut is_left = false;
    for _ in 0..10 {
        is_left |= is_left_in_a_crowd(&daemon).await;
    }
    assert!(is_left, "it was taken down at once each time");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_left_is_taken_down_at_once_where_there_is_no_room() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.sandboxes_per_owner = 2;
    let daemon = Daemon::start(settings).await;
    create(&daemon.client(), json!({"name": "other"})).await;
    let mut is_gone = false;
    for _ in 0..10 {
        is_gone |= !is_left_in_a_crowd(&daemon).await;
    }
    assert!(is_gone, "it was there for long each time");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn output_beyond_the_limit_is_counted_and_told() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let argv = ["head", "-c", "100000", "/dev/zero"];
    let request = json!({"command": {"argv": argv, "output_limit": 10}});
    let result = daemon.client().post("/v1/runs", request).await.expect(200);
    assert_eq!((&result["truncated"], &result["output_bytes"]), (&json!(true), &json!(100_000)));
    assert_eq!(result["stdout"].as_str().expect("text").len(), 10);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_whose_time_is_up_is_killed_with_all_that_it_started_and_told() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let request = json!({"command": {"argv": ["sh", "-c", "sleep 1000 & sleep 1000"], "timeout_ms": 100}});
    let result = daemon.client().post("/v1/runs", request).await.expect(200);
    assert_eq!((&result["timed_out"], &result["cause"]), (&json!(true), &json!("timeout")));
    until("nothing is left", async || daemon.backend.living().is_empty()).await;
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_takes_its_run_along() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let body = run(&["sleep", "1000"]).to_string();
    let wire = client.begin("POST", "/v1/runs", "Content-Type: application/json\r\n", body.as_bytes()).await;
    until("it runs", async || {
        let all = client.get("/v1/sandboxes").await.expect(200);
        all["sandboxes"][0]["state"] == "running" && all["sandboxes"][0]["run"] == true
    })
    .await;
    drop(wire);
    until("nothing is left", async || daemon.backend.living().is_empty()).await;
    let all = client.get("/v1/sandboxes?all=true").await.expect(200);
    assert_eq!(all["sandboxes"][0]["cause"], "killed", "{all}");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_at_the_same_time_do_not_wait_for_each_other() {
    let folder = folder();
    let meeting = tempfile::tempdir().expect("temp dir");
    let daemon = Daemon::start(settings(folder.path())).await;
    // Each ends only when all three have begun.
    let script = "touch $0/$1; while [ $(ls $0 | wc -l) -lt 3 ]; do sleep 0.01; done";
    let at = meeting.path().to_str().expect("text");
    let one = |number: &'static str| {
        let client = daemon.client();
        let request = run(&["sh", "-c", script, at, number]);
        async move { client.post("/v1/runs", request).await.expect(200)["exit_code"].clone() }
    };
    let all =
        tokio::time::timeout(Duration::from_secs(20), async { tokio::join!(one("1"), one("2"), one("3")) });
    assert_eq!(all.await.expect("they met"), (json!(0), json!(0), json!(0)));
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_name_of_a_run_can_be_given_again_as_soon_as_it_was_answered() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let named = json!({"sandbox": {"name": "again"}, "command": {"argv": ["true"]}});
    for _ in 0..20 {
        assert_eq!(client.post("/v1/runs", named.clone()).await.expect(200)["exit_code"], 0);
    }
    // While its command runs it is taken, and it finds the newest.
    let mut stream = client.socket("/v1/runs/stream").await.expect("a WebSocket");
    stream.text(json!({"sandbox": {"name": "again"}, "command": {"argv": ["sleep", "1000"]}})).await;
    let started = stream.started().await;
    client.post("/v1/runs", named).await.refused(409, "name_taken");
    assert_eq!(client.get("/v1/sandboxes/again").await.expect(200)["id"], started["sandbox"]);
    drop(stream);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_given_to_a_warm_sandbox_and_a_host_name_is_not() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.pool = agentkernel_pool::PoolSettings::default();
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    let set = json!({"low": 1, "high": 1});
    client.put("/v1/pools", "application/json", set.to_string().as_bytes()).await.expect(200);
    let pools = async || client.get("/v1/pools").await.expect(200);
    until("one is warm", async || pools().await["pools"][0]["warm"] == 1).await;
    let called = json!({"sandbox": {"hostname": "web"}, "command": {"argv": ["true"]}});
    assert_eq!(client.post("/v1/runs", called).await.expect(200)["origin"], "cold");
    let keys = pools().await["pools"][0]["keys"].as_array().map(Vec::len);
    assert_eq!(keys, Some(1), "nobody asks for that host name again");
    let named = json!({"sandbox": {"name": "web"}, "command": {"argv": ["true"]}});
    assert_eq!(client.post("/v1/runs", named).await.expect(200)["origin"], "warm");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_refused_where_no_module_can_be_run() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let call = |call: Value| json!({"sandbox": {}, "call": call});
    let refused =
        daemon.client().post("/v1/calls", call(json!({"function": "add", "arguments": [1, 2]}))).await;
    assert_eq!(refused.expect(501)["error"]["kind"], "not_supported");
    let empty = daemon.client().post("/v1/calls", call(json!({"function": ""}))).await;
    assert_eq!(empty.expect(400)["error"]["subject"], "call.function");
    let module = json!({"sandbox": {"module": "relative.wasm"}, "call": {"function": "f"}});
    let relative = daemon.client().post("/v1/calls", module).await.expect(400);
    assert_eq!(relative["error"]["subject"], "sandbox.module: relative.wasm");
    let client = daemon.client();
    // The reply does not wait for the sandbox that was made for it.
    until("nothing is left", async || {
        client.get("/v1/sandboxes").await.expect(200)["sandboxes"] == json!([])
            && daemon.backend.living().is_empty()
    })
    .await;
    let all = client.get("/v1/sandboxes?all=true").await.expect(200);
    assert_eq!(
        all["sandboxes"].as_array().map(Vec::len),
        Some(1),
        "of the wrong calls none was made for: {all}"
    );
    daemon.stop(ShutdownMode::Kill).await;
}
