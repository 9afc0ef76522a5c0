//! The program with machines of a real QEMU, emulated, in the hands of root and of an ordinary user.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use agentkernel_core::{Availability, Image, Profile, SandboxName, SandboxSpec, SandboxSpecBuilder};
use agentkernel_kvm::KvmLevel;
use agentkernel_microvm::{MicrovmBackend, MicrovmSettings, setup};
use agentkernel_testkit::{
    Finished, TestEnvironment, available_or_skip, in_kvm_lab, random_u64, tool_or_skip,
};
use serde_json::Value;

use crate::attacks::no_attack_works_in;
use crate::probe;
use crate::support::PROGRAM;

/// Whose turn it is to look for the kernel: a second setup beside the first is refused.
static SETUP: Mutex<()> = Mutex::new(());

/// A host with a kernel for machines and a small system for their root.
struct Host {
    environment: TestEnvironment,
    root: PathBuf,
}

impl Host {
    /// A host, or a loud skip. The kernel is kept from run to run, below the target folder.
    fn new(environment: TestEnvironment) -> Option<Self> {
        for tool in ["qemu-system-x86_64", "mke2fs", "setpriv"] {
            tool_or_skip(tool)?;
        }
        let (busybox, kept) =
            (tool_or_skip("busybox")?, Path::new(env!("CARGO_TARGET_TMPDIR")).join("microvm"));
        let search_path: Vec<PathBuf> = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from).into();
        let turn = SETUP.lock().unwrap_or_else(PoisonError::into_inner);
        let set_up = || setup::from_debian(&kept, &search_path, &mut |_| {});
        let failure = if kept.join("kernel/about.json").exists() { None } else { set_up().err() };
        drop(turn);
        if let Some(error) = failure {
            let hint = error.hint.clone().unwrap_or_default();
            let unavailable = Availability::Unavailable { needs: error.to_string(), hint };
            assert!(!available_or_skip("qemu", &unavailable));
            return None;
        }
        let home = environment.agentkernel_home().join("microvm");
        fs::create_dir_all(home.join("kernel")).expect("made");
        for entry in fs::read_dir(kept.join("kernel")).expect("listed").flatten() {
            fs::copy(entry.path(), home.join("kernel").join(entry.file_name())).expect("copied");
        }
        let owner = fs::metadata(environment.agentkernel_home()).expect("there");
        chown(&home, Some(owner.uid()), Some(owner.gid())).expect("given away");
        let root = environment.root().join("root");
        fs::create_dir_all(root.join("bin")).expect("made");
        fs::copy(busybox, root.join("bin/busybox")).expect("copied");
        for word in ["sh", "id", "head", "tail", "cat"] {
            symlink("busybox", root.join("bin").join(word)).expect("linked");
        }
        Some(Self { environment, root })
    }

    fn say(&self, words: &[&str]) -> Finished {
        self.environment.run(self.environment.lend(PROGRAM.as_ref()), words)
    }

    /// Whether machines need no consent here.
    fn has_hardware(&self) -> bool {
        let doctor = self.say(&["doctor", "--format", "json"]);
        let report: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
        let backends = report["backends"].as_array().expect("a list");
        backends.iter().any(|one| one["backend"] == "qemu" && one["status"] == "available")
    }

    fn run(&self, words: &[&str]) -> Finished {
        let root = self.root.display().to_string();
        let run = ["run", "--backend", "qemu", "--emulate", "--rootfs", &root];
        self.say(&[&run, words].concat())
    }
}

#[test]
fn an_ordinary_user_gets_a_machine_with_every_limit() {
    let Some(host) = Host::new(TestEnvironment::for_ordinary_user()) else { return };
    let said = host.run(&["--memory", "64M", "--", "id", "-u"]).assert_success();
    assert_eq!(said.stdout_text(), "65532\n");
    let left = fs::read_dir(host.environment.agentkernel_home().join("run/microvm")).expect("listed").count();
    assert_eq!(left, 0);
}

#[test]
fn a_machine_whose_memory_ran_out_says_so() {
    let Some(host) = Host::new(TestEnvironment::new()) else { return };
    let hog = "head -c 209715200 /dev/zero | tail -c 209715200 >/dev/null";
    let said = host.run(&["--memory", "64M", "--format", "json", "--", "sh", "-c", hog]).assert_code(137);
    let report: Value = serde_json::from_slice(&said.stdout).expect("JSON");
    assert_eq!(report["cause"], "out_of_memory", "{report}");
    assert!(report.to_string().contains("emulated: not a security boundary"), "{report}");
}

/// A daemon of this host, ended with the value.
struct Daemon<'a>(&'a Host);

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // A test that failed has told why.
        drop(self.0.say(&["shutdown", "--kill"]));
    }
}

