//! Programs that hold machines, killed in each phase of a start. The VMM is a stand-in that stops in the phase it is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use agentkernel_testkit::tool_or_skip;

use crate::support::PROGRAM;
use crate::{Runs, SETTLE, TURN, assert_nothing_left};

/// A runnable host with that VMM.
struct Host {
    runs: Runs,
}

impl Host {
    fn new() -> Option<Self> {
        for tool in ["mke2fs", "setpriv", "python3"] {
            tool_or_skip(tool)?;
        }
        let host = Self { runs: Runs::new() };
        // The VMM of root's programs is another user.
        let open = |path: PathBuf, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("changed");
        };
        for folder in ["vmm", "vmm/reached", "root", "root/bin"] {
            fs::create_dir(host.path(folder)).expect("made");
        }
        open(host.path(""), 0o755);
        open(host.path("vmm/reached"), 0o777);
        let vmm = include_str!("../../../microvm/tests/machine/fake_vmm.py");
        fs::write(host.path("vmm/qemu-system-x86_64"), vmm).expect("written");
        open(host.path("vmm/qemu-system-x86_64"), 0o755);
        let mut kernel = vec![0; 64];
        kernel[..5].copy_from_slice(b"\x7fELF\x02");
        kernel[18] = 62;
        fs::write(host.path("vmlinux"), kernel).expect("written");
        let kernel = host.path("vmlinux").display().to_string();
        let set_up = host.command(&["setup", "microvm", "--kernel", &kernel]).output().expect("runs");
        assert!(set_up.status.success(), "{set_up:?}");
        Some(host)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.runs.environment.root().join(name)
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.runs.environment.command(PROGRAM);
        command.env("PATH", format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", self.path("vmm").display()));
        command.args(words);
        command
    }

    fn run(&self, mode: &str) -> Command {
        fs::write(self.path("vmm/mode"), mode).expect("written");
        let name = format!("{}-{mode}", self.runs.word);
        let root = self.path("root").display().to_string();
        let words =
            ["run", "--backend", "qemu", "--emulate", "--rootfs", &root, "--name", &name, "--", "true"];
        self.command(&words)
    }
}

/// Nothing is emulated that was not asked for: it is a row with the way to it, and no failure.
#[tokio::test]
async fn a_machine_that_works_only_emulated_is_measured_only_where_that_is_said() {
    let _turn = TURN.lock().await;
    let Some(host) = Host::new() else { return };
    let words = ["bench", "run", "startup", "--backend", "qemu", "--iterations", "1", "--output", "kept"];
    let said = host.command(&words).output().expect("runs");
    let table = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    let row = table.lines().find(|line| line.starts_with("| qemu |")).expect("its row");
    assert!(row.contains("could not run here, because it works only by --emulate"), "{row}");
}

#[tokio::test]
async fn a_program_that_is_killed_in_any_phase_of_a_machine_leaves_nothing() {
    let _turn = TURN.lock().await;
    let Some(host) = Host::new() else { return };
    // It fails, and makes what stays: the root device, the folder of machines.
    assert!(!host.run("die-before-calling").output().expect("runs").status.success());
    let before = host.runs.snapshot();
    let mut modes = vec!["hang-before-calling", "hang-before-greeting", "hang-while-booting"];
    // What a VMM that was taken over has started is found by the group that it is in.
    modes.extend(agentkernel_oci::Hierarchy::detect().can_limit().then_some("breed"));
    for mode in modes {
        let mut program = host.run(mode).spawn().expect("starts");
        let (reached, deadline) = (host.path("vmm/reached").join(mode), Instant::now() + SETTLE);
        while !reached.exists() {
            assert!(Instant::now() < deadline, "{mode}: its VMM never came so far");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        program.kill().expect("killed");
        program.wait().expect("reaped");
    }
    // What they have left is removed by the next, and their VMMs have ended with them.
    assert!(!host.run("die-before-calling").output().expect("runs").status.success());
    assert_nothing_left(&before);
}
