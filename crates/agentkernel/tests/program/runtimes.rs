//! Runtimes of the host as a user's PATH has them: old, something else, or another one than the distribution's.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::bench::find_first_in;
use crate::support::Trial;

/// A folder of programs. Not below `/tmp`, which sandboxes are built on.
fn folder() -> TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a folder")
}

fn program(folder: &Path, name: &str, script: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("executable");
}

fn run_on(trial: &Trial, backend: &str) -> Command {
    trial.command(&["run", "--no-daemon", "--backend", backend, "--", "echo", "hello"])
}

/// What is said on stderr by one that must not run anything.
fn refusal(command: &mut Command, folder: &Path) -> String {
    let output = command.output().expect("started");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), &b""[..]), "{stderr}");
    stderr.replace(&folder.display().to_string(), "BIN")
}

#[test]
fn a_runtime_on_path_that_is_old_or_no_such_runtime_is_refused_and_nothing_runs_instead() {
    let Some(trial) = Trial::alone() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let folder = folder();
    program(folder.path(), "runsc", "echo runsc version release-20190101.0");
    let mut command = run_on(&trial, "gvisor");
    find_first_in(&mut command, folder.path());
    insta::assert_snapshot!(refusal(&mut command, folder.path()), @r#"
    agentkernel: start the sandbox: gvisor: it needs a runsc of 2022-12 or later that works; BIN/runsc does not: "runsc version release-20190101.0" is older
    hint: remove or replace BIN/runsc; Debian's package is runsc
    "#);
    program(folder.path(), "runc", "echo busybox");
    let mut command = run_on(&trial, "runc");
    find_first_in(&mut command, folder.path());
    insta::assert_snapshot!(refusal(&mut command, folder.path()), @r#"
    agentkernel: start the sandbox: runc: it needs a runc of 1.1.0 or later that works; BIN/runc does not: it says of its version "busybox\n"
    hint: remove or replace BIN/runc; Debian's package is runc
    "#);
    trial.assert_nothing_left();
}

#[test]
fn the_first_runtime_on_path_is_the_one_that_is_used() {
    let Some(trial) = Trial::booting_on("runc") else { return };
    let folder = folder();
    let log = folder.path().join("log");
    let real = ["/usr/sbin/runc", "/usr/bin/runc"].into_iter().find(|path| Path::new(path).exists());
    let real = real.expect("it boots");
    // The log is written to by whoever makes containers, in a mount namespace of his own.
    program(folder.path(), "runc", &format!("echo \"$@\" >> {}\nexec {real} \"$@\"", log.display()));
    let mut command = run_on(&trial, "runc");
    find_first_in(&mut command, folder.path());
    let output = command.output().expect("started");
    assert_eq!(output.stdout, b"hello\n", "{}", String::from_utf8_lossy(&output.stderr));
    let told = fs::read_to_string(&log).expect("it was asked");
    assert!(told.contains("--version") && told.contains("--bundle"), "{told}");
    trial.assert_nothing_left();
}
