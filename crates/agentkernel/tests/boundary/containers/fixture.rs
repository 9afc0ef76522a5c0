//! The backends of container engines, each on an engine of the test's own.

use agentkernel_container::{ContainerBackend, EngineSettings};
use agentkernel_core::{Backend as _, BackendKind};
use agentkernel_testkit::{TestEngine, available_or_skip};

/// A backend, and the engine that it uses.
pub struct Fixture {
    pub backend: ContainerBackend,
    pub engine: TestEngine,
    pub home: tempfile::TempDir,
}

impl Fixture {
    /// The backend of another program that uses the same engine.
    pub fn another(&self) -> ContainerBackend {
        match self.backend.kind() {
            BackendKind::Podman => podman_backend(&self.engine, &self.home),
            _ => backend(&self.engine),
        }
    }
}

/// Where a test's engine is.
pub fn settings(engine: &TestEngine) -> EngineSettings {
    EngineSettings {
        docker_host: Some(engine.address()),
        container_host: Some(engine.address()),
        search_path: ["/usr/sbin", "/usr/bin"].map(Into::into).into(),
        runtime_dir: "/run/agentkernel".into(),
        ..EngineSettings::default()
    }
}

/// A backend on this engine.
pub fn backend(engine: &TestEngine) -> ContainerBackend {
    ContainerBackend::docker(settings(engine))
}

/// Docker, or `None` after a loud skip.
pub async fn fixture() -> Option<Fixture> {
    let engine = TestEngine::docker()?;
    let backend = backend(&engine);
    let home = tempfile::tempdir().expect("a folder");
    available_or_skip("docker", &backend.probe().await).then_some(Fixture { backend, engine, home })
}

/// Podman, likewise.
pub async fn podman_fixture() -> Option<Fixture> {
    let engine = TestEngine::podman()?;
    let home = tempfile::tempdir().expect("a folder");
    let backend = podman_backend(&engine, &home);
    available_or_skip("podman", &backend.probe().await).then_some(Fixture { backend, engine, home })
}

fn podman_backend(engine: &TestEngine, home: &tempfile::TempDir) -> ContainerBackend {
    ContainerBackend::podman(EngineSettings { runtime_dir: home.path().to_owned(), ..settings(engine) })
}