#[test]
fn a_daemon_keeps_emulated_machines_warm_for_those_who_ask_for_that_and_for_nobody_else() {
    let Some(host) = Host::new(TestEnvironment::new()) else { return };
    host.say(&["serve", "--detach"]).assert_success();
    let daemon = Daemon(&host);
    let until = Instant::now() + Duration::from_secs(120);
    loop {
        let said = host.run(&["--memory", "64M", "--timing", "--", "id", "-u"]).assert_success();
        assert_eq!(said.stdout_text(), "65532\n");
        let told = said.stderr_text();
        assert!(told.contains("way: daemon"), "{told}");
        if told.contains("way: daemon, warm") {
            break;
        }
        assert!(Instant::now() < until, "none is ever warm: {told}");
    }
    let pools = host.say(&["pool", "ls"]).assert_success().stdout_text();
    assert!(pools.contains("emulated: not a security boundary"), "{pools}");
    if !host.has_hardware() {
        let root = host.root.display().to_string();
        let said = host.say(&["run", "--backend", "qemu", "--rootfs", &root, "--", "id"]).assert_code(125);
        assert!(said.stderr_text().contains("--emulate"), "{}", said.stderr_text());
    }
    host.say(&["shutdown"]).assert_success();
    drop(daemon);
    let left = fs::read_dir(host.environment.agentkernel_home().join("run/microvm")).expect("listed").count();
    assert_eq!(left, 0);
}

#[test]
fn a_sandbox_in_use_is_kept_and_forked_and_what_is_kept_survives_the_daemon() {
    let Some(host) = Host::new(TestEnvironment::new()) else { return };
    let serve = || host.say(&["serve", "--detach"]).assert_success();
    serve();
    let daemon = Daemon(&host);
    let root = host.root.display().to_string();
    let machine = ["create", "--backend", "qemu", "--emulate", "--rootfs", &root, "--memory", "64M"];
    host.say(&[&machine[..], &["--name", "web"]].concat()).assert_success();
    let sh = |name: &str, script: &str| {
        host.say(&["exec", name, "--", "sh", "-c", script]).assert_success().stdout_text()
    };
    sh("web", "echo past > /tmp/file");
    assert_eq!(host.say(&["snapshot", "create", "web", "kept"]).assert_success().stdout_text(), "kept\n");
    sh("web", "echo present > /tmp/file");
    let forks = host.say(&["fork", "web", "--count", "2", "--name", "try"]).assert_success();
    assert_eq!(forks.stdout_text(), "try-1\ntry-2\n");
    host.say(&["create", "--snapshot", "kept", "--name", "again"]).assert_success();
    for (name, content) in [("web", "present"), ("try-1", "present"), ("try-2", "present"), ("again", "past")]
    {
        assert_eq!(sh(name, "cat /tmp/file"), format!("{content}\n"), "{name}");
    }
    let listed = host.say(&["snapshot", "ls"]).assert_success().stdout_text();
    assert!(listed.lines().count() == 2 && listed.contains("kept"), "a fork leaves none: {listed}");
    let refused = host.say(&["create", "--snapshot", "kept", "--memory", "1G"]).assert_code(2);
    assert!(refused.stderr_text().contains("leave the flags out"), "{}", refused.stderr_text());

    runs_of_a_snapshot(&host, "kept");

    let pid = fs::read_to_string(host.environment.agentkernel_home().join("daemon.lock")).expect("a daemon");
    let pid = rustix::process::Pid::from_raw(pid.trim().parse().expect("a PID")).expect("a process");
    let life = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it lives");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
    let twenty_seconds = rustix::event::Timespec { tv_sec: 20, tv_nsec: 0 };
    let mut end = [rustix::event::PollFd::new(&life, rustix::event::PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut end, Some(&twenty_seconds)), Ok(1), "it does not end");
    serve();
    host.say(&["create", "--snapshot", "kept", "--name", "later"]).assert_success();
    assert_eq!(sh("later", "cat /tmp/file"), "past\n");
    host.say(&["snapshot", "rm", "kept"]).assert_success();
    let gone = host.say(&["create", "--snapshot", "kept"]).assert_code(125);
    assert!(gone.stderr_text().contains("agentkernel snapshot ls"), "{}", gone.stderr_text());
    assert_eq!(sh("later", "cat /tmp/file"), "past\n", "it is not concerned");
    host.say(&["shutdown"]).assert_success();
    drop(daemon);
    let left =
        fs::read_dir(host.environment.agentkernel_home().join("microvm/kept")).expect("listed").flatten();
    let left: Vec<_> = left.filter(|entry| entry.file_name() != "new").collect();
    assert!(left.is_empty(), "{left:?}");
}

