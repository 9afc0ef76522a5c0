//! Who is let in, and what of a request is looked at before anything is done.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use agentkernel_api::ShutdownMode;
use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use crate::client::read_reply;
use crate::daemon::{Daemon, folder, run, settings};

const JSON: &str = "Content-Type: application/json\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn the_socket_is_for_its_owner_alone() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let mode = |path: &std::path::Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(folder.path()), mode(&daemon.serving.socket)), (0o700, 0o600));
    let me = rustix::process::geteuid().as_raw();
    let sandbox = daemon.client().post("/v1/sandboxes", json!({})).await.expect(201);
    assert_eq!(sandbox["owner"], format!("uid:{me}"));
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_in_the_same_folder_is_refused_and_one_after_the_first_is_not() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let backend = daemon.backend.clone();
    let second = Daemon::of(settings(folder.path()), backend.clone(), backend).await.err().expect("refused");
    assert!(second.why.contains("a daemon serves this folder already"), "{second}");
    assert!(second.hint.is_some());
    daemon.client().get("/v1/health").await.expect(200);
    drop(daemon.crash().await);
    Daemon::start(settings(folder.path())).await.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tcp_nobody_comes_in_without_a_token_and_no_token_is_told() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.tcp = Some("127.0.0.1:0".parse().expect("an address"));
    let daemon = Daemon::start(settings).await;
    let made = std::fs::read_to_string(&daemon.serving.tokens).expect("made");
    let token = made.trim().strip_prefix("default:").expect("an owner").to_owned();
    assert_eq!(std::fs::metadata(&daemon.serving.tokens).expect("made").permissions().mode() & 0o777, 0o600);
    let anybody = daemon.tcp(None);
    for path in ["/v1/health", "/v1/info", "/v1/sandboxes", "/metrics", "/openapi.json", "/none"] {
        let error = anybody.get(path).await.refused(401, "unauthorized");
        assert!(!error.to_string().contains(&token));
        anybody.get(&format!("{path}?token={token}")).await.refused(401, "unauthorized");
    }
    let mut almost = token.clone();
    almost.pop();
    for wrong in ["", "x", &almost, &format!("{token}0"), &token.to_uppercase()] {
        daemon.tcp(Some(wrong)).get("/v1/health").await.refused(401, "unauthorized");
        assert_eq!(daemon.tcp(Some(wrong)).socket("/v1/runs/stream").await.err(), Some(401));
    }
    let basic = format!("Authorization: Basic {token}\r\n");
    anybody.send("GET", "/v1/health", &basic, b"").await.refused(401, "unauthorized");
    daemon.tcp(Some(&token)).get("/v1/health").await.expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_somebody_else_gets_nothing() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.tcp = Some("127.0.0.1:0".parse().expect("an address"));
    let daemon = Daemon::start(settings).await;
    let made = std::fs::read_to_string(&daemon.serving.tokens).expect("made");
    let token = made.trim().strip_prefix("default:").expect("an owner").to_owned();
    let (client, port) = (daemon.tcp(Some(&token)), daemon.serving.tcp.expect("TCP").port());
    let ask = |host: String, more: String| {
        let (client, token) = (client.clone(), token.clone());
        async move {
            let head = format!(
                "GET /v1/health HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n{more}Connection: close\r\n\r\n"
            );
            read_reply(&mut client.raw(head.as_bytes()).await).await
        }
    };
    let own = format!("127.0.0.1:{port}");
    ask(own.clone(), String::new()).await.expect(200);
    ask(format!("localhost:{port}"), format!("Origin: http://{own}\r\n")).await.expect(200);
    for host in ["evil.example".to_owned(), "127.0.0.1".to_owned(), format!("evil.example:{port}")] {
        ask(host, String::new()).await.refused(403, "forbidden");
    }
    for origin in ["http://evil.example", "null", &format!("https://{own}"), "http://127.0.0.1:1"] {
        ask(own.clone(), format!("Origin: {origin}\r\n")).await.refused(403, "forbidden");
    }
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_form_can_send_is_not_read() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    client.post("/v1/sandboxes", json!({"name": "web"})).await.expect(201);
    let body = run(&["true"]).to_string();
    let forms =
        ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"];
    for form in forms {
        let header = format!("Content-Type: {form}\r\n");
        client.send("POST", "/v1/runs", &header, body.as_bytes()).await.refused(415, "wrong_type");
        client.send("POST", "/v1/sandboxes/web/stop", &header, b"").await.refused(415, "wrong_type");
        client.send("POST", "/v1/shutdown", &header, b"").await.refused(415, "wrong_type");
        client.put("/v1/sandboxes/web/files?path=/workspace/a", form, b"x").await.refused(415, "wrong_type");
        client.put("/v1/sandboxes/web/archive?path=/workspace", form, b"x").await.refused(415, "wrong_type");
    }
    client.send("POST", "/v1/runs", "", body.as_bytes()).await.refused(415, "wrong_type");
    let with_charset = "Content-Type: application/json; charset=utf-8\r\n";
    client.send("POST", "/v1/runs", with_charset, body.as_bytes()).await.expect(200);
    client.send("POST", "/v1/sandboxes/web/stop", "", b"").await.expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deep_long_and_broken_json_is_refused_in_its_own_way() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.body_bytes = 100_000;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    let deep = [vec![b'['; 50_000], vec![b']'; 49_000]].concat();
    for wrong in [deep, b"{".to_vec(), b"{\"command\":{\"argv\":[\"\xff\"]}}".to_vec(), b"[]".to_vec()] {
        client.send("POST", "/v1/runs", JSON, &wrong).await.refused(400, "usage");
    }
    let long = vec![b' '; 100_001];
    client.send("POST", "/v1/runs", JSON, &long).await.refused(413, "too_large");
    let huge = format!("POST /v1/runs HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: 99999999999\r\n\r\n");
    let mut wire = client.raw(huge.as_bytes()).await;
    wire.shutdown().await.expect("half closed");
    read_reply(&mut wire).await.refused(413, "too_large");
    // One that does not say how long it is.
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nHost: a\r\n{JSON}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    );
    let chunk = [b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat();
    let mut wire = client.raw(&[head.as_bytes(), &chunk, &chunk, b"0\r\n\r\n"].concat()).await;
    read_reply(&mut wire).await.refused(413, "too_large");
    let labels = json!({"labels": {"a": "x".repeat(70_000)}});
    client.post("/v1/sandboxes", labels).await.refused(413, "too_large");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_slow_is_not_waited_for() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.body_deadline = Duration::from_millis(200);
    settings.limits.head_deadline = Duration::from_millis(300);
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nHost: a\r\n{JSON}Content-Length: 10\r\nConnection: close\r\n\r\n{{"
    );
    let mut wire = client.raw(head.as_bytes()).await;
    let reply = tokio::time::timeout(Duration::from_secs(5), read_reply(&mut wire)).await;
    reply.expect("in time").refused(400, "usage");
    let mut wire = client.raw(b"GET /v1/health HT").await;
    let mut rest = Vec::new();
    let closed = tokio::io::AsyncReadExt::read_to_end(&mut wire, &mut rest);
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("closed in time").ok();
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_or_method_that_is_not_there_is_told_like_every_error() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    client.get("/v2/runs").await.refused(404, "not_found");
    client.get("/").await.refused(404, "not_found");
    client.delete("/v1/runs").await.refused(405, "method_not_allowed");
    client.get("/v1/sandboxes?al=true").await.refused(400, "usage");
    let named = client.send("GET", "/v1/health", "X-Request-Id: mine-1\r\n", b"").await;
    assert_eq!(named.header("x-request-id"), Some("mine-1"));
    let odd = client.send("GET", "/v1/health", "X-Request-Id: a b;c\r\n", b"").await;
    assert_ne!(odd.header("x-request-id"), Some("a b;c"));
    daemon.stop(ShutdownMode::Kill).await;
}
