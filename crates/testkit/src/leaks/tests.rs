//! The counter must see each thing that is planted, and must see it go.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use agentkernel_core::Availability;

use super::*;
use crate::{TestEnvironment, random_u64};

const DEADLINE: Duration = Duration::from_secs(20);

/// A word that nothing else on this machine mentions.
fn word() -> String {
    format!("leak{:016x}", random_u64())
}

fn kinds(leaks: &[Leak]) -> Vec<LeakKind> {
    leaks.iter().map(|leak| leak.kind).collect()
}

/// What of these kinds is left.
fn left(before: &Snapshot) -> Vec<LeakKind> {
    kinds(&Snapshot::take(&before.marks).leaked_since(before))
}

#[test]
fn a_process_is_seen_by_its_command_line_and_by_its_ancestor_until_it_has_been_reaped() {
    let environment = TestEnvironment::new();
    let word = word();
    let by_word = Snapshot::take(&Marks::new().word(&word));
    let by_ancestor = Snapshot::take(&Marks::new().descendants_of(std::process::id()));
    let mut child = environment
        .command("/bin/sh")
        .args(["-c", "read x; : \"$0\"", &word])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(left(&by_word), [LeakKind::Process]);
    assert!(left(&by_ancestor).contains(&LeakKind::Process));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left(&by_word), []);
}

#[test]
fn a_process_is_seen_by_its_environment() {
    let environment = TestEnvironment::new();
    let word = word();
    let before = Snapshot::take(&Marks::new().word(&word));
    let mut child = environment.command("/bin/cat").env("MARK", &word).stdin(Stdio::piped()).spawn().unwrap();
    assert_eq!(left(&before), [LeakKind::Process]);
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(left(&before), []);
}

#[test]
fn files_are_seen_in_marked_and_shared_folders_except_those_that_may_stay() {
    let folder = tempfile::tempdir().unwrap();
    let word = word();
    let marks = Marks::new().folder(folder.path()).word(&word).allow(|path| path.ends_with("lock"));
    let before = Snapshot::take(&marks);
    fs::create_dir(folder.path().join("deep")).unwrap();
    fs::write(folder.path().join("deep/lock"), "").unwrap();
    assert_eq!(left(&before), [LeakKind::File]);
    let shared = Path::new("/tmp").join(format!("x-{word}"));
    fs::write(&shared, "").unwrap();
    assert_eq!(left(&before), [LeakKind::File, LeakKind::File]);
    fs::remove_file(&shared).unwrap();
    fs::remove_dir_all(folder.path().join("deep")).unwrap();
    assert_eq!(before.settle(Duration::ZERO).iter().filter(|leak| leak.kind == LeakKind::File).count(), 0);
}

#[test]
fn a_descriptor_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(word());
    let is_planted = |leak: &&Leak| leak.what.ends_with(path.to_str().unwrap());
    let (marks, unmarked) = (Marks::new().descriptors(), Snapshot::take(&Marks::new()));
    let before = Snapshot::take(&marks);
    // Many, so that other tests cannot close as many meanwhile.
    let files: Vec<File> = (0..100).map(|_| File::create(&path).unwrap()).collect();
    let leaks = Snapshot::take(&marks).leaked_since(&before);
    assert_eq!(leaks.iter().filter(is_planted).count(), 100);
    assert_eq!(left(&unmarked), [], "nobody asked for them");
    drop(files);
    let leaks = Snapshot::take(&marks).leaked_since(&before);
    assert_eq!(leaks.iter().filter(is_planted).count(), 0);
}

#[test]
fn sockets_and_files_in_memory_are_seen() {
    let folder = tempfile::tempdir().unwrap();
    let word = word();
    let before = Snapshot::take(&Marks::new().word(&word));
    let socket = UnixListener::bind(folder.path().join(&word)).unwrap();
    assert_eq!(left(&before), [LeakKind::Socket]);
    let memory = rustix::fs::memfd_create(&word, rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    assert_eq!(left(&before), [LeakKind::Socket, LeakKind::MemoryFile]);
    drop((socket, memory));
    assert_eq!(left(&before), []);
}

#[test]
fn a_cgroup_is_seen_at_any_depth_and_a_mount_by_its_place() {
    let word = word();
    let before = Snapshot::take(&Marks::new().word(&word));
    let Some(outer) = planted_cgroup(&format!("x-{word}")) else {
        let (needs, hint) = ("a cgroup that can be written".into(), "run as root".into());
        assert!(!crate::available_or_skip("cgroups", &Availability::Unavailable { needs, hint }));
        return;
    };
    fs::create_dir(outer.join("inner")).unwrap();
    assert_eq!(left(&before), [LeakKind::Cgroup, LeakKind::Cgroup]);
    fs::remove_dir(outer.join("inner")).unwrap();
    fs::remove_dir(&outer).unwrap();
    assert_eq!(before.settle(DEADLINE).iter().filter(|leak| leak.kind == LeakKind::Cgroup).count(), 0);
}

fn planted_cgroup(name: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let places = mounts.lines().filter(|line| line.contains(" - cgroup"));
    let folders = places.map(|line| Path::new(line.split(' ').nth(4).unwrap()).join(name));
    folders.into_iter().find(|folder| fs::create_dir(folder).is_ok())
}

#[test]
fn a_namespace_is_seen_by_the_process_that_holds_it() {
    let Some(unshare) = crate::tool_or_skip("unshare") else { return };
    let environment = TestEnvironment::new();
    let word = word();
    let before = Snapshot::take(&Marks::new().word(&word));
    let mut command = environment.command(unshare);
    command.args(["--uts", "--user", "/bin/sh", "-c", "echo ready; read x; : \"$0\"", &word]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let length = child.stdout.take().unwrap().read(&mut [0; 6]).unwrap();
    if length > 0 {
        assert_eq!(left(&before), [LeakKind::Process, LeakKind::Namespace, LeakKind::Namespace]);
    } else {
        let (needs, hint) = ("user namespaces".into(), "sysctl -w user.max_user_namespaces=10000".into());
        assert!(!crate::available_or_skip("userns", &Availability::Unavailable { needs, hint }));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(left(&before), []);
}
