//! A backend as the daemon would make it, in a runtime folder of the test's own.

use std::path::Path;
use std::sync::Arc;

use agentkernel_core::{
    Backend as _, Command, Exited, OutputStream, ProcessEvent, Profile, Sandbox, SandboxSpec,
};
use agentkernel_oci::plan::Plan;
use agentkernel_oci::{OciBackend, RuntimeDir, Zygote};
use agentkernel_testkit::{available_or_skip, random_u64};

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_agentkernel");

/// A backend with a zygote of its own, and the folder that it keeps its records in.
pub struct Fixture {
    pub backend: OciBackend,
    _home: tempfile::TempDir,
}

impl Fixture {
    /// The same with every plan changed: a negative control.
    pub fn weakened(self, change: impl Fn(&mut Plan) + Send + Sync + 'static) -> Self {
        Self { backend: self.backend.weakened(change), ..self }
    }
}

/// The backend, or `None` after a loud skip.
pub async fn fixture() -> Option<Fixture> {
    let home = tempfile::tempdir().expect("a temporary folder");
    let zygote = Zygote::spawn(Path::new(PROGRAM), &["zygote"]).expect("the zygote starts");
    let uid = rustix::process::geteuid().as_raw();
    let backend = OciBackend::new(Arc::new(zygote), RuntimeDir::locate(Some(home.path()), None, uid));
    available_or_skip("oci", &backend.probe().await).then_some(Fixture { backend, _home: home })
}

/// A restrictive sandbox with a name that no other test has.
pub fn spec() -> SandboxSpec {
    let name = agentkernel_core::SandboxName::from_random(random_u64());
    SandboxSpec::builder(name, Profile::Restrictive).build().expect("valid")
}

/// Everything that a command said, and how it ended.
pub struct Said {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: Exited,
}

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Runs a command to its end.
pub async fn exec(sandbox: &dyn Sandbox, argv: &[&str]) -> Said {
    let mut process = sandbox.exec(&Command::new(argv.iter().copied())).await.expect("it starts");
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match process.next().await.expect("the sandbox lives") {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => stdout.extend_from_slice(&bytes),
            ProcessEvent::Output(OutputStream::Stderr, bytes) => stderr.extend_from_slice(&bytes),
            ProcessEvent::Exited(exited) => return Said { stdout, stderr, exited },
        }
    }
}
