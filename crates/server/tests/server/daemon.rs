//! A daemon of a test's own, in a folder of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agentkernel_api::ShutdownMode;
use agentkernel_core::{Backend, Result};
use agentkernel_pool::PoolSettings;
use agentkernel_runtime::Registry;
use agentkernel_server::{ServeSettings, Serving, serve};
use agentkernel_testkit::FakeBackend;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::client::Client;

/// A daemon with its runtime, so that its end can be that of a process.
pub struct Daemon {
    pub serving: Serving,
    pub backend: Arc<FakeBackend>,
    /// `None` once it is gone.
    pub runtime: Option<Runtime>,
    ended: Option<oneshot::Receiver<Result<()>>>,
}

/// A folder for daemons.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("ak-server-").tempdir().expect("temp dir")
}

/// Without warm sandboxes unless a test wants them: they would count as leaks.
pub fn settings(folder: &Path) -> ServeSettings {
    let pool = PoolSettings { target: 0..=0, ..PoolSettings::default() };
    ServeSettings { pool, ..ServeSettings::new(folder) }
}

impl Daemon {
    pub async fn start(settings: ServeSettings) -> Self {
        Self::with(settings, Arc::new(FakeBackend::new())).await
    }

    pub async fn with(settings: ServeSettings, backend: Arc<FakeBackend>) -> Self {
        Self::of(settings, backend.clone(), backend).await.expect("the daemon serves")
    }

    /// A daemon on another backend, which may be one that uses the fake.
    pub async fn of(
        settings: ServeSettings,
        used: Arc<dyn Backend>,
        backend: Arc<FakeBackend>,
    ) -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build().expect("a runtime");
        let (ready, is_ready) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        runtime.spawn(async move {
            let registry = Registry::of(vec![used]);
            let result = serve(settings, registry, |serving| drop(ready.send(serving))).await;
            drop(end.send(result));
        });
        match is_ready.await {
            Ok(serving) => Ok(Self { serving, backend, runtime: Some(runtime), ended: Some(ended) }),
            Err(_) => {
                let error = ended.await.expect("an end").expect_err("not ready and no error");
                runtime.shutdown_background();
                Err(error)
            }
        }
    }

    /// Whoever runs the daemon.
    pub fn client(&self) -> Client {
        Client::Socket(self.serving.socket.clone())
    }

    /// Somebody with a token.
    pub fn tcp(&self, token: Option<&str>) -> Client {
        let address = self.serving.tcp.expect("it listens on TCP");
        Client::Tcp { address, token: token.map(str::to_owned) }
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> Result<()> {
        let ended = self.ended.take().expect("nobody waited before");
        let result = tokio::time::timeout(Duration::from_secs(30), ended).await.expect("it ends in time");
        result.expect("it says how")
    }

    /// Stops it, and checks that nothing is left.
    pub async fn stop(mut self, mode: ShutdownMode) {
        self.serving.stop(mode);
        self.ended().await.expect("it ended well");
        assert_eq!(self.backend.living(), []);
        assert!(!self.serving.socket.exists(), "the socket is left");
    }

    /// Has it die as by SIGKILL: nothing that it would still do is done.
    pub async fn crash(mut self) -> Arc<FakeBackend> {
        self.backend.lose_holder();
        let runtime = self.runtime.take().expect("it runs");
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(5)))
            .await
            .expect("gone");
        self.backend.clone()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A run of these words.
pub fn run(argv: &[&str]) -> Value {
    json!({"command": {"argv": argv}})
}

/// A command of these words.
pub fn command(argv: &[&str]) -> Value {
    json!({"argv": argv})
}

/// Makes a sandbox, and returns it.
pub async fn create(client: &Client, request: Value) -> Value {
    client.post("/v1/sandboxes", request).await.expect(201)
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let wait = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}
