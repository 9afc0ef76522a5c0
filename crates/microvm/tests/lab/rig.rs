//! What the tests share: a backend with the real program, and sandboxes of a small root.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use agentkernel_core::{
    Availability, Command, ExitStatus, Image, Profile, Sandbox, SandboxName, SandboxSpec, SandboxSpecBuilder,
};
use agentkernel_kvm::KvmLevel;
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings, setup};
use agentkernel_testkit::{available_or_skip, listen, random_u64, tool_or_skip};
use tempfile::TempDir;

use crate::past::Small;
use crate::root::{has_kernel, home as kept, root};

fn search_path() -> Vec<PathBuf> {
    let folder = tool_or_skip("firecracker").and_then(|path| Some(path.parent()?.to_owned()));
    let system = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folder.into_iter().chain(system.map(PathBuf::from)).collect()
}

/// Makes what an emulated host cannot: it has no network.
pub fn prepare() -> bool {
    if !has_kernel()
        && let Err(error) = setup::from_debian(&kept(), &search_path(), &mut |_| {})
    {
        let hint = error.hint.clone().unwrap_or_default();
        assert!(!available_or_skip("qemu", &Availability::Unavailable { needs: error.to_string(), hint }));
        return false;
    }
    root().is_some()
}

pub struct Rig {
    /// Before its folder goes.
    _room: Option<Small>,
    folder: TempDir,
    pub home: PathBuf,
}

/// A host on which machines run. If not, another test runs this one where they do.
pub fn rig() -> Option<Rig> {
    made(None)
}

/// The same with room for the kernel and a root, and for no machine's memory.
pub fn in_little_room() -> Option<Rig> {
    made(Some(14 << 20))
}

/// One whose home has so many bytes beside the kernel.
fn made(room: Option<u64>) -> Option<Rig> {
    static LEVEL: OnceLock<KvmLevel> = OnceLock::new();
    let level = LEVEL.get_or_init(agentkernel_kvm::probe);
    let needs = format!("KVM on hardware virtualisation: {}", level.describe());
    let hint = "an emulated host has it: everything_holds_on_kvm_or_in_an_emulated_host_that_has_it".into();
    let available = match level {
        KvmLevel::Hardware => Availability::Available { facts: Vec::new() },
        _ => Availability::Unavailable { needs, hint },
    };
    if !available_or_skip("kvm", &available) || !prepare() {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let home = folder.path().join("home");
    let kernel = || fs::read_dir(kept().join("kernel")).expect("listed").flatten();
    let kernel_bytes: u64 = kernel().map(|entry| entry.metadata().expect("there").len()).sum();
    let room = match room {
        Some(bytes) => Some(Small::at(home.clone(), kernel_bytes + bytes)?),
        None => None,
    };
    fs::create_dir_all(home.join("kernel")).expect("made");
    // The files of a jail are names of those of its home.
    for entry in kernel() {
        fs::copy(entry.path(), home.join("kernel").join(entry.file_name())).expect("copied");
    }
    Some(Rig { _room: room, folder, home })
}

impl Rig {
    pub fn backend(&self, snapshots: bool) -> MicrovmBackend {
        MicrovmBackend::firecracker(MicrovmSettings {
            home: Some(self.home.clone()),
            runtime_dir: self.folder.path().to_owned(),
            search_path: search_path(),
            snapshots,
            hardware: agentkernel_kvm::hardware,
        })
    }

    /// What machines are filled with.
    pub fn image() -> Image {
        Image::Rootfs(root().expect("made before"))
    }

    pub fn builder() -> SandboxSpecBuilder {
        let name = SandboxName::from_random(random_u64());
        SandboxSpec::builder(name, Profile::Restrictive).image(Self::image())
    }

    pub fn spec() -> SandboxSpec {
        Self::builder().build().expect("sound")
    }
}

/// What a command says, which must end well.
pub async fn said(sandbox: &dyn Sandbox, script: &str) -> String {
    let command = Command::new(["sh", "-c", script]);
    let said = listen(sandbox.exec(&command).await.expect("started")).await.expect("heard");
    assert_eq!(said.exited.status, ExitStatus::Code(0), "{script}: {}", said.text());
    said.text()
}

/// The parent of a process.
pub fn parent(pid: i32) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let fields = stat.rsplit_once(')').expect("a name").1;
    fields.split_whitespace().nth(1).and_then(|parent| parent.parse().ok()).expect("a number")
}
