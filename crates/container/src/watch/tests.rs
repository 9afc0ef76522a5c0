use std::path::Path;

use agentkernel_core::BackendKind;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixListener;

use super::*;
use crate::trouble::Known;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn every_end_has_its_cause_and_an_order_to_stop_has_none() {
    let told = |code: &str, is_out_of_memory, said: &str| {
        let event = json!({"Action": "die", "Actor": {"Attributes": {"exitCode": code}}});
        how_it_ended(exit_code(&event), is_out_of_memory, said).map(|ended| (ended.cause, ended.detail))
    };
    let crashed = |detail: &str| Some((CauseOfDeath::BoundaryCrashed, detail.to_owned()));
    assert_eq!(told("0", true, ""), None);
    assert_eq!(told("137", true, "").map(|(cause, _)| cause), Some(CauseOfDeath::OutOfMemory));
    assert_eq!(told("137", false, ""), crashed("the guest agent was killed by signal 9"));
    assert_eq!(told("2", false, "no stream"), crashed("the guest agent ended with exit code 2: no stream"));
    assert_eq!(told("", false, ""), crashed("the engine does not tell how it ended"));
}

/// An engine whose streams of events are these, each cut after its lines, and which says this of the container.
fn engine(socket: &Path, streams: &[&str], state: &Value) -> Engine {
    let listener = UnixListener::bind(socket).expect("bound");
    let inspected = json!({"State": state}).to_string();
    let mut streams = streams.iter().map(|&lines| lines.to_owned()).collect::<Vec<_>>().into_iter();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut asked = vec![0; 4096];
            let count = connection.read(&mut asked).await.expect("a question");
            let asked = String::from_utf8_lossy(&asked[..count]);
            let body = if asked.contains("/events?") { streams.next() } else { Some(inspected.clone()) };
            let Some(body) = body else { return }; // its socket goes with it
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
            connection.write_all((head + &body).as_bytes()).await.expect("answered");
        }
    });
    Engine::new(Known::new(BackendKind::Podman, true, socket), None)
}

/// What is told of the end, `None` if it was an order.
async fn told(streams: &[&str], state: Value) -> Option<Ended> {
    let folder = tempfile::tempdir().expect("temp dir");
    let engine = engine(&folder.path().join("engine.sock"), streams, &state);
    let id = ContainerId::parse(ID).expect("an id");
    let events = engine.events(&id).await.expect("a stream");
    let watch = Watch::start(engine, id, events, LastWords::default(), None);
    let mut state = watch.state.clone();
    // The sender goes when the end is told, and not before.
    while state.changed().await.is_ok() {}
    state.borrow().ended.clone()
}

const DIED: &str = "{\"Action\": \"die\", \"Actor\": {\"Attributes\": {\"exitCode\": \"137\"}}}\n";

#[tokio::test]
async fn a_stream_that_is_cut_is_taken_up_again_while_its_container_runs() {
    let ended = told(&["", "{\"Action\": \"oom\"}\n", DIED], json!({"Running": true})).await;
    assert_eq!(ended.map(|ended| ended.cause), Some(CauseOfDeath::OutOfMemory));
}

#[tokio::test]
async fn an_end_while_nobody_listened_is_asked_for() {
    let ended = told(&["", ""], json!({"Running": false, "OOMKilled": true, "ExitCode": 137})).await;
    assert_eq!(ended.map(|ended| ended.cause), Some(CauseOfDeath::OutOfMemory));
    let ended = told(&["", ""], json!({"Running": false, "ExitCode": 0})).await;
    assert_eq!(ended, None, "an order to stop");
}

#[tokio::test]
async fn an_engine_that_is_gone_ends_its_containers() {
    let ended = told(&[""], json!({"Running": true})).await.expect("an end");
    assert_eq!((ended.cause, ended.detail.as_str()), (CauseOfDeath::BoundaryCrashed, "the engine went away"));
}
