//! One request and its reply.

use std::convert::Infallible;

use agentkernel_api as api;
use agentkernel_client::{Address, Client, CommandEvent, Connection};
use axum::body::Body;
use axum::extract::Query;
use axum::extract::ws::WebSocketUpgrade;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;

use crate::support::{exited, refused, run, say, serve, started};

#[tokio::test]
async fn an_error_arrives_in_the_daemons_words() {
    let server =
        serve(Router::new().route("/v1/sandboxes", post(|| async { refused(api::ErrorKind::NameTaken) })));
    let error = server.client.create(&api::SandboxRequest::default()).await.expect_err("refused");
    assert_eq!(error.kind(), Some(api::ErrorKind::NameTaken));
    assert!(!error.has_not_begun());
    let error = agentkernel_core::Error::from(error);
    assert_eq!(error.to_string(), "make the sandbox: web: because");
    assert_eq!(error.hint.as_deref(), Some("another way"));
}

#[tokio::test]
async fn without_a_daemon_nothing_has_begun() {
    let folder = tempfile::tempdir().expect("temp dir");
    let path = folder.path().join("daemon.sock");
    for _ in 0..2 {
        let client = Client::new(Address::Unix(path.clone()));
        let error = client.run_stream(&run(&["true"])).await.err().expect("refused");
        assert!(error.has_not_begun() && error.to_string().contains("no daemon is running"), "{error}");
        assert!(Connection::unix(&path).is_err());
        // The second time there is a socket that nobody listens to.
        drop(std::os::unix::net::UnixListener::bind(&path));
    }
}

#[tokio::test]
async fn what_is_not_of_our_daemon_is_told_as_such() {
    let server = serve(Router::new().route("/v1/info", get(|| async { "hello" })));
    let error = server.client.info().await.expect_err("no JSON");
    assert!(!error.has_not_begun() && error.kind().is_none(), "{error}");
    let error = server.client.health().await.expect_err("no such route");
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test]
async fn events_come_one_by_one() {
    #[derive(serde::Deserialize)]
    struct Nothing {}
    async fn events(Query(Nothing {}): Query<Nothing>) -> Response {
        let event = |number: u64| {
            format!(
                "data: {{\"sequence\":{number},\"time_ms\":1,\"sandbox\":\"s\",\"name\":\"n\",\"kind\":\"state\",\
                 \"state\":\"ended\",\"cause\":\"idle\",\"pid\":null}}\n\n"
            )
        };
        let frames = stream::iter((1..=3).map(move |number| Ok::<_, Infallible>(event(number))));
        Body::from_stream(frames).into_response()
    }
    let server = serve(Router::new().route("/v1/events", get(events)));
    let mut stream = server.client.events().await.expect("a stream");
    for number in 1..=3 {
        let event = stream.next().await.expect("heard").expect("an event");
        assert_eq!((event.sequence, event.cause), (number, Some(api::CauseOfDeath::Idle)));
    }
    assert_eq!(stream.next().await.expect("heard"), None);
}

#[tokio::test]
async fn over_tcp_the_token_goes_along_and_the_host_is_named() {
    async fn health(headers: HeaderMap) -> Response {
        assert_eq!(headers["authorization"], "Bearer secret");
        assert!(headers["host"].to_str().expect("text").starts_with("127.0.0.1:"));
        let status = api::HealthStatus::Ok;
        Json(api::Health { status, sandboxes: 1, queued: 0, uptime_ms: 2 }).into_response()
    }
    async fn ended(headers: HeaderMap, upgrade: WebSocketUpgrade) -> Response {
        assert_eq!(headers["authorization"], "Bearer secret");
        upgrade.on_upgrade(|mut socket| async move {
            say(&mut socket, &started()).await;
            say(&mut socket, &exited(3)).await;
        })
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let host = listener.local_addr().expect("an address").to_string();
    let router = Router::new()
        .route("/v1/health", get(health))
        .route("/v1/sandboxes/web/processes/7/stream", get(ended));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let address = Address::Tcp { host, token: "secret".into() };
    let client = Client::connect(address).await.expect("connected");
    assert_eq!(client.health().await.expect("healthy").sandboxes, 1);
    let mut stream = client.attach("web", 7).await.expect("a stream");
    assert!(matches!(stream.next().await, Ok(CommandEvent::Started(_))));
    assert!(matches!(stream.next().await, Ok(CommandEvent::Exited(result)) if result.exit_code == Some(3)));
}

#[tokio::test]
async fn a_stopped_daemon_is_noticed_by_its_full_queue() {
    let server = serve(Router::new());
    // Connections that nobody accepts: the socket of a listener with a queue of one.
    let path = server.socket.with_file_name("full.sock");
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    let socket = socket.expect("a socket");
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).expect("a path")).expect("bind");
    rustix::net::listen(&socket, 0).expect("listen");
    let mut held = Vec::new();
    let error = loop {
        match Connection::unix(&path) {
            Ok(connection) => held.push(connection),
            Err(error) => break error,
        }
        assert!(held.len() < 100, "the queue has no end");
    };
    assert!(error.has_not_begun(), "{error}");
}
