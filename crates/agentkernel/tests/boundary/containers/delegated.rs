//! Podman of an ordinary user where it may limit: on cgroup v2, beside a systemd of that user's.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;

use agentkernel_core::Availability;
use agentkernel_testkit::{Finished, ORDINARY_USER, TestEngine, TestEnvironment, available_or_skip};

use super::service::{clean_up, lists_with_ids, with_settings};
use crate::support::PROGRAM;

/// Sets the host up around the program.
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boundary/containers/systemd.sh");

/// Whether there can be such a systemd, or a loud skip.
fn can_delegate() -> bool {
    let needs = |needs: &str| Availability::Unavailable {
        needs: needs.into(),
        hint: "scripts/test-on-v2 runs it on an emulated host".into(),
    };
    let availability = if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        needs("cgroup v2")
    } else if !rustix::process::geteuid().is_root() || !Path::new("/lib/systemd/systemd").exists() {
        needs("root, and systemd")
    } else {
        Availability::Available { facts: Vec::new() }
    };
    available_or_skip("cgroup-v2", &availability)
}

/// Runs it beside a systemd of its user.
fn beside_systemd(environment: &TestEnvironment, words: &[&str]) -> Finished {
    let mut command = with_settings(environment, environment.command("unshare"));
    let settings = environment.work().join("containers.conf");
    let of_engine = fs::read_to_string(&settings).expect("written before");
    // Podman would look whether the host's first process is a systemd.
    fs::write(&settings, of_engine + "cgroup_manager = \"systemd\"\n").expect("written");
    command.uid(0).gid(0).args(["--mount", "--propagation", "private", "bash", SCRIPT]);
    command.arg(lists_with_ids(environment)).arg(ORDINARY_USER.to_string());
    Finished::of(command.arg(environment.lend(PROGRAM.as_ref())).args(words))
}

#[test]
fn podman_of_an_ordinary_user_limits_where_groups_are_delegated_to_his_systemd() {
    if TestEngine::podman().is_none() || !can_delegate() {
        return;
    }
    let environment = TestEnvironment::for_ordinary_user();
    let fills = "id -u; exec python3 -c 'print(len(bytearray(200 << 20)))'";
    let run = |memory: &str| {
        let words =
            ["run", "--backend", "podman", "--memory", memory, "--pids", "50", "--", "sh", "-c", fills];
        beside_systemd(&environment, &words)
    };
    let (killed, roomy) = (run("64M"), run("400M"));
    let left = clean_up(&environment);
    let said = |run: &Finished| (run.stdout_text(), run.status.code());
    assert_eq!(said(&killed), ("65532\n".into(), Some(137)), "{}", killed.stderr_text());
    assert_eq!(said(&roomy), ("65532\n209715200\n".into(), Some(0)), "{}", roomy.stderr_text());
    assert_eq!(left, []);
}
