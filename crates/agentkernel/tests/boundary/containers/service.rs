//! Podman's API where nobody serves it: a child of ours does, and ends with us.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use agentkernel_testkit::{Finished, TestEngine, TestEnvironment, unmount_all_below};

use crate::support::PROGRAM;

/// The program with Podman's own settings, for a storage of the test's own.
fn program(environment: &TestEnvironment) -> Command {
    let place = |name: &str| environment.work().join(name).display().to_string();
    let storage = format!(
        "[storage]\ndriver = \"overlay\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        place("data"),
        place("run")
    );
    let engine = format!(
        "[engine]\ntmp_dir = \"{}\"\nstatic_dir = \"{}\"\nvolume_path = \"{}\"\n",
        place("tmp"),
        place("data/libpod"),
        place("data/volumes")
    );
    fs::write(place("storage.conf"), storage).expect("written");
    fs::write(place("containers.conf"), engine).expect("written");
    let mut command = environment.command(PROGRAM);
    command.env_remove("CONTAINER_HOST");
    command.env("CONTAINERS_STORAGE_CONF", place("storage.conf"));
    command.env("CONTAINERS_CONF", place("containers.conf"));
    command.env("XDG_RUNTIME_DIR", environment.work());
    command
}

/// Processes that mention the environment, each with its words.
fn processes_of(environment: &TestEnvironment) -> Vec<(i32, String)> {
    let root = environment.root().display().to_string();
    let words = |pid: i32| {
        let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&[read("cmdline"), read("environ")].concat()).replace('\0', " ")
    };
    let entries = fs::read_dir("/proc").expect("listed").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.map(|pid| (pid, words(pid))).filter(|(_, words)| words.contains(&root)).collect()
}

/// The same, once those that clean up have ended. The service of an ordinary user is a child of the one that we end; alone it
/// ends by itself, after ten idle seconds.
fn left_of(environment: &TestEnvironment) -> Vec<(i32, String)> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left = processes_of(environment);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
}

/// Folders for what a service leaves. Podman 4.3 leaves there what it was given of an image.
fn scratch() -> BTreeSet<String> {
    let entries = fs::read_dir("/var/tmp").expect("listed").flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names.filter(|name| name.starts_with("agentkernel-scratch-")).collect()
}

#[test]
fn podman_needs_no_service_but_ours_and_that_ends_with_us() {
    // Whether there is a Podman that works.
    if TestEngine::podman().is_none() || Path::new("/run/podman/podman.sock").exists() {
        return;
    }
    let environment = TestEnvironment::new();
    let words = ["run", "--backend", "podman", "--", "sh", "-c", "id -u; exit 7"];
    let before = scratch();
    let said = Finished::of(program(&environment).args(words));
    let left = left_of(&environment);
    let until = Instant::now() + Duration::from_secs(30);
    // Another test's may be there for a while.
    while scratch().difference(&before).next().is_some() && Instant::now() < until {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(scratch().difference(&before).next(), None, "its folder is left");
    // Podman keeps its storage mounted on itself.
    unmount_all_below(environment.root());
    assert_eq!((&*said.stdout_text(), said.status.code()), ("65532\n", Some(7)), "{}", said.stderr_text());
    assert_eq!(left, []);
}

#[test]
fn a_user_without_ids_is_told_how_to_get_some() {
    if TestEngine::podman().is_none() {
        return;
    }
    let environment = TestEnvironment::for_ordinary_user();
    let words = ["run", "--backend", "podman", "--memory", "unlimited", "--cpus", "unlimited", "--", "true"];
    let said = Finished::of(program(&environment).args(words));
    // Podman of an ordinary user leaves one process, which keeps his namespaces.
    for (pid, words) in processes_of(&environment) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| words.contains("_PODMAN_PAUSE=1")) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        }
    }
    let left = left_of(&environment);
    unmount_all_below(environment.root());
    let text = said.stderr_text();
    assert_eq!(said.status.code(), Some(125), "{text}");
    assert!(text.contains("podman") && text.contains("hint: ") && text.contains("--add-subuids"), "{text}");
    assert_eq!(left, []);
}
