//! A container engine of a test's own: started by it, stopped by it, and nothing is left.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agentkernel_core::Availability;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::random_u64;
use crate::require::{available_or_skip, patiently};

/// Where Linux distributions keep their programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How long an engine may take to come up or to go down.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often that is looked at.
const POLL: Duration = Duration::from_millis(20);

/// A running engine.
#[derive(Debug)]
pub struct TestEngine {
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
        available_or_skip("docker", &docker_is_there()).then(|| {
            let folder = tempfile::Builder::new().prefix("ak-docker-").tempdir().expect("make a folder");
            let group = format!("ak-docker-{:016x}", random_u64());
            let child = start_docker(folder.path(), &group).expect("start dockerd");
            let engine = Self { folder, child, group };
            engine.wait_until_up()
        })
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
        self.child = start_docker(self.folder.path(), &self.group).expect("start dockerd");
        self.wait_until_up()
    }

    /// Asks it with its own client, and gives what that prints.
    ///
    /// # Panics
    /// If the client fails.
    #[must_use]
    pub fn client(&self, words: &[&str]) -> String {
        #[expect(clippy::disallowed_methods, reason = "an oracle that is no program of ours")]
        let output = Command::new("docker")
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", self.folder.path())
            .args(["--host", &self.address()])
            .args(words)
            .output()
            .expect("run the client");
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
        unmount_all_below(self.folder.path());
        remove_groups(&self.group);
    }
}

fn docker_is_there() -> Availability {
    let has = |name: &str| PATH.split(':').any(|folder| Path::new(folder).join(name).is_file());
    let unavailable =
        |needs: &str, hint: &str| Availability::Unavailable { needs: needs.into(), hint: hint.into() };
    if !rustix::process::geteuid().is_root() {
        return unavailable("root, to start dockerd", "run the tests as root");
    }
    if !["dockerd", "containerd", "runc", "setpriv"].iter().all(|name| has(name)) {
        return unavailable("dockerd, containerd, runc and setpriv", "apt-get install docker.io util-linux");
    }
    Availability::Available { facts: Vec::new() }
}

fn start_docker(folder: &Path, group: &str) -> io::Result<Child> {
    let place = |name: &str| folder.join(name).display().to_string();
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    #[expect(clippy::disallowed_methods, reason = "the engine is beside the program under test")]
    let mut command = Command::new("setpriv");
    // It ends with the thread that runs the test, whatever ends that.
    command.args([
        "--pdeathsig",
        "TERM",
        "dockerd",
        "--bridge=none",
        "--iptables=false",
        "--ip-forward=false",
    ]);
    command
        .args(["--ip-masq=false", "--storage-driver", "overlay2", "--cgroup-parent"])
        .arg(format!("/{group}"));
    command.args(["--data-root", &place("data"), "--exec-root", &place("exec"), "--pidfile", &place("pid")]);
    command.args(["--host", &format!("unix://{}", place("engine.sock"))]);
    command.env_clear().env("PATH", PATH).current_dir("/");
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()
}

/// Whether somebody answers.
fn answers(socket: &Path) -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = std::os::unix::net::UnixStream::connect(socket) else { return false };
    let asked = stream.write_all(b"GET /_ping HTTP/1.0\r\n\r\n");
    let mut answer = String::new();
    asked.is_ok() && stream.read_to_string(&mut answer).is_ok() && answer.contains("200 OK")
}

/// A killed engine leaves the roots of its containers mounted.
fn unmount_all_below(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for place in places.filter(|place| Path::new(place).starts_with(folder)) {
        rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

/// Engines leave their own group.
fn remove_groups(name: &str) {
    let roots = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
    for group in roots.map(|root| root.join(name)).chain([Path::new("/sys/fs/cgroup").join(name)]) {
        for below in fs::read_dir(&group).into_iter().flatten().flatten() {
            if below.path().is_dir() {
                fs::remove_dir(below.path()).ok();
            }
        }
        fs::remove_dir(group).ok();
    }
}
