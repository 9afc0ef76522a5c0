//! The document of the API.

use std::collections::BTreeSet;
use std::path::Path;

use agentkernel_api::ShutdownMode;
use serde_json::Value;

use crate::daemon::{Daemon, folder, settings};

/// Every route, as the daemon's users were promised it.
const ROUTES: &str = "
    POST /v1/runs
    GET /v1/runs/stream
    POST /v1/sandboxes
    GET /v1/sandboxes
    GET /v1/sandboxes/{id}
    DELETE /v1/sandboxes/{id}
    POST /v1/sandboxes/{id}/start
    POST /v1/sandboxes/{id}/stop
    POST /v1/sandboxes/{id}/pause
    POST /v1/sandboxes/{id}/resume
    POST /v1/sandboxes/{id}/timeout
    POST /v1/sandboxes/{id}/snapshots
    POST /v1/sandboxes/{id}/fork
    GET /v1/snapshots
    DELETE /v1/snapshots/{name}
    POST /v1/snapshots/{name}/sandboxes
    GET /v1/sandboxes/{id}/stats
    GET /v1/sandboxes/{id}/posture
    POST /v1/sandboxes/{id}/calls
    POST /v1/sandboxes/{id}/exec
    GET /v1/sandboxes/{id}/exec/stream
    GET /v1/sandboxes/{id}/processes
    GET /v1/sandboxes/{id}/processes/{pid}
    GET /v1/sandboxes/{id}/processes/{pid}/stream
    POST /v1/sandboxes/{id}/processes/{pid}/signal
    GET /v1/sandboxes/{id}/logs
    GET /v1/sandboxes/{id}/files
    PUT /v1/sandboxes/{id}/files
    DELETE /v1/sandboxes/{id}/files
    GET /v1/sandboxes/{id}/files/stat
    GET /v1/sandboxes/{id}/files/list
    POST /v1/sandboxes/{id}/files/mkdir
    POST /v1/sandboxes/{id}/files/rename
    GET /v1/sandboxes/{id}/archive
    PUT /v1/sandboxes/{id}/archive
    GET /v1/pools
    PUT /v1/pools
    POST /v1/calls
    POST /v1/pools/drain
    GET /v1/health
    GET /v1/info
    GET /v1/events
    POST /v1/shutdown
    GET /metrics
    GET /openapi.json
";

#[tokio::test(flavor = "multi_thread")]
async fn the_document_lists_every_route_and_every_route_is_there() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let document = daemon.client().get("/openapi.json").await.expect(200);
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
    let (mut listed, mut names) = (Vec::new(), BTreeSet::new());
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            listed.push(format!("{} {path}", method.to_uppercase()));
            assert!(operation["summary"].is_string(), "{method} {path} has no summary");
            let name = operation["operationId"].as_str().expect("a name");
            assert!(names.insert(name.to_owned()), "{method} {path}: there are two of {name}");
        }
    }
    let mut expected: Vec<&str> = ROUTES.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    expected.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, expected);
    daemon.stop(ShutdownMode::Kill).await;
}

#[test]
fn the_document_in_the_repository_is_the_one_of_this_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
    let made = serde_json::to_string_pretty(&agentkernel_server::openapi()).expect("written") + "\n";
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    if made != kept {
        std::fs::write(&path, &made).expect("written");
        panic!("docs/openapi.json was not up to date; it is now: look at the difference and commit it");
    }
}

/// Whoever finds `default` there cannot tell a fault from a refusal.
#[test]
fn the_document_names_every_status_that_a_route_may_answer() {
    let document = serde_json::to_value(agentkernel_server::openapi()).expect("JSON");
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let responses = operation["responses"].as_object().expect("responses");
            assert!(!responses.contains_key("default"), "{method} {path}");
            for status in ["400", "401", "403", "500"] {
                assert!(responses.contains_key(status), "{method} {path} has no {status}");
            }
            let takes_body = operation["requestBody"].is_object();
            assert!(!takes_body || responses.contains_key("415"), "{method} {path} has no 415");
        }
    }
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = serde_json::to_value(agentkernel_server::openapi()).expect("JSON");
    let mut count = 0;
    visit(&document, &mut |reference| {
        let pointer = reference.strip_prefix('#').expect("a reference into the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
        count += 1;
    });
    assert!(count > 50, "{count} references");
}

fn visit(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                found(reference);
            }
            map.values().for_each(|value| visit(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| visit(value, found)),
        _ => {}
    }
}
