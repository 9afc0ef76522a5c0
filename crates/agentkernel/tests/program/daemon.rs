//! A daemon of a trial's own.

use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use agentkernel_testkit::TestEnvironment;
use agentkernel_testkit::leaks::{Leak, Marks, Snapshot, describe};
use rustix::process::{Pid, Signal, kill_process};

use crate::support::{DEADLINE, PROGRAM, comes_true};

/// A daemon. It is told to end when this is dropped, and must not leave anything then.
pub struct Daemon {
    child: Child,
    /// What it left is for the next one to clean up.
    crashed: bool,
    home: PathBuf,
}

impl Daemon {
    pub fn start(environment: &TestEnvironment, flags: &[&str]) -> Self {
        let home = environment.agentkernel_home();
        let mut command = environment.command(PROGRAM);
        let log = std::fs::File::create(environment.root().join("daemon.log")).expect("log");
        command.arg("serve").args(flags).stdout(Stdio::null()).stderr(log);
        let mut daemon = Self { child: command.spawn().expect("start"), crashed: false, home };
        assert!(comes_true(DEADLINE, || daemon.answers() || daemon.has_ended()), "it does not listen");
        assert!(!daemon.has_ended(), "{}", daemon.log(environment));
        daemon
    }

    fn answers(&self) -> bool {
        std::os::unix::net::UnixStream::connect(self.home.join("daemon.sock")).is_ok()
    }

    fn log(&self, environment: &TestEnvironment) -> String {
        std::fs::read_to_string(environment.root().join("daemon.log")).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("the daemon lives");
    }

    /// Kills it, as a crash would.
    pub fn crash(&mut self) {
        self.crashed = true;
        self.child.kill().expect("it lives");
        self.child.wait().expect("wait");
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("wait").is_some()
    }

    /// Waits for its end. Returns its exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        assert!(comes_true(DEADLINE, || self.has_ended()), "the daemon lives on");
        self.child.wait().expect("wait").code()
    }

    /// Processes, mounts, groups and sockets that mention its folder, once nothing does or it is too late.
    fn left(&self) -> Vec<Leak> {
        let marks = Marks::new().word(self.home.display().to_string());
        let empty = Snapshot::take(&Marks::new());
        let mut left = Vec::new();
        comes_true(Duration::from_secs(10), || {
            left = Snapshot::take(&marks).leaked_since(&empty);
            left.is_empty()
        });
        left
    }

    /// What lies in the folder of live sandboxes.
    pub fn records(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.home.join("run/sandboxes"));
        entries.into_iter().flatten().flatten().map(|entry| entry.path()).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.has_ended() {
            self.signal(Signal::TERM);
            if !comes_true(DEADLINE, || self.has_ended()) {
                drop(self.child.kill());
                drop(self.child.wait());
                assert!(std::thread::panicking(), "the daemon did not end");
            }
        }
        if self.crashed {
            return;
        }
        let (left, records) = (self.left(), self.records());
        let nothing = left.is_empty() && records.is_empty();
        assert!(std::thread::panicking() || nothing, "the daemon left {records:?}{}", describe(&left));
    }
}
