//! The program under test, in a home of its own.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use agentkernel_core::Availability;
use agentkernel_testkit::leaks::{Marks, Snapshot, describe};
use agentkernel_testkit::{Finished, TestEnvironment, available_or_skip, random_u64};
use rustix::event::{Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::daemon::Daemon;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_agentkernel");

/// Whatever a test waits for comes before this, or never.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// An environment, and the program in it.
pub struct Trial {
    /// Ends before its folder is removed.
    daemon: Option<Daemon>,
    pub environment: TestEnvironment,
    /// A name that occurs nowhere else on the machine.
    pub name: String,
}

impl Trial {
    /// For words that boot nothing.
    pub fn new() -> Self {
        let name = format!("trial-{:016x}", random_u64());
        Self { daemon: None, environment: TestEnvironment::new(), name }
    }

    /// For words that boot a sandbox; `None`, loudly, where that does not work. Where this user may not
    /// limit memory and processors, the user's configuration gives these limits up by name.
    pub fn booting() -> Option<Self> {
        let mut trial = Self::alone()?;
        if crate::BY_DAEMON {
            trial.serve(&["--pool", "1..2"]);
        }
        Some(trial)
    }

    /// Like [`Trial::booting`], without a daemon in any case.
    pub fn alone() -> Option<Self> {
        let trial = available_or_skip("oci", &doctor().backends["oci"]).then(Self::new)?;
        trial.write_user_config("");
        Some(trial)
    }

    /// Like [`Trial::booting`], where this backend works.
    pub fn booting_on(backend: &str) -> Option<Self> {
        available_or_skip(backend, &doctor().backends[backend]).then(Self::booting)?
    }

    /// Starts a daemon in this environment, which ends with the trial.
    pub fn serve(&mut self, flags: &[&str]) -> &mut Daemon {
        let daemon = Daemon::start(&self.environment, flags);
        self.daemon.insert(daemon)
    }

    /// The daemon that was started.
    #[track_caller]
    pub fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().expect("it was started")
    }

    /// Like [`Trial::booting`], where limits must be enforced.
    pub fn limiting() -> Option<Self> {
        let limits = match doctor().can_limit {
            true => Availability::Available { facts: Vec::new() },
            false => Availability::Unavailable {
                needs: "control groups that this user may write".into(),
                hint: "run the tests as root".into(),
            },
        };
        available_or_skip("cgroups", &limits).then(Self::booting)?
    }

    /// The program with these words.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = self.environment.command(PROGRAM);
        command.args(words);
        command
    }

    /// Runs the program to its end.
    pub fn say(&self, words: &[&str]) -> Finished {
        Finished::of(&mut self.command(words))
    }

    /// Runs `script` in a sandbox, with these flags, to its end.
    pub fn sh(&self, flags: &[&str], script: &str) -> Finished {
        Finished::of(&mut self.sh_command(flags, script))
    }

    /// `agentkernel run --name NAME FLAGS -- sh -c SCRIPT`.
    pub fn sh_command(&self, flags: &[&str], script: &str) -> Command {
        let mut command = self.command(&["run", "--name", &self.name]);
        command.args(flags).args(["--", "sh", "-c", script]);
        command
    }

    /// Runs the program to its end, with this on its stdin.
    pub fn feed(&self, words: &[&str], input: &[u8]) -> Finished {
        let mut child = self.command(words).stdin(Stdio::piped()).spawn().expect("start");
        let mut stdin = child.stdin.take().expect("a pipe");
        let input = input.to_vec();
        let feeder = std::thread::spawn(move || stdin.write_all(&input));
        let finished = Finished::wait(format!("{words:?}"), child, DEADLINE);
        // A command that does not read to the end is its own affair.
        drop(feeder.join().expect("does not panic"));
        finished
    }

    /// Runs `script` in a sandbox and returns once it has printed `ready`.
    pub fn start(&self, flags: &[&str], script: &str) -> Running {
        let mut child = self.sh_command(flags, script).spawn().expect("start");
        let mut stdout = child.stdout.take().expect("a pipe");
        let (mut line, mut byte) = (Vec::new(), [0]);
        while line != b"ready\n" {
            assert_eq!(stdout.read(&mut byte).expect("read"), 1, "it ended before it was ready: {line:?}");
            line.push(byte[0]);
        }
        child.stdout = Some(stdout);
        Running(child)
    }

    /// Writes a configuration file into the working directory.
    pub fn write_project_config(&self, text: &str) {
        std::fs::write(self.environment.work().join("agentkernel.toml"), text).expect("write");
    }

    /// Writes the user's configuration file, with these keys in its table `run`.
    pub fn write_user_config(&self, keys: &str) {
        let given_up = if doctor().can_limit { "" } else { "memory = \"unlimited\"\ncpus = \"unlimited\"\n" };
        let path = self.environment.agentkernel_home().join("agentkernel.toml");
        std::fs::write(path, format!("[run]\n{given_up}{keys}\n")).expect("write");
    }

    /// What this trial's sandbox has left, once nothing is left or it is too late.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        if self.daemon.is_some() {
            // Its warm sandboxes are there to stay; what else it has left, its own end will show.
            let lives = || self.say(&["ps", "-q"]).stdout_text();
            let gone = comes_true(Duration::from_secs(10), || lives().is_empty());
            return assert!(gone, "still alive: {}", lives());
        }
        let marks = Marks::new().word(&self.name).folder(self.environment.agentkernel_home());
        let marks = marks.allow(is_no_sandboxs);
        // Nothing was there before: nobody else uses the name.
        let empty = Snapshot::take(&Marks::new());
        let mut leaks = Vec::new();
        let gone = comes_true(Duration::from_secs(10), || {
            leaks = Snapshot::take(&marks).leaked_since(&empty);
            leaks.is_empty()
        });
        assert!(gone, "left behind:{}", describe(&leaks));
    }

    /// Text without what differs between two trials.
    pub fn neutral(&self, text: &str) -> String {
        text.replace(&format!("{}", self.environment.root().display()), "ROOT").replace(&self.name, "NAME")
    }
}

