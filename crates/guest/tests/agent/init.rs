//! The agent as PID 1 of namespaces of its own, as in a sandbox.

use std::path::Path;
use std::process::Command;

use agentkernel_protocol::{
    FileError, FileInfo, FileRequest, Hello, Mount, Status, ToGuest, ToHost, read_records,
};
use tempfile::tempdir;

use crate::client::{Guest, until};
use crate::files::{bytes, done, failure};
use crate::launch::{command, hello};
use crate::porter::{Porter, at_door, running};
use crate::request::{shell, words};

/// What makes a program PID 1 of namespaces of its own.
const UNSHARE: [&str; 6] = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc", "--"];

/// A command that makes it PID 1; nothing where this machine does not let us.
fn as_init() -> Option<Command> {
    let in_namespaces = || {
        let mut command = command(Path::new("unshare"));
        command.args(UNSHARE);
        command
    };
    if in_namespaces().arg("true").status().is_ok_and(|status| status.success()) {
        let mut command = in_namespaces();
        command.arg(env!("CARGO_BIN_EXE_agentkernel-guest")).args(crate::WORDS);
        return Some(command);
    }
    assert!(option_env!("CI").is_none(), "namespaces must work where everything is tested");
    eprintln!("SKIPPED: this machine gives no namespaces to unshare(1)");
    None
}

#[test]
fn as_init_it_runs_and_reaps_and_ends() {
    let Some(command) = as_init() else { return };
    let mut guest = Guest::spawn(command);
    assert_eq!(guest.greet().pid, 1);
    let outcome = guest.run(shell("(setsid sleep 1000 &); (sh -c 'exit 3' &); echo fine"));
    assert_eq!((outcome.text().as_str(), outcome.status()), ("fine\n", Status::Code(0)));
    let count = "ls -d /proc/[0-9]* | wc -l; grep -l '^State:.Z' /proc/[0-9]*/status | wc -l";
    until("the orphans were waited for", || guest.run(shell(count)).text().ends_with("\n0\n"));
    assert_eq!(guest.run(words(&["kill", "-9", "1"])).status(), Status::Code(0));
    assert_eq!(guest.run(words(&["echo", "alive"])).text(), "alive\n", "its own sandbox cannot kill it");
    guest.send(0, &ToGuest::Shutdown);
    assert_eq!(guest.end().code(), Some(0));
}

#[test]
fn as_init_it_kills_all_with_the_stream() {
    let Some(command) = as_init() else { return };
    let mut guest = Guest::spawn(command);
    guest.greet();
    let name = format!("{}", 1_000_000 + std::process::id());
    guest.run(words(&["sh", "-c", "(setsid sleep $0 &); true", &name]));
    let exists = || command_lines().into_iter().any(|line| line == format!("sleep\0{name}\0"));
    until("it is seen from outside", exists);
    assert_eq!(guest.close().code(), Some(0));
    until("it is gone", || !exists());
}

#[test]
fn as_init_it_outlives_its_host_and_ends_with_its_door() {
    if as_init().is_none() {
        return;
    }
    let (porter, door) = Porter::new();
    let mut guest = Guest::spawn(at_door(&format!("unshare {} \"$0\"", UNSHARE.join(" ")), door));
    guest.greet();
    let name = format!("{}", 2_000_000 + std::process::id());
    let (channel, pid) =
        guest.started(words(&["sh", "-c", "(setsid sleep $0 &); read code; exit $code", &name]));
    let exists = || command_lines().into_iter().any(|line| line == format!("sleep\0{name}\0"));
    until("it is seen from outside", exists);
    guest.lose_host();
    let ready = guest.find_host(&porter);
    assert_eq!((ready.pid, ready.survivors), (1, vec![running(channel, pid, 0)]));
    guest.send(channel, &ToGuest::Stdin("42\n".into()));
    assert_eq!(guest.exited(channel).status, Status::Code(42));
    guest.lose_host();
    drop(porter);
    assert_eq!(guest.end().code(), Some(0));
    until("it is gone", || !exists());
}

fn command_lines() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| std::fs::read_to_string(entry.path().join("cmdline")).ok()).collect()
}

#[test]
fn file_systems_are_mounted_before_it_is_ready() {
    let Some(command) = as_init() else { return };
    let folder = tempdir().expect("a folder");
    let target = folder.path().join("made/on/the/way");
    let target = target.to_str().expect("text").to_owned();
    let mount = Mount {
        source: "tmpfs".into(),
        target: target.clone(),
        fstype: "tmpfs".into(),
        flags: 0x8 | 0x2, // noexec, nosuid
        data: "size=64k,mode=0711".into(),
    };
    let mut guest = Guest::spawn(command);
    guest.send(0, &ToGuest::Hello(Hello { mounts: vec![mount], ..hello() }));
    assert!(matches!(guest.next(), Some((0, ToHost::Ready(_)))));
    let outcome = guest.run(words(&["grep", &target, "/proc/mounts"]));
    let line = outcome.text();
    assert!(line.contains("nosuid,noexec") && line.contains("size=64k,mode=711"), "{line}");
}

#[test]
fn a_file_system_that_cannot_be_mounted_is_named() {
    let mount = Mount {
        source: "none".into(),
        target: "/".into(),
        fstype: "no such file system".into(),
        flags: 0,
        data: String::new(),
    };
    let mut guest = Guest::strange();
    guest.send(0, &ToGuest::Hello(Hello { mounts: vec![mount], ..hello() }));
    let (reason, code) = guest.fault();
    assert!(reason.starts_with("mount no such file system at /: "), "{reason}");
    assert_eq!(code, Some(6));
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left_of_the_file() {
    let Some(command) = as_init() else { return };
    let folder = tempdir().expect("a folder");
    let mount = Mount {
        source: "tmpfs".into(),
        target: folder.path().to_str().expect("text").into(),
        fstype: "tmpfs".into(),
        flags: 0,
        data: "size=64k".into(),
    };
    let mut guest = Guest::spawn(command);
    guest.send(0, &ToGuest::Hello(Hello { mounts: vec![mount], ..hello() }));
    assert!(matches!(guest.next(), Some((0, ToHost::Ready(_)))));
    let path = folder.path().join("file");
    let request = FileRequest::Write { path: bytes(&path), mode: 0o600 };
    let refused = failure(&mut guest, request.clone(), &[1; 3_000_000]);
    let message = format!("write: {}: No space left on device", path.display());
    assert_eq!(refused, FileError { errno: 28, message });
    done(&mut guest, request, &[1; 30_000]);
    let list = FileRequest::List { path: bytes(folder.path()) };
    let files: Vec<FileInfo> = read_records(&done(&mut guest, list, b"")).expect("records");
    assert_eq!(files.len(), 1, "the room was given back, and no temporary file is left");
}
