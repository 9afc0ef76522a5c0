//! The Docker backend on an engine of the test's own.

use agentkernel_container::{ContainerBackend, EngineSettings};
use agentkernel_core::Backend as _;
use agentkernel_testkit::{TestEngine, available_or_skip};

/// A backend, and the engine that it uses.
pub struct Fixture {
    pub backend: ContainerBackend,
    pub engine: TestEngine,
}

/// Where a test's engine is.
pub fn settings(engine: &TestEngine) -> EngineSettings {
    EngineSettings {
        docker_host: Some(engine.address()),
        search_path: ["/usr/sbin", "/usr/bin"].map(Into::into).into(),
        runtime_dir: "/run/agentkernel".into(),
        ..EngineSettings::default()
    }
}

/// A backend on this engine.
pub fn backend(engine: &TestEngine) -> ContainerBackend {
    ContainerBackend::docker(settings(engine))
}

/// The backend, or `None` after a loud skip.
pub async fn fixture() -> Option<Fixture> {
    let engine = TestEngine::docker()?;
    let backend = backend(&engine);
    available_or_skip("docker", &backend.probe().await).then_some(Fixture { backend, engine })
}
