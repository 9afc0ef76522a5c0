//! A backend as the daemon would make it, in a runtime folder of the test's own.

use std::path::Path;
use std::sync::Arc;

use agentkernel_core::{Backend as _, Command, Limits, Profile, Sandbox, SandboxName, SandboxSpec};
use agentkernel_oci::engine::Engine;
use agentkernel_oci::plan::Plan;
use agentkernel_oci::{OciBackend, RuntimeDir, Zygote};
use agentkernel_testkit::{Said, available_or_skip, listen, other_runtimes, random_u64};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_agentkernel");

/// A backend with a zygote of its own, and the folder that it keeps its records in.
pub struct Fixture {
    pub backend: OciBackend,
    pub runtime: RuntimeDir,
    _home: tempfile::TempDir,
}

impl Fixture {
    /// The same, held to what the plan should have been.
    pub fn strict(self) -> Self {
        Self { backend: self.backend.strict(), ..self }
    }

    /// The same with every plan changed: a negative control.
    pub fn weakened(self, change: impl Fn(&mut Plan) + Send + Sync + 'static) -> Self {
        Self { backend: self.backend.weakened(change), ..self }
    }
}

/// The backend, or `None` after a loud skip.
pub async fn fixture() -> Option<Fixture> {
    fixture_by(Path::new(PROGRAM), &["zygote"]).await
}

/// The same with containers made by a runtime of the host; of another version if it is in the folder that
/// AGENTKERNEL_TEST_RUNTIMES names.
pub async fn fixture_with(engine: Engine) -> Option<Fixture> {
    let fixture = fixture().await?;
    let usual = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(Into::into);
    let folders: Vec<_> = other_runtimes().into_iter().chain(usual).collect();
    let fixture = Fixture { backend: fixture.backend.by(engine, &folders), ..fixture };
    available_or_skip(engine.kind().as_str(), &fixture.backend.probe().await).then_some(fixture)
}

/// The same with a zygote that this program becomes.
pub async fn fixture_by(program: &Path, words: &[&str]) -> Option<Fixture> {
    let home = tempfile::tempdir().expect("a temporary folder");
    let zygote = Zygote::spawn(program, words).expect("the zygote starts");
    let runtime = runtime_below(home.path());
    let backend = OciBackend::new(Arc::new(zygote), runtime.clone());
    available_or_skip("oci", &backend.probe().await).then_some(Fixture { backend, runtime, _home: home })
}

/// Where records are kept by whoever is at home in this folder.
pub fn runtime_below(home: &Path) -> RuntimeDir {
    RuntimeDir::locate(Some(home), None, rustix::process::geteuid().as_raw())
}

/// A restrictive sandbox with a name that no other test has.
pub fn spec() -> SandboxSpec {
    spec_with(Limits::of(Profile::Restrictive))
}

/// The same with these limits.
pub fn spec_with(limits: Limits) -> SandboxSpec {
    let name = SandboxName::from_random(random_u64());
    SandboxSpec::builder(name, Profile::Restrictive).limits(limits).build().expect("valid")
}

/// Runs a command to its end.
pub async fn exec(sandbox: &dyn Sandbox, argv: &[&str]) -> Said {
    let process = sandbox.exec(&Command::new(argv.iter().copied())).await.expect("it starts");
    listen(process).await.expect("the sandbox lives")
}
