//! Files in a sandbox.

use agentkernel_api::ShutdownMode;
use agentkernel_testkit::noise;
use serde_json::json;

use crate::client::Client;
use crate::daemon::{Daemon, command, create, folder, settings};

const OCTETS: &str = "application/octet-stream";
const TAR: &str = "application/x-tar";

fn at(path: &str) -> String {
    format!("/v1/sandboxes/a{path}")
}

async fn put(client: &Client, path: &str, bytes: &[u8]) {
    client.put(&at(&format!("/files?path={path}")), OCTETS, bytes).await.expect(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_go_in_and_out_byte_for_byte() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    let bytes = noise(3_000_000);
    client.put(&at("/files?path=/workspace/a%20%FF&mode=750"), OCTETS, &bytes).await.expect(204);
    let reply = client.get(&at("/files?path=/workspace/a%20%FF")).await;
    assert!(reply.status == 200 && reply.body == bytes);
    assert_eq!(reply.header("content-type"), Some(OCTETS));
    let facts = client.get(&at("/files/stat?path=/workspace/a+%FF")).await.expect(200);
    assert_eq!((&facts["kind"], &facts["size"]), (&json!("file"), &json!(3_000_000)));
    assert_eq!((&facts["mode"], &facts["name"]), (&json!(0o750), &json!({"base64": "YSD/"})));
    let list = client.get(&at("/files/list?path=/workspace")).await.expect(200);
    assert_eq!(list.as_array().expect("a list").len(), 1);
    let made = json!({"path": "/workspace/b/c", "parents": true});
    client.post(&at("/files/mkdir"), made).await.expect(204);
    let renamed = json!({"from": {"base64": "L3dvcmtzcGFjZS9hIP8="}, "to": "/workspace/b/d"});
    client.post(&at("/files/rename"), renamed).await.expect(204);
    client.delete(&at("/files?path=/workspace/b")).await.refused(422, "file");
    client.delete(&at("/files?path=/workspace/b&recursive=true")).await.expect(204);
    client.get(&at("/files?path=/workspace/b/d")).await.refused(422, "file");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_goes_out_and_in_as_a_tar_stream() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    client.post(&at("/files/mkdir"), json!({"path": "/workspace/b"})).await.expect(204);
    put(&client, "/workspace/b/one", b"1").await;
    let archive = client.get(&at("/archive?path=/workspace/b")).await;
    assert_eq!((archive.status, archive.header("content-type")), (200, Some(TAR)));
    client.post(&at("/files/mkdir"), json!({"path": "/workspace/c"})).await.expect(204);
    client.put(&at("/archive?path=/workspace/c"), TAR, &archive.body).await.expect(204);
    let found = client.post(&at("/exec"), command(&["find", "c", "-name", "one"])).await.expect(200);
    assert!(found["stdout"].as_str().expect("text").ends_with("/one\n"), "{found}");
    client.put(&at("/archive?path=/workspace/c"), TAR, b"no tar").await.refused(422, "file");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_paths_modes_and_lengths_are_refused() {
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.limits.upload_bytes = 1000;
    let daemon = Daemon::start(settings).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    for path in ["/files", "/files?path=", "/files?path=a", "/files?path=/a%00", "/files?path=/a&x=1"] {
        client.get(&at(path)).await.refused(400, "usage");
    }
    let octal = client.put(&at("/files?path=/workspace/a&mode=9"), OCTETS, b"").await;
    octal.refused(400, "usage");
    let made = json!({"path": "/workspace/a", "mode": 0o10000});
    client.post(&at("/files/mkdir"), made).await.refused(400, "usage");
    let long = client.put(&at("/files?path=/workspace/a"), OCTETS, &[0; 1001]).await;
    long.refused(413, "too_large");
    let chunked = format!(
        "PUT {} HTTP/1.1\r\nHost: a\r\nContent-Type: {OCTETS}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        at("/files?path=/workspace/a")
    );
    let chunk = [&b"320\r\n"[..], &[0; 800], b"\r\n"].concat();
    let bytes = [chunked.as_bytes(), &chunk, &chunk, b"0\r\n\r\n"].concat();
    let mut wire = client.raw(&bytes).await;
    crate::client::read_reply(&mut wire).await.refused(413, "too_large");
    // What did not arrive as a whole is not there.
    client.get(&at("/files/stat?path=/workspace/a")).await.refused(422, "file");
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_the_file_as_it_was() {
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let client = daemon.client();
    create(&client, json!({"name": "a"})).await;
    put(&client, "/workspace/a", b"as it was").await;
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: a\r\nContent-Type: {OCTETS}\r\nContent-Length: 100000\r\n\r\nhalf",
        at("/files?path=/workspace/a")
    );
    drop(client.raw(head.as_bytes()).await);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(client.get(&at("/files?path=/workspace/a")).await.body, b"as it was");
    let list = client.get(&at("/files/list?path=/workspace")).await.expect(200);
    assert_eq!(list.as_array().expect("a list").len(), 1, "{list}");
    daemon.stop(ShutdownMode::Kill).await;
}
