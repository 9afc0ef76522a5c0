//! Spans reach a collector, with the request's id and the time of each phase; a collector that is bad costs nothing.

#[path = "../server/client.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod client;
#[path = "../server/daemon.rs"]
#[expect(dead_code, reason = "the other tests use the rest")]
mod daemon;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agentkernel_api::ShutdownMode;
use agentkernel_server::Traces;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tracing_subscriber::layer::SubscriberExt as _;

use daemon::{Daemon, folder, run, settings, until};

/// A collector on this host that keeps every span.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Value>>>,
}

impl Collector {
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let collector = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                collector.take(stream).await;
            }
        });
        format!("http://{address}")
    }

    async fn take(&self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let (mut head, mut length) = (String::new(), 0);
        while !head.ends_with("\r\n\r\n") {
            let mut line = String::new();
            stream.read_line(&mut line).await.expect("a line");
            let lower = line.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            head.push_str(&line);
        }
        assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("the body");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        for resource in body["resourceSpans"].as_array().expect("resources") {
            let name = json!({"key": "service.name", "value": {"stringValue": "agentkernel"}});
            assert!(resource["resource"]["attributes"].as_array().expect("a list").contains(&name), "{body}");
            for scope in resource["scopeSpans"].as_array().expect("scopes") {
                self.spans.lock().expect("whole").extend(scope["spans"].as_array().expect("spans").clone());
            }
        }
        let reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(reply).await.expect("written");
    }

    /// The attributes of the span of this request, once it has come.
    fn of(&self, id: &str) -> Option<Attributes> {
        let spans = self.spans.lock().expect("whole");
        let all = spans.iter().map(|span| Attributes(span.clone()));
        all.into_iter().find(|span| span.text("id") == Some(id.to_owned()))
    }
}

struct Attributes(Value);

impl Attributes {
    fn value(&self, key: &str) -> Option<&Value> {
        let all = self.0["attributes"].as_array()?;
        all.iter().find(|one| one["key"] == key).map(|one| &one["value"])
    }

    fn text(&self, key: &str) -> Option<String> {
        Some(self.value(key)?["stringValue"].as_str()?.to_owned())
    }

    /// 64-bit numbers are text in OTLP's JSON.
    fn number(&self, key: &str) -> Option<i64> {
        let value = &self.value(key)?["intValue"];
        value.as_i64().or_else(|| value.as_str()?.parse().ok())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_is_a_span_with_its_id_and_its_phases() {
    let collector = Collector::default();
    let traces = Traces::to(&collector.listen().await, "1.2.3").expect("an address");
    let subscriber = tracing_subscriber::registry().with(traces.layer());
    tracing::subscriber::set_global_default(subscriber).expect("the only one of this program");
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    let body = run(&["true"]).to_string();
    let headers = "Content-Type: application/json\r\nX-Request-Id: trace-me-1\r\n";
    client.send("POST", "/v1/runs", headers, body.as_bytes()).await.expect(200);
    client
        .send("GET", "/v1/none?secret=1", "X-Request-Id: trace-me-2\r\n", b"")
        .await
        .refused(404, "not_found");
    let mut socket = client.socket("/v1/runs/stream").await.expect("a WebSocket");
    socket.text(run(&["true"])).await;
    socket.started().await;
    socket.exited().await;

    until("the run's span is there", async || collector.of("trace-me-1").is_some()).await;
    let span = collector.of("trace-me-1").expect("there");
    assert_eq!(
        (span.text("method").as_deref(), span.text("route").as_deref()),
        (Some("POST"), Some("/v1/runs"))
    );
    assert_eq!(span.number("status"), Some(200), "{}", span.0);
    let phases = ["queue_ns", "boot_ns", "ready_ns", "exec_ns", "residual_ns"];
    let sum: i64 = phases.iter().map(|phase| span.number(phase).expect(phase)).sum();
    assert_eq!(span.number("total_ns"), Some(sum), "{}", span.0);
    let time = |key: &str| span.0[key].as_str().expect("a time").parse::<i64>().expect("a number");
    assert!(time("endTimeUnixNano") - time("startTimeUnixNano") >= sum, "{}", span.0);

    until("the refusal's span is there", async || collector.of("trace-me-2").is_some()).await;
    let refused = collector.of("trace-me-2").expect("there");
    assert_eq!(refused.number("status"), Some(404));
    assert!(!refused.0.to_string().contains("secret"), "{}", refused.0);

    let streamed = || {
        let spans = collector.spans.lock().expect("whole").clone();
        spans
            .into_iter()
            .map(Attributes)
            .find(|span| span.text("route").as_deref() == Some("/v1/runs/stream"))
    };
    until("the stream's span is there", async || streamed().is_some()).await;
    let span = streamed().expect("there");
    assert!(span.number("exec_ns").is_some_and(|time| time > 0), "{}", span.0);
    daemon.stop(ShutdownMode::Kill).await;
    tokio::task::spawn_blocking(move || drop(traces)).await.expect("flushed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_never_answers_or_is_not_there_keeps_nobody_waiting() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addresses = [&silent, &nobody].map(|listener| listener.local_addr().expect("bound"));
    drop(nobody);
    for address in addresses {
        let all = tokio::task::spawn_blocking(move || {
            let traces = Traces::to(&format!("http://{address}"), "1.2.3").expect("an address");
            let subscriber = tracing_subscriber::registry().with(traces.layer());
            // More than fit into the queue.
            let spans = || (0..10_000).for_each(|number| drop(tracing::info_span!("request", number)));
            tracing::subscriber::with_default(subscriber, spans);
            drop(traces);
        });
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("it ends").expect("well");
    }
}

#[test]
fn what_is_no_address_of_a_collector_is_refused_in_words() {
    for wrong in ["https://127.0.0.1:4318", "127.0.0.1:4318", "http://127.0.0.1", ""] {
        let error = Traces::to(wrong, "1.2.3").err().expect(wrong);
        assert!(error.hint.is_some(), "{error}");
    }
}
