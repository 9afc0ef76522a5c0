//! A process of the host's where only a sandbox's own should be.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::Child;

use agentkernel_oci::Record;
use agentkernel_testkit::{TestEnvironment, tool_or_skip};

use crate::host;

/// Enters a namespace, by the first two words of the program that this begins: a PID, and what the kernel calls the kind.
pub const ENTER: &str = "
import ctypes, os, sys, time
libc = ctypes.CDLL(None, use_errno=True)
namespace = os.open(f'/proc/{sys.argv[1]}/ns/{sys.argv[2]}', os.O_RDONLY)
assert libc.setns(namespace, 0) == 0, ctypes.get_errno()
";

/// It is in a sandbox's control group until this is dropped.
pub struct Intruder {
    process: Child,
    _environment: TestEnvironment,
}

impl Intruder {
    /// Starts this program by that name, or skips loudly where it is missing.
    pub fn beside(record: &Record, name: &str, words: &[&str]) -> Option<Self> {
        let environment = TestEnvironment::new();
        let mut command = environment.command(tool_or_skip(words[0])?);
        command.arg0(name).args(&words[1..]);
        let intruder = Self { process: command.spawn().expect("it starts"), _environment: environment };
        let groups = fs::read_to_string(format!("/proc/{}/cgroup", host::init_of(record).pid));
        for line in groups.expect("it lives").lines() {
            let mut fields = line.splitn(3, ':').skip(1);
            let (tree, group) = (fields.next().expect("a tree"), fields.next().expect("a group"));
            let file = format!("/sys/fs/cgroup/{}{group}/cgroup.procs", tree.trim_start_matches("name="));
            // Trees that are not mounted hold nobody.
            if group != "/" && fs::exists(&file).is_ok_and(|is| is) {
                fs::write(&file, intruder.process.id().to_string()).expect(&file);
            }
        }
        Some(intruder)
    }
}

impl Drop for Intruder {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
