//! Two owners never see each other's sandboxes.

use agentkernel_api::ShutdownMode;
use serde_json::json;

use crate::client::Client;
use crate::daemon::{Daemon, command, create, folder, settings};

const ALICE: &str = "alice-0123456789abcdef";
const BOB: &str = "bob-0123456789abcdef";

/// A daemon that both may use.
async fn daemon(folder: &std::path::Path) -> (Daemon, Client, Client) {
    use std::os::unix::fs::PermissionsExt as _;
    let tokens = folder.join("tokens");
    std::fs::write(&tokens, format!("alice:{ALICE}\nbob:{BOB}\n")).expect("written");
    std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(0o600)).expect("changed");
    let mut settings = settings(folder);
    settings.tcp = Some("127.0.0.1:0".parse().expect("an address"));
    let daemon = Daemon::start(settings).await;
    let (alice, bob) = (daemon.tcp(Some(ALICE)), daemon.tcp(Some(BOB)));
    (daemon, alice, bob)
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_one_asks_of_the_others_sandbox_it_is_not_there() {
    let folder = folder();
    let (daemon, alice, bob) = daemon(folder.path()).await;
    let sandbox = create(&alice, json!({"name": "web"})).await;
    assert_eq!(sandbox["owner"], "alice");
    let id = sandbox["id"].as_str().expect("an id");
    let background = json!({"argv": ["sleep", "1000"], "background": true});
    let process = alice.post(&format!("/v1/sandboxes/{id}/exec"), background).await.expect(201);
    let pid = process["pid"].as_u64().expect("a PID");
    alice.post(&format!("/v1/sandboxes/{id}/snapshots"), json!({"name": "hers"})).await.expect(201);
    assert_eq!(bob.get("/v1/snapshots").await.expect(200)["snapshots"], json!([]));
    bob.delete("/v1/snapshots/hers").await.refused(404, "not_found");
    bob.post("/v1/snapshots/hers/sandboxes", json!({})).await.refused(404, "not_found");
    for word in [id, "web"] {
        let at = format!("/v1/sandboxes/{word}");
        let nowhere = "no_such_sandbox";
        for path in [
            "",
            "/stats",
            "/posture",
            "/processes",
            "/logs",
            "/files?path=/",
            "/files/stat?path=/",
            "/files/list?path=/",
            "/archive?path=/",
            &format!("/processes/{pid}"),
        ] {
            bob.get(&format!("{at}{path}")).await.refused(404, nowhere);
        }
        for path in ["/start", "/stop", "/pause", "/resume", "/timeout", "/snapshots", "/fork"] {
            bob.post(&format!("{at}{path}"), json!({})).await.refused(404, nowhere);
        }
        bob.post(&format!("{at}/exec"), command(&["true"])).await.refused(404, nowhere);
        bob.post(&format!("{at}/processes/{pid}/signal"), json!({"number": 9})).await.refused(404, nowhere);
        bob.post(&format!("{at}/files/mkdir"), json!({"path": "/workspace/x"})).await.refused(404, nowhere);
        let rename = json!({"from": "/workspace/x", "to": "/workspace/y"});
        bob.post(&format!("{at}/files/rename"), rename).await.refused(404, nowhere);
        let octets = "application/octet-stream";
        bob.put(&format!("{at}/files?path=/workspace/x"), octets, b"x").await.refused(404, nowhere);
        bob.put(&format!("{at}/archive?path=/workspace"), "application/x-tar", b"")
            .await
            .refused(404, nowhere);
        bob.delete(&format!("{at}/files?path=/workspace")).await.refused(404, nowhere);
        bob.delete(&at).await.refused(404, nowhere);
        assert_eq!(bob.socket(&format!("{at}/exec/stream")).await.err(), Some(404));
        assert_eq!(bob.socket(&format!("{at}/processes/{pid}/stream")).await.err(), Some(404));
    }
    assert_eq!(bob.get("/v1/sandboxes?all=true").await.expect(200)["sandboxes"], json!([]));
    assert_eq!(daemon.client().get("/v1/sandboxes?all=true").await.expect(200)["sandboxes"], json!([]));
    let alive = alice.get(&format!("/v1/sandboxes/{id}/processes/{pid}")).await.expect(200);
    assert_eq!(alive["state"], "running");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_may_use_the_same_name_and_neither_learns_of_the_others_end() {
    let folder = folder();
    let (daemon, alice, bob) = daemon(folder.path()).await;
    let of_alice = create(&alice, json!({"name": "web"})).await;
    let of_bob = create(&bob, json!({"name": "web"})).await;
    assert_ne!(of_alice["id"], of_bob["id"]);
    bob.delete("/v1/sandboxes/web").await.expect(204);
    bob.get("/v1/sandboxes/web").await.refused(410, "gone");
    assert_eq!(alice.get("/v1/sandboxes/web").await.expect(200)["id"], of_alice["id"]);
    let path = format!("/v1/sandboxes/{}", of_bob["id"].as_str().expect("an id"));
    alice.get(&path).await.refused(404, "no_such_sandbox");
    alice.delete(&path).await.refused(404, "no_such_sandbox");
    bob.get(&path).await.refused(410, "gone");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_not_enough_for_the_host_and_for_all_owners() {
    let folder = folder();
    let (daemon, alice, _) = daemon(folder.path()).await;
    let mounts = json!({"mounts": [{"source": "/", "target": "/mnt"}]});
    alice.post("/v1/sandboxes", mounts.clone()).await.refused(403, "forbidden");
    alice.post("/v1/sandboxes", json!({"rootfs": "/"})).await.refused(403, "forbidden");
    let socket = json!({"unix_socket": {"host_path": "/run/docker.sock", "name": "engine"}});
    alice.post("/v1/sandboxes", socket).await.refused(403, "forbidden");
    // What an engine of the host keeps may be private.
    alice.post("/v1/sandboxes", json!({"image": "docker.io/a/b"})).await.refused(403, "forbidden");
    let module = json!({"module": "/srv/x.wasm"});
    alice.post("/v1/sandboxes", module.clone()).await.refused(403, "forbidden");
    let call = json!({"sandbox": module, "call": {"function": "f"}});
    alice.post("/v1/calls", call).await.refused(403, "forbidden");
    let run = json!({"sandbox": mounts, "command": {"argv": ["true"]}});
    alice.post("/v1/runs", run.clone()).await.refused(403, "forbidden");
    let mut socket = alice.socket("/v1/runs/stream").await.expect("a WebSocket");
    socket.text(run).await;
    assert_eq!(socket.next().await["error"]["kind"], "forbidden");
    alice.post("/v1/shutdown", json!({"mode": "kill"})).await.refused(403, "forbidden");
    alice.get("/v1/pools").await.refused(403, "forbidden");
    alice.put("/v1/pools", "application/json", br#"{"low":1,"high":1}"#).await.refused(403, "forbidden");
    alice.post("/v1/pools/drain", json!({})).await.refused(403, "forbidden");
    alice.get("/v1/health").await.expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}
