//! A backend, modules in files, and what becomes of commands.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use agentkernel_core::{
    Backend as _, Call, Command, Error, ExitStatus, Exited, Image, Limits, OutputStream, Process,
    ProcessEvent, Profile, Returned, Sandbox, SandboxName, SandboxSpec,
};
use agentkernel_wasm::WasmBackend;
use tempfile::TempDir;
use tokio::time::timeout;

pub const TOOL: &str = include_str!("modules/tool.wat");
pub const LIBRARY: &str = include_str!("modules/library.wat");
pub const HOSTILE: &str = include_str!("modules/hostile.wat");

/// Whatever takes longer hangs.
const SOON: Duration = Duration::from_secs(30);

/// One backend for all tests, as a daemon has it.
static BACKEND: LazyLock<Arc<WasmBackend>> = LazyLock::new(|| Arc::new(WasmBackend::new(None)));

pub fn backend() -> Arc<WasmBackend> {
    BACKEND.clone()
}

/// A module in a file.
pub struct File {
    folder: TempDir,
}

impl File {
    pub fn of(content: impl AsRef<[u8]>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("module.wasm"), content).expect("written");
        Self { folder }
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("module.wasm")
    }

    pub fn image(&self) -> Image {
        Image::Module(agentkernel_wasm::module_file(&self.path()).expect("a file"))
    }

    pub fn spec(&self, limits: Limits) -> SandboxSpec {
        let name = SandboxName::from_random(u64::from(std::process::id()));
        let spec = SandboxSpec::builder(name, Profile::Restrictive).image(self.image()).limits(limits);
        spec.build().expect("valid")
    }

    pub async fn sandbox(&self, limits: Limits) -> Box<dyn Sandbox> {
        backend().boot(&self.spec(limits)).await.expect("boots").sandbox
    }

    /// Why it does not boot.
    pub async fn refused(&self) -> Error {
        match backend().boot(&self.spec(limits())).await {
            Ok(_) => panic!("it was not refused"),
            Err(error) => error,
        }
    }
}

pub fn limits() -> Limits {
    Limits::of(Profile::Restrictive)
}

/// The tool, told what to do.
pub fn tool(words: &[&str]) -> Command {
    Command::new(std::iter::once("tool").chain(words.iter().copied()))
}

/// All that a command said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Heard {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

pub async fn hear(process: &mut dyn Process) -> (Heard, Exited) {
    let mut heard = Heard::default();
    loop {
        match timeout(SOON, process.next()).await.expect("soon").expect("it goes on") {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => heard.stdout.extend(bytes),
            ProcessEvent::Output(OutputStream::Stderr, bytes) => heard.stderr.extend(bytes),
            ProcessEvent::Exited(exited) => return (heard, exited),
        }
    }
}

pub async fn run(sandbox: &dyn Sandbox, command: &Command) -> (Heard, Exited) {
    hear(sandbox.exec(command).await.expect("starts").as_mut()).await
}

/// What the tool says and how it ends, in a sandbox of its own.
pub async fn ran(words: &[&str]) -> (Heard, ExitStatus) {
    let file = File::of(TOOL);
    let sandbox = file.sandbox(limits()).await;
    let (heard, exited) = run(&*sandbox, &tool(words)).await;
    sandbox.stop().await.expect("stops");
    (heard, exited.status)
}

pub async fn called(sandbox: &dyn Sandbox, text: &str) -> Result<Returned, Error> {
    let call: Call = text.parse().expect("a call");
    timeout(SOON, sandbox.call(&call)).await.expect("soon")
}
