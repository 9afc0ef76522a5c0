//! What the tests share: a backend with our helper, sandboxes of a root with a probe in it, and commands to their ends.

use std::fs::{self, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Once, OnceLock};
use std::time::Duration;

use agentkernel_core::{
    Availability, Backend as _, ByteSize, Command, Exited, Image, Limit, Limits, OutputStream, ProcessEvent,
    Profile, Result, Sandbox, SandboxName, SandboxSpec, Stdin,
};
use agentkernel_hyperlight::HyperlightBackend;
use agentkernel_kvm::KvmLevel;
use agentkernel_process::Program;
use agentkernel_testkit::available_or_skip;
use bytes::Bytes;

/// The helper that was built with these tests.
const HELPER: &str = env!("CARGO_BIN_EXE_agentkernel-hyperlight");

/// Longer than anything takes in an emulated host.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What these tests need, as skips call it.
pub const KVM: &str = "kvm";

/// Whether a machine can run here. If not, another test runs this one where it can.
pub fn has_kvm() -> bool {
    static LEVEL: OnceLock<KvmLevel> = OnceLock::new();
    let level = LEVEL.get_or_init(agentkernel_kvm::probe);
    let needs = format!("KVM on hardware virtualisation: {}", level.describe());
    let hint = "an emulated host has it: everything_holds_on_kvm_or_in_an_emulated_host_that_has_it".into();
    let available = match level {
        KvmLevel::Hardware => Availability::Available { facts: Vec::new() },
        _ => Availability::Unavailable { needs, hint },
    };
    available_or_skip(KVM, &available)
}

/// The folder with the probe: as programs are made today, and once at a fixed address. It is made once, and an emulated host
/// sees it.
pub fn root() -> PathBuf {
    static MADE: Once = Once::new();
    let mut hash = DefaultHasher::new();
    include_str!("probe.c").hash(&mut hash);
    let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("probe-{:016x}", hash.finish()));
    MADE.call_once(|| {
        if !root.join("bin/sh").exists() {
            make(&root.join("bin"));
        }
    });
    root
}

fn make(bin: &Path) {
    fs::create_dir_all(bin).expect("made");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/probe.c");
    for (name, kind) in [("probe", "-static-pie"), ("fixed", "-static")] {
        let (to, from) = (bin.join(name), source.to_str().expect("text"));
        let program = Program::new(Path::new("/usr/bin/gcc")).expect("absolute").argument("-B/usr/bin");
        let program =
            program.argument("-O1").argument(kind).argument("-o").argument(to.to_str().expect("text"));
        program.argument(from).output(PATIENCE).expect("it compiles");
    }
    fs::write(bin.join("script"), "#!/bin/probe exit\n").expect("written");
    fs::set_permissions(bin.join("script"), Permissions::from_mode(0o755)).expect("made executable");
    fs::copy("/bin/sh", bin.join("sh")).expect("copied");
}

pub fn backend() -> HyperlightBackend {
    HyperlightBackend::new(vec![Path::new(HELPER).parent().expect("a folder").to_owned()])
}

/// A description of a machine of this root with so much memory.
pub fn spec(image: Image, memory_mib: u64) -> SandboxSpec {
    let profile = Profile::Restrictive;
    let memory = Limit::At(ByteSize::mib(memory_mib));
    let limits = Limits { memory, ..Limits::of(profile) };
    let name: SandboxName = "lab".parse().expect("a name");
    SandboxSpec::builder(name, profile).image(image).limits(limits).build().expect("a description")
}

/// A sandbox with the probe.
pub async fn probing() -> Box<dyn Sandbox> {
    let booted = backend().boot(&spec(Image::Rootfs(root()), 128)).await;
    booted.unwrap_or_else(|why| panic!("{why}")).sandbox
}

/// All that a command has said, and its end.
#[derive(Debug, PartialEq, Eq)]
pub struct Said {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub exited: Exited,
}

impl Said {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    pub fn code(&self) -> u8 {
        self.exited.status.shell_code()
    }
}

pub fn command(words: &[&str]) -> Command {
    Command::new(words.iter().map(|word| word.as_bytes().to_vec()))
}

/// Runs it to its end; one that is given input reads it.
pub async fn run(sandbox: &dyn Sandbox, command: &Command, input: Option<Vec<u8>>) -> Result<Said> {
    let mut command = command.clone();
    command.stdin = if input.is_some() { Stdin::Pipe } else { Stdin::Null };
    let mut process = sandbox.exec(&command).await?;
    let control = process.control();
    let feed = tokio::spawn(async move {
        if let Some(input) = input {
            control.write_stdin(Bytes::from(input)).await.expect("written");
            control.close_stdin().await.expect("closed");
        }
    });
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    loop {
        match tokio::time::timeout(PATIENCE, process.next()).await.expect("it says something")? {
            ProcessEvent::Output(OutputStream::Stdout, bytes) => stdout.extend_from_slice(&bytes),
            ProcessEvent::Output(OutputStream::Stderr, bytes) => stderr.extend_from_slice(&bytes),
            ProcessEvent::Exited(exited) => {
                feed.await.expect("it was fed");
                return Ok(Said { stdout, stderr, exited });
            }
        }
    }
}

/// The same for words alone.
pub async fn say(sandbox: &dyn Sandbox, words: &[&str]) -> Said {
    run(sandbox, &command(words), None).await.unwrap_or_else(|why| panic!("{words:?}: {why}"))
}