/// Folders, the configuration, and what is remembered of the host's runtimes.
fn is_no_sandboxs(path: &std::path::Path) -> bool {
    let is_memory = path.parent().is_some_and(|folder| folder.ends_with("run/probes"));
    path.is_dir() || path.ends_with("agentkernel.toml") || is_memory
}

/// The program while its command runs.
pub struct Running(pub Child);

impl Running {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("the program lives");
    }

    /// Closes our end of its stdout.
    pub fn close_stdout(&mut self) {
        drop(self.0.stdout.take());
    }

    pub fn finish(self) -> Finished {
        Finished::wait("agentkernel run".into(), self.0, DEADLINE)
    }
}

/// Exit code, or 128 + signal, of a program that has ended.
pub fn code(finished: &Finished) -> i32 {
    finished.status.code().unwrap_or_else(|| 128 + finished.status.signal().unwrap_or_default())
}

/// Looks again and again until it is true, or the deadline has passed.
pub fn comes_true(deadline: Duration, mut is_true: impl FnMut() -> bool) -> bool {
    let pause = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let began = Instant::now();
    loop {
        if is_true() {
            return true;
        }
        if began.elapsed() > deadline {
            return false;
        }
        poll(&mut [], Some(&pause)).ok();
    }
}

/// What doctor says about this host.
struct Doctor {
    backends: BTreeMap<String, Availability>,
    can_limit: bool,
}

/// Asked once.
fn doctor() -> &'static Doctor {
    static DOCTOR: OnceLock<Doctor> = OnceLock::new();
    DOCTOR.get_or_init(|| {
        let finished = Trial::new().say(&["doctor", "--format", "json"]);
        let json: Value = serde_json::from_slice(&finished.stdout).expect("doctor prints JSON");
        let backends = json["backends"].as_array().expect("a list");
        let availability = |backend: &Value| {
            let name = backend["backend"].as_str().expect("a name").to_owned();
            (name, serde_json::from_value(backend.clone()).expect("doctor prints an availability"))
        };
        Doctor {
            backends: backends.iter().map(availability).collect(),
            can_limit: json["host"]["cgroups"]["writable"] == true,
        }
    })
}

/// The path of a host file of the trial's working directory.
pub fn work_file(trial: &Trial, name: &str) -> PathBuf {
    trial.environment.work().join(name)
}
