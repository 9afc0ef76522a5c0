//! Random, wrong and hostile requests, made by schemathesis from the document of the API: whatever the daemon replies
//! must be in that document.

#[path = "../server/client.rs"]
#[expect(dead_code, reason = "the tests by hand use the rest")]
mod client;
#[path = "../server/daemon.rs"]
#[expect(dead_code, reason = "the tests by hand use the rest")]
mod daemon;

use std::path::{Path, PathBuf};
use std::time::Duration;

use agentkernel_api::ShutdownMode;
use agentkernel_testkit::{Finished, TestEnvironment, python_package};
use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};

use client::Client;
use daemon::{Daemon, folder, settings};

/// It counts its own time; this is for when it does not.
const DEADLINE: Duration = Duration::from_secs(120);

/// Sandboxes that random requests have made, and that may be there at a time.
const STRAYS_MAX: usize = 20;

/// The program, if it was installed.
fn schemathesis() -> Option<PathBuf> {
    Some(python_package(env!("CARGO_TARGET_TMPDIR"), "schemathesis")?.join("schemathesis"))
}

/// Has it attack the daemon that answers at this address, and returns what it found.
async fn attack(program: PathBuf, address: &str, words: &[&str]) -> Finished {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    let environment = TestEnvironment::new();
    let mut command = environment.command(program);
    command.arg("--config-file").arg(source.join("tests/schemathesis/schemathesis.toml"));
    command.arg("run").arg(source.join("../../docs/openapi.json")).args(["--url", address]).args(words);
    command.env("PYTHONPATH", source.join("tests/schemathesis")).env("PYTHONDONTWRITEBYTECODE", "1");
    let child = command.spawn().expect("start");
    let wait = || Finished::wait("schemathesis".into(), child, DEADLINE);
    tokio::task::spawn_blocking(wait).await.expect("it ends in time")
}

/// That it found nothing, and that it looked.
fn assert_clean(found: &Finished, cases_min: u64) {
    let said = found.stdout_text();
    assert!(found.status.success(), "{said}\n{}", found.stderr_text());
    let mut words = said.split_whitespace().map(|word| word.replace(',', ""));
    let generated = words.by_ref().take_while(|word| word != "generated").last();
    let count: u64 = generated.and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(count >= cases_min, "only {count} test cases: {said}");
}

/// A door on TCP to the socket, whose callers may do everything.
async fn proxy(socket: PathBuf) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((mut outside, _)) = listener.accept().await {
            let socket = socket.clone();
            tokio::spawn(async move {
                let mut inside = UnixStream::connect(socket).await?;
                copy_bidirectional(&mut outside, &mut inside).await
            });
        }
    });
    format!("http://{address}")
}

/// Keeps a sandbox alive, for requests that say something of one, and others from becoming many.
async fn keep_house(client: Client) {
    loop {
        if client.get("/v1/sandboxes/web").await.status != 200 {
            client.delete("/v1/sandboxes/web").await;
            client.post("/v1/sandboxes", json!({"name": "web"})).await;
            let script = "echo hello >file; mkdir folder";
            let argv = json!({"argv": ["sh", "-c", script]});
            client.post("/v1/sandboxes/web/exec", argv).await;
            let argv = json!({"argv": ["sleep", "1000"], "background": true});
            client.post("/v1/sandboxes/web/exec", argv).await;
        }
        // Whoever listens to events hears one.
        client.post("/v1/sandboxes/web/timeout", json!({"timeout_ms": 600_000})).await;
        let all = client.get("/v1/sandboxes").await.json();
        let strays = |one: &&Value| one["name"] != "web" && one["run"] == false;
        let strays: Vec<_> = all["sandboxes"].as_array().into_iter().flatten().filter(strays).collect();
        for one in strays.iter().rev().skip(STRAYS_MAX) {
            client.delete(&format!("/v1/sandboxes/{}", one["id"].as_str().expect("an id"))).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_asked_the_reply_is_one_that_the_document_says() {
    let Some(program) = schemathesis() else { return };
    let folder = folder();
    let daemon = Daemon::start(settings(folder.path())).await;
    let house = tokio::spawn(keep_house(daemon.client()));
    let address = proxy(daemon.serving.socket.clone()).await;
    // One that is obeyed ends the daemon; with a token it is not.
    let words = ["--exclude-path", "/v1/shutdown", "--phases", "coverage,fuzzing,stateful"];
    let found = attack(program, &address, &words).await;
    house.abort();
    assert_clean(&found, 2000);
    daemon.stop(ShutdownMode::Kill).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_token_it_is_no_other() {
    let Some(program) = schemathesis() else { return };
    let folder = folder();
    let mut settings = settings(folder.path());
    settings.tcp = Some("127.0.0.1:0".parse().expect("an address"));
    let daemon = Daemon::start(settings).await;
    let made = std::fs::read_to_string(&daemon.serving.tokens).expect("made");
    let token = made.trim().strip_prefix("default:").expect("an owner");
    let house = tokio::spawn(keep_house(daemon.tcp(Some(token))));
    let address = format!("http://{}", daemon.serving.tcp.expect("TCP"));
    let header = format!("Authorization: Bearer {token}");
    let found = attack(program, &address, &["--header", &header, "--phases", "coverage"]).await;
    house.abort();
    assert_clean(&found, 1000);
    daemon.client().get("/v1/health").await.expect(200);
    daemon.stop(ShutdownMode::Kill).await;
}
