//! One command, heard and talked to.

use std::sync::Arc;
use std::time::Duration;

use agentkernel_api as api;
use agentkernel_client::CommandEvent;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::{DEADLINE, exited, refused, run, say, serve, started};

#[tokio::test]
async fn a_run_is_asked_for_in_one_go_and_heard_to_its_end() {
    async fn answer(mut socket: WebSocket) {
        let Some(Ok(Message::Text(first))) = socket.recv().await else { panic!("no request") };
        let request: api::RunRequest = serde_json::from_str(&first).expect("a request");
        assert_eq!(request.command.argv[0].as_bytes(), b"cat");
        say(&mut socket, &started()).await;
        // What comes on stdin goes out on stdout.
        while let Some(Ok(message)) = socket.recv().await {
            match message {
                Message::Binary(bytes) => {
                    assert_eq!(bytes[0], 0);
                    let output = [&[1], &bytes[1..]].concat();
                    socket.send(Message::Binary(output.into())).await.expect("the client is there");
                }
                Message::Text(text) if text.contains("stdin_end") => break,
                Message::Text(text) => {
                    socket
                        .send(Message::Binary([&[2], text.as_bytes()].concat().into()))
                        .await
                        .expect("there");
                }
                _ => {}
            }
        }
        say(&mut socket, &api::ServerMessage::Notice("so be it".into())).await;
        say(&mut socket, &exited(5)).await;
    }
    let server = serve(
        Router::new()
            .route("/v1/runs/stream", get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(answer) })),
    );
    let mut stream = server.client.run_stream(&run(&["cat"])).await.expect("a stream");
    let CommandEvent::Started(told) = stream.next().await.expect("started") else { panic!("not started") };
    assert_eq!((told.pid, told.origin), (7, Some(api::Origin::Warm)));
    let control = stream.control();
    let input: Vec<u8> = (0..700_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    let expected = input.clone();
    let writer = tokio::spawn(async move {
        control.write_stdin(&input).await.expect("written");
        control.signal(api::SignalRequest { number: 2, group: true }).await.expect("sent");
        control.end_stdin().await.expect("ended");
    });
    let (mut stdout, mut stderr, mut notices) = (Vec::new(), Vec::new(), 0);
    let result = loop {
        match timeout(DEADLINE, stream.next()).await.expect("in time").expect("heard") {
            CommandEvent::Output(api::StreamId::Stderr, bytes) => stderr.extend_from_slice(&bytes),
            CommandEvent::Output(_, bytes) => stdout.extend_from_slice(&bytes),
            CommandEvent::Notice(_) => notices += 1,
            CommandEvent::Exited(result) => break result,
            CommandEvent::Started(_) => panic!("twice"),
        }
    };
    writer.await.expect("no panic");
    assert!(stdout == expected, "{} bytes came back", stdout.len());
    assert_eq!(String::from_utf8_lossy(&stderr), r#"{"signal":{"number":2,"group":true}}"#);
    assert_eq!((notices, result.exit_code), (1, Some(5)));
}

#[tokio::test]
async fn a_daemon_that_is_being_stopped_may_say_so_before_or_after_the_upgrade() {
    async fn after(mut socket: WebSocket) {
        let body = refused(api::ErrorKind::Stopping).into_body();
        let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
        let api::ErrorBody { error } = serde_json::from_slice(&body).expect("an error");
        say(&mut socket, &api::ServerMessage::Error(error)).await;
    }
    let before =
        serve(Router::new().route("/v1/runs/stream", get(|| async { refused(api::ErrorKind::Stopping) })));
    // A long request is not read by a server that refuses; its words arrive all the same.
    let error = before.client.run_stream(&run(&[&"x".repeat(500_000)])).await.err().expect("refused");
    assert!(error.has_not_begun(), "{error}");
    let after = serve(
        Router::new()
            .route("/v1/runs/stream", get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(after) })),
    );
    let mut stream = after.client.run_stream(&run(&["true"])).await.expect("a stream");
    assert!(stream.next().await.expect_err("refused").has_not_begun());
}

#[tokio::test]
async fn a_daemon_that_vanishes_leaves_it_open_whether_anything_has_begun() {
    async fn vanish(socket: WebSocket) {
        drop(socket);
    }
    let server = serve(
        Router::new()
            .route("/v1/runs/stream", get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(vanish) })),
    );
    let mut stream = server.client.run_stream(&run(&["true"])).await.expect("a stream");
    let error = stream.next().await.expect_err("gone");
    assert!(!error.has_not_begun(), "{error}");
}

#[tokio::test]
async fn a_signal_overtakes_a_stdin_that_nobody_reads() {
    let signalled = Arc::new(Notify::new());
    let (ours, theirs) = (signalled.clone(), signalled.clone());
    let deaf = move |mut socket: WebSocket| async move {
        say(&mut socket, &started()).await;
        // Nothing is read from here, and then it ends.
        ours.notified().await;
        say(&mut socket, &exited(0)).await;
    };
    let server = serve(
        Router::new()
            .route(
                "/v1/runs/stream",
                get(|upgrade: WebSocketUpgrade| async move { upgrade.on_upgrade(deaf) }),
            )
            .route(
                "/v1/sandboxes/ak-1/processes/7/signal",
                post(move |Json(signal): Json<api::SignalRequest>| async move {
                    assert_eq!(signal.number, 2);
                    theirs.notify_one();
                    StatusCode::NO_CONTENT
                }),
            ),
    );
    let mut stream = server.client.run_stream(&run(&["sleep"])).await.expect("a stream");
    assert!(matches!(stream.next().await, Ok(CommandEvent::Started(_))));
    let control = stream.control();
    let flood = control.clone();
    let writer = tokio::spawn(async move { while flood.write_stdin(&[0; 65536]).await.is_ok() {} });
    let hear = async {
        // Time for the flood to fill every buffer on the way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        control.signal(api::SignalRequest { number: 2, group: true }).await.expect("sent");
        while !matches!(stream.next().await.expect("heard"), CommandEvent::Exited(_)) {}
    };
    timeout(DEADLINE, hear).await.expect("in time");
    writer.abort();
}
