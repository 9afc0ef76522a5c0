//! A container engine of a test's own: started by it, stopped by it, and nothing is left.

mod busybox;
mod remains;
mod start;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use agentkernel_core::Availability;
pub use remains::unmount_all_below;
use remains::{end_all_of, end_group, remove_group};
use rustix::process::{Pid, Signal, kill_process};
use start::{podman_words, spawn};
use tempfile::TempDir;

use crate::random_u64;
use crate::require::{available_or_skip, patiently};

/// Where Linux distributions keep their programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long an engine may take to come up or to go down.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often that is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Programs that each of them is made of.
const DOCKER: &[&str] = &["dockerd", "docker", "containerd", "runc", "setpriv"];
const PODMAN: &[&str] = &["podman", "conmon", "runc", "setpriv"];

/// What is run, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Make {
    Docker,
    /// With ids of its own for all that is in its containers.
    DockerWithIds,
    Podman,
}

/// A running engine.
#[derive(Debug)]
pub struct TestEngine {
    make: Make,
    folder: TempDir,
    child: Child,
    /// Its part of the control groups.
    group: String,
}

impl TestEngine {
    /// A Docker engine without a network, or `None` after a loud skip.
    ///
    /// # Panics
    /// If it does not come up, or if it is missing and must not be.
    #[must_use]
    pub fn docker() -> Option<Self> {
        Self::start_after("docker", Make::Docker, DOCKER, "docker.io", |_| {})
    }

    /// Docker, likewise, on a disk of so many bytes, which is its folder [`TestEngine::disk`].
    ///
    /// # Panics
    /// If it does not come up, or if it is missing and must not be.
    #[must_use]
    pub fn docker_on_a_small_disk(bytes: u64) -> Option<Self> {
        let prepare = |folder: &Path| {
            let (disk, options) = (folder.join("data"), std::ffi::CString::new(format!("size={bytes}")));
            fs::create_dir(&disk).expect("make a folder");
            let flags = rustix::mount::MountFlags::empty();
            let options = options.expect("no NUL");
            rustix::mount::mount("tmpfs", &disk, "tmpfs", flags, Some(options.as_c_str()))
                .expect("mount a disk");
        };
        Self::start_after("docker", Make::Docker, DOCKER, "docker.io", prepare)
    }

    /// Docker, likewise, whose containers are in a user namespace (`--userns-remap`).
    ///
    /// # Panics
    /// If it does not come up, or if it is missing and must not be.
    #[must_use]
    pub fn docker_with_user_namespaces() -> Option<Self> {
        Self::start_after("docker", Make::DockerWithIds, DOCKER, "docker.io", start::give_ids)
    }

    /// Where it keeps its data.
    #[must_use]
    pub fn disk(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Podman's API on a storage of its own, likewise.
    ///
    /// # Panics
    /// If it does not come up, or if it is missing and must not be.
    #[must_use]
    pub fn podman() -> Option<Self> {
        Self::start_after("podman", Make::Podman, PODMAN, "podman", |_| {})
    }

    fn start_after(
        feature: &str,
        make: Make,
        programs: &[&str],
        package: &str,
        prepare: impl FnOnce(&Path),
    ) -> Option<Self> {
        available_or_skip(feature, &are_there(programs, package)).then(|| {
            let folder = tempfile::Builder::new().prefix("ak-engine-").tempdir().expect("make a folder");
            prepare(folder.path());
            let group = format!("ak-engine-{:016x}", random_u64());
            let child = spawn(make, folder.path(), &group).expect("start the engine");
            Self { make, folder, child, group }.wait_until_up()
        })
    }

    /// The folder that all of it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What its own client must be told before anything else.
    #[must_use]
    pub fn client_words(&self) -> Vec<String> {
        match self.make {
            Make::Docker | Make::DockerWithIds => vec!["--host".to_owned(), self.address()],
            Make::Podman => podman_words(&|name| self.folder.path().join(name).display().to_string()),
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("engine.sock")
    }

    /// The same as an address.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Ends it without a chance to clean up.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill the engine");
        self.child.wait().expect("fetch the engine");
    }

    /// Starts it once more, on what it left.
    #[must_use]
    pub fn restarted(mut self) -> Self {
        self.stop();
        // An engine that was killed leaves these, and a new one would wait for whoever has their numbers by now.
        for left in ["engine.sock", "pid", "exec/containerd/containerd.pid"] {
            fs::remove_file(self.folder.path().join(left)).ok();
        }
        self.child = spawn(self.make, self.folder.path(), &self.group).expect("start the engine");
        self.wait_until_up()
    }

    /// Asks it with its own client, and gives what that prints.
    ///
    /// # Panics
    /// If the client fails.
    #[must_use]
    pub fn client(&self, words: &[&str]) -> String {
        #[expect(clippy::disallowed_methods, reason = "an oracle that is no program of ours")]
        let mut client = match self.make {
            Make::Docker | Make::DockerWithIds => Command::new("docker"),
            Make::Podman => Command::new("podman"),
        };
        client
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.folder.path())
            .env("TMPDIR", self.folder.path());
        let output = client.args(self.client_words()).args(words).output().expect("run the client");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        said.trim().to_owned()
    }

    /// The end of its log.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }

    fn wait_until_up(mut self) -> Self {
        let until = Instant::now() + patiently(PATIENCE);
        while !answers(&self.socket()) {
            let has_ended = self.child.try_wait().expect("look at the engine").is_some();
            assert!(
                !has_ended && Instant::now() < until,
                "the engine does not come up:\n{}",
                self.last_words()
            );
            std::thread::park_timeout(POLL);
        }
        self
    }

    fn stop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)
        {
            // It may end just now.
            kill_process(pid, Signal::TERM).ok();
            let until = Instant::now() + patiently(PATIENCE);
            while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::park_timeout(POLL);
            }
        }
        // Both fail only where it has ended.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Drop for TestEngine {
    fn drop(&mut self) {
        self.stop();
        end_all_of(self.folder.path());
        unmount_all_below(self.folder.path());
        end_group(&self.group);
        if self.make == Make::Podman {
            // All of Podman's have this one in common: it stays while another has something in it.
            remove_group("libpod_parent");
        }
    }
}

fn are_there(programs: &[&str], package: &str) -> Availability {
    let has = |name: &&str| PATH.split(':').any(|folder| Path::new(folder).join(name).is_file());
    let unavailable = |needs: String, hint: String| Availability::Unavailable { needs, hint };
    if !rustix::process::geteuid().is_root() {
        return unavailable("root, to start an engine".into(), "run the tests as root".into());
    }
    match programs.iter().find(|name| !has(name)) {
        Some(missing) => unavailable((*missing).to_owned(), format!("apt-get install {package} util-linux")),
        None => Availability::Available { facts: Vec::new() },
    }
}

/// Whether somebody answers.
fn answers(socket: &Path) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    let asked = stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains("200 OK")
}