/// A command of its own in one that goes on from there; the daemon then has what it had.
fn runs_of_a_snapshot(host: &Host, snapshot: &str) {
    let names = || host.say(&["ps", "-aq"]).assert_success().stdout_text();
    let before = names();
    let run = |words: &[&str]| host.say(&[&["run", "--snapshot", snapshot], words].concat());
    let said = run(&["--", "sh", "-c", "cat /tmp/file; echo more >/tmp/file; exit 7"]).assert_code(7);
    assert_eq!(said.stdout_text(), "past\n");
    assert_eq!(run(&["--", "cat", "/tmp/file"]).assert_success().stdout_text(), "past\n");
    run(&["--", "no-such-program"]).assert_code(127);
    // The one that is called so is another's, and lives on.
    run(&["--name", "web", "--", "id"]).assert_code(125);
    host.say(&["run", "--snapshot", "nope", "--name", "web", "--", "id"]).assert_code(125);
    for (words, why) in
        [(&["--memory", "1G"][..], "leave the flags out"), (&["--no-daemon"], "cannot be used with")]
    {
        let said = run(&[words, &["--", "id"]].concat()).assert_code(2).stderr_text();
        assert!(said.contains(why), "{said}");
    }
    assert_eq!(names(), before);
}

/// Attempts that say OPEN in a machine, and why that is no way out.
const ALLOWED_OPEN: &[(&str, &str)] = &[(
    "ptrace-sibling",
    "debuggers work: a neighbour in one sandbox is the same tenant, and PID 1 is out of reach",
)];

/// What an emulated host needs to show a Firecracker machine to the attacks, and how long they may take there.
const LAB_TOOLS: [&str; 4] = ["firecracker", "jailer", "setpriv", "mke2fs"];
const LAB_DEADLINE: Duration = Duration::from_secs(400);

impl Host {
    /// Also with what a program of Rust needs to start.
    fn with_libraries(self) -> Self {
        for library in [
            "lib64/ld-linux-x86-64.so.2",
            "lib/x86_64-linux-gnu/libc.so.6",
            "lib/x86_64-linux-gnu/libgcc_s.so.1",
        ] {
            let place = self.root.join(library);
            fs::create_dir_all(place.parent().expect("a folder")).expect("made");
            fs::copy(Path::new("/").join(library), place).expect("copied");
        }
        self
    }

    fn settings(&self, snapshots: bool, hardware: fn() -> Result<(), String>) -> MicrovmSettings {
        let firecracker = tool_or_skip("firecracker").and_then(|path| Some(path.parent()?.to_owned()));
        let system = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(PathBuf::from);
        MicrovmSettings {
            home: Some(self.environment.agentkernel_home().join("microvm")),
            runtime_dir: self.environment.root().join("run"),
            search_path: firecracker.into_iter().chain(system).collect(),
            snapshots,
            hardware,
        }
    }

    fn spec(&self) -> SandboxSpecBuilder {
        let name = SandboxName::from_random(random_u64());
        SandboxSpec::builder(name, Profile::Restrictive).image(Image::Rootfs(self.root.clone()))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_attack_works_in_a_machine() {
    let Some(host) = Host::new(TestEnvironment::new()).map(Host::with_libraries) else { return };
    let backend = MicrovmBackend::qemu(host.settings(true, || Err("not asked for".into())));
    let spec = host.spec().emulate(true);
    no_attack_works_in(&backend, &spec.build().expect("sound"), ALLOWED_OPEN).await;
}

/// In Firecracker's machines, where its program is: on KVM itself, or in an emulated host that has it.
#[test]
fn no_attack_works_in_a_machine_of_firecracker() {
    let Some(tools) = LAB_TOOLS.map(tool_or_skip).into_iter().collect::<Option<Vec<_>>>() else { return };
    let Some(host) = Host::new(TestEnvironment::new()).map(Host::with_libraries) else { return };
    if agentkernel_kvm::probe() == KvmLevel::Hardware {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let backend = MicrovmBackend::firecracker(host.settings(false, agentkernel_kvm::hardware));
        let spec = host.spec().build().expect("sound");
        return runtime.block_on(no_attack_works_in(&backend, &spec, ALLOWED_OPEN));
    }
    // There is nothing in it that could build the probe.
    let (probe, tests) = (probe::program(), std::env::current_exe().expect("this program"));
    let shown = format!("{}:/opt/firecracker", tools[0].parent().expect("a folder").display());
    let probe = format!("{}={}", probe::BUILT, probe.display());
    let path = "PATH=/usr/sbin:/usr/bin:/sbin:/bin:/opt/firecracker";
    let flags = ["--memory", "3G", "--with", &shown, "--env", path, "--env", &probe];
    let test = "machines::no_attack_works_in_a_machine_of_firecracker";
    let words = [&*tests.display().to_string(), "--exact", test, "--nocapture"];
    let said = in_kvm_lab(LAB_DEADLINE, &flags, &words);
    let is_ok = said.stdout_text().contains("test result: ok. 1 passed");
    assert!(is_ok && !said.stdout_text().contains("SKIP"), "{}{}", said.stdout_text(), said.stderr_text());
}
