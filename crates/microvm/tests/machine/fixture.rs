//! A real QEMU with Debian's kernel, which is downloaded once and kept below the target folder.

use std::path::{Path, PathBuf};

use agentkernel_core::{
    Availability, Backend as _, Image, Profile, SandboxName, SandboxSpec, SandboxSpecBuilder,
};
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings, setup};
use agentkernel_testkit::{available_or_skip, random_u64};
use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use crate::root::{has_kernel, home, root};

/// The feature that a run may require.
pub const FEATURE: &str = "qemu";

/// Whose turn it is: tests count what is left in their own process, and would see each other.
static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for its end.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// Where programs are on a Debian system.
pub fn search_path() -> Vec<PathBuf> {
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from).into()
}

pub struct Fixture {
    _turn: MutexGuard<'static, ()>,
    pub backend: MicrovmBackend,
    /// Where sockets are while a machine begins.
    pub runtime: TempDir,
    pub image: Image,
}

/// What the machines of a test run on.
pub fn settings(runtime: &Path, home: PathBuf) -> MicrovmSettings {
    MicrovmSettings {
        home: Some(home),
        runtime_dir: runtime.to_owned(),
        search_path: search_path(),
        snapshots: true,
        hardware: || Err("not asked for".into()),
    }
}

/// A backend that works, or a loud skip.
pub async fn fixture() -> Option<Fixture> {
    let turn = turn().await;
    let runtime = tempfile::tempdir().expect("a folder");
    let unavailable = tokio::task::spawn_blocking(download).await.expect("it ends");
    if let Some(unavailable) = unavailable {
        assert!(!available_or_skip(FEATURE, &unavailable));
        return None;
    }
    let backend = MicrovmBackend::qemu(settings(runtime.path(), home()));
    if !available_or_skip(FEATURE, &backend.probe().await) {
        return None;
    }
    let image = Image::Rootfs(root()?);
    Some(Fixture { _turn: turn, backend, runtime, image })
}

/// The kernel, unless it is there; why it cannot be had.
fn download() -> Option<Availability> {
    if has_kernel() {
        return None;
    }
    let error = setup::from_debian(&home(), &search_path(), &mut |_| {}).err()?;
    Some(Availability::Unavailable { needs: error.to_string(), hint: error.hint.unwrap_or_default() })
}

impl Fixture {
    /// Those of its backend.
    pub fn backend_settings(&self) -> MicrovmSettings {
        settings(self.runtime.path(), home())
    }

    pub fn spec(&self) -> SandboxSpecBuilder {
        let name = SandboxName::from_random(random_u64());
        SandboxSpec::builder(name, Profile::Restrictive).image(self.image.clone()).emulate(true)
    }
}
