//! Podman's API where nobody serves it: a child of ours does, and ends with us.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use agentkernel_testkit::{Finished, ORDINARY_USER, TestEngine, TestEnvironment, unmount_all_below};

use crate::support::PROGRAM;

/// The limits that nobody can have without a control group, given up by name.
const UNLIMITED: [&str; 3] = ["--memory=unlimited", "--cpus=unlimited", "--pids=unlimited"];

/// The program with Podman's own settings, for a storage of the test's own.
fn program(environment: &TestEnvironment) -> Command {
    with_settings(environment, environment.command(PROGRAM))
}

/// A command with these.
pub fn with_settings(environment: &TestEnvironment, mut command: Command) -> Command {
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
fn ctrl_c_is_the_commands_and_not_the_services() {
    if TestEngine::podman().is_none() || Path::new("/run/podman/podman.sock").exists() {
        return;
    }
    let environment = TestEnvironment::new();
    let script = "trap 'echo heard; exit 9' INT; echo ready; while :; do sleep 0.1; done";
    let mut command = program(&environment);
    command.args(["run", "--backend", "podman", "--", "sh", "-c", script]).process_group(0);
    let mut child = command.spawn().expect("started");
    let mut stdout = BufReader::new(child.stdout.take().expect("a stream"));
    let mut line = String::new();
    stdout.read_line(&mut line).expect("read");
    // As a terminal does it: to the program and to all that it has started in its group.
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("a number");
    rustix::process::kill_process_group(group, rustix::process::Signal::INT).expect("it runs");
    stdout.read_line(&mut line).expect("read");
    let said = Finished::wait("agentkernel run".into(), child, Duration::from_secs(60));
    let left = clean_up(&environment);
    assert_eq!((&*line, said.status.code(), &*said.stderr_text()), ("ready\nheard\n", Some(9), ""));
    assert_eq!(left, []);
}

/// Ends the one process that Podman of an ordinary user leaves, which keeps his namespaces, and tells what else is left.
pub fn clean_up(environment: &TestEnvironment) -> Vec<(i32, String)> {
    for (pid, words) in processes_of(environment) {
        if let Some(pid) = rustix::process::Pid::from_raw(pid).filter(|_| words.contains("_PODMAN_PAUSE=1")) {
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("killed");
        }
    }
    let left = left_of(environment);
    unmount_all_below(environment.root());
    left
}

#[test]
fn a_user_without_ids_is_told_how_to_get_some() {
    if TestEngine::podman().is_none() {
        return;
    }
    let environment = TestEnvironment::for_ordinary_user();
    let words = [&["run", "--backend", "podman"], &UNLIMITED[..], &["--", "true"]].concat();
    let said = Finished::of(program(&environment).args(words));
    let left = clean_up(&environment);
    let text = said.stderr_text();
    assert_eq!(said.status.code(), Some(125), "{text}");
    assert!(text.contains("podman") && text.contains("hint: ") && text.contains("--add-subuids"), "{text}");
    assert_eq!(left, []);
}

/// A folder with lists of users in which ids are given to an ordinary one.
pub fn lists_with_ids(environment: &TestEnvironment) -> PathBuf {
    let lists = environment.work().join("lists");
    fs::create_dir_all(&lists).expect("made");
    let users = fs::read_to_string("/etc/passwd").expect("read");
    let user = format!("someone:x:{ORDINARY_USER}:{ORDINARY_USER}::{}:/bin/sh", environment.home().display());
    fs::write(lists.join("passwd"), format!("{users}{user}\n")).expect("written");
    for list in ["subuid", "subgid"] {
        fs::write(lists.join(list), "someone:200000:65536\n").expect("written");
    }
    lists
}

/// The program in the hands of an ordinary user to whom ids are given, for this command alone: in a mount namespace of its own
/// with other lists of users.
fn program_with_ids(environment: &TestEnvironment) -> Command {
    let script = "for list in passwd subuid subgid; do mount --bind \"$0/$list\" /etc/$list || exit 99; done
        exec setpriv --reuid \"$1\" --regid \"$1\" --clear-groups -- \"$2\" run --backend podman \"${@:3}\"";
    let mut command = with_settings(environment, environment.command("unshare"));
    command.uid(0).gid(0).args(["--mount", "--propagation", "private", "bash", "-c", script]);
    command
        .arg(lists_with_ids(environment))
        .arg(ORDINARY_USER.to_string())
        .arg(environment.lend(PROGRAM.as_ref()));
    command
}

#[test]
fn podman_of_an_ordinary_user_is_walled_too_and_a_limit_that_it_would_ignore_is_refused() {
    if TestEngine::podman().is_none() || !rustix::process::geteuid().is_root() {
        return;
    }
    let has_groups = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let environment = TestEnvironment::for_ordinary_user();
    let mut command = program_with_ids(&environment);
    let limited = Finished::of(command.args(["--", "true"]));
    let script = "id -u; cat /proc/self/uid_map /proc/self/status; exit 7";
    let given_up =
        Finished::of(program_with_ids(&environment).args(UNLIMITED).args(["--", "sh", "-c", script]));
    let left = clean_up(&environment);
    let (text, said) = (given_up.stdout_text(), given_up.stderr_text());
    assert_eq!((text.lines().next(), given_up.status.code()), (Some("65532"), Some(7)), "{said}");
    let words: Vec<_> = text.split_whitespace().collect();
    assert_eq!(words[1..7], ["0", &ORDINARY_USER.to_string(), "1", "1", "200000", "65536"], "{text}");
    for held in ["CapBnd:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(text.contains(held), "{held}: {text}");
    }
    if !has_groups {
        let said = limited.stderr_text();
        assert_eq!(limited.status.code(), Some(125), "{said}");
        assert!(said.contains("memory, cpus, pids") && said.contains("--pids unlimited"), "{said}");
    }
    assert_eq!(left, []);
}
