//! The agent where nobody can give it a stream: the first process waits, and another passes a host's streams on.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use agentkernel_protocol::ToGuest;
use rustix::process::geteuid;

use crate::client::{Guest, until};
use crate::launch::program;
use crate::request::{shell, words};
use crate::streams::noise;

/// Instructions of the kernel's little machine, as a file of ours: one filter that says `answer` to everything.
fn filter_of_one(answer: u32) -> Vec<u8> {
    let mut filter = 1_u32.to_le_bytes().to_vec();
    filter.extend_from_slice(&6_u16.to_le_bytes()); // BPF_RET | BPF_K
    filter.extend_from_slice(&[0, 0]);
    filter.extend_from_slice(&answer.to_le_bytes());
    filter
}

/// SECCOMP_RET_ALLOW.
const ALLOW: u32 = 0x7fff_0000;

/// A first process that waits.
struct First {
    child: Child,
    name: String,
    _folder: tempfile::TempDir,
}

impl First {
    fn start(filters: &[u8]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("ak-call-{}-{number}", std::process::id());
        let folder = tempfile::tempdir().expect("a folder");
        let path = write(folder.path(), filters);
        let mut command = program();
        command.args(["await", &name, &geteuid().as_raw().to_string()]).arg(path).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        Self { child, name, _folder: folder }
    }

    /// A host whose streams are passed on.
    fn call(&self) -> Guest {
        let (writer, stdin) = UnixStream::pair().expect("a socket pair");
        let (reader, stdout) = UnixStream::pair().expect("a socket pair");
        let mut command = program();
        command.args(["pass", &self.name]).stdin(OwnedFd::from(stdin)).stdout(OwnedFd::from(stdout));
        Guest::attach(&mut command, reader, writer)
    }

    fn end(mut self) -> (Option<i32>, String) {
        let code = self.child.wait().expect("it ends").code();
        let mut said = String::new();
        self.child.stderr.take().expect("its words").read_to_string(&mut said).expect("read");
        (code, said)
    }
}

fn write(folder: &Path, filters: &[u8]) -> PathBuf {
    let path = folder.join("filters");
    fs::write(&path, filters).expect("written");
    path
}

fn has(first: &First, line: &str) -> bool {
    let status = fs::read_to_string(format!("/proc/{}/status", first.child.id())).unwrap_or_default();
    status.lines().any(|found| found == line)
}

#[test]
fn the_first_caller_is_the_host_and_its_bytes_are_passed_on_whole() {
    let first = First::start(&filter_of_one(ALLOW));
    let mut guest = first.call();
    assert_eq!(guest.greet().pid, first.child.id(), "the first process is the agent, and not who calls it");
    let bytes = noise(3 * 1024 * 1024 + 7);
    let outcome = guest.run_with(words(&["cat"]), &bytes).expect("it starts");
    assert!(outcome.stdout == bytes, "{} bytes came back", outcome.stdout.len());
    assert!(has(&first, "NoNewPrivs:\t1") && has(&first, "Seccomp:\t2"));
    guest.send(0, &ToGuest::Shutdown);
    assert_eq!((guest.end().code(), first.end().0), (Some(0), Some(0)));
}

#[test]
fn the_end_of_the_callers_streams_is_the_end_of_everything() {
    let first = First::start(&filter_of_one(ALLOW));
    let mut guest = first.call();
    guest.greet();
    let name = format!("{}", 3_000_000 + std::process::id());
    guest.run(words(&["sh", "-c", "(setsid sleep $0 &); true", &name]));
    assert_eq!((guest.close().code(), first.end().0), (Some(0), Some(0)));
    let pattern = format!("sleep\0{name}\0");
    let is_there =
        |path: PathBuf| fs::read(path.join("cmdline")).is_ok_and(|words| words == pattern.as_bytes());
    until("it is gone", || {
        !fs::read_dir("/proc").expect("listed").flatten().any(|entry| is_there(entry.path()))
    });
}

#[test]
fn a_caller_that_is_killed_ends_everything() {
    let first = First::start(&filter_of_one(ALLOW));
    let mut guest = first.call();
    guest.greet();
    assert!(kill(guest.pid()));
    // What it passed on may be cut in the middle of a frame, and is not here.
    assert_eq!(first.end().0, Some(0));
}

fn kill(pid: u32) -> bool {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).is_ok()
}

#[test]
fn nobody_is_heard_after_the_first() {
    let first = First::start(&filter_of_one(ALLOW));
    let mut guest = first.call();
    guest.greet();
    let address = SocketAddr::from_abstract_name(first.name.as_bytes()).expect("an address");
    let refused = UnixStream::connect_addr(&address).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(guest.run(shell("echo alive")).text(), "alive\n");
    guest.close();
    first.end();
}

#[test]
fn a_stranger_who_calls_first_is_not_the_host() {
    if !geteuid().is_root() {
        eprintln!("SKIPPED: nobody else can be played without root");
        return;
    }
    let first = First::start(&filter_of_one(ALLOW));
    let address = SocketAddr::from_abstract_name(first.name.as_bytes()).expect("an address");
    // Only this thread is somebody else.
    let stranger = std::thread::spawn(move || {
        rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(65534)).expect("another user");
        until("somebody listens", || UnixStream::connect_addr(&address).is_ok());
        let mut heard = Vec::new();
        let mut called = UnixStream::connect_addr(&address).expect("somebody listens");
        called.read_to_end(&mut heard).map(|_| heard)
    });
    let heard = stranger.join().expect("no panic").expect("it was hung up on");
    assert_eq!(heard, b"");
    let mut guest = first.call();
    guest.greet();
    guest.close();
    assert_eq!(first.end().0, Some(0));
}

#[test]
fn without_filters_nobody_is_served() {
    for (filters, told) in [
        (Vec::new(), "there is no filter"),
        (filter_of_one(ALLOW)[..9].to_vec(), "cut off"),
        ([filter_of_one(ALLOW), vec![1]].concat(), "or half of one"),
        ([u32::MAX.to_le_bytes().to_vec(), vec![0; 64]].concat(), "cut off"),
    ] {
        let (code, said) = First::start(&filters).end();
        assert_eq!(code, Some(2));
        assert!(said.contains(told), "{said}");
    }
    // This one's first call answers EPERM: it is in force, and nothing can be done any more.
    let (code, _) = First::start(&filter_of_one(0x0005_0001)).end();
    assert_ne!(code, Some(0));
}

#[test]
fn the_report_holds_what_the_kernel_says_of_the_first_process() {
    let said = program().arg("report").stdout(Stdio::piped()).output().expect("it runs").stdout;
    let mut rest = &said[..];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|byte| *byte == b'\n').expect("a line");
        let (name, length) =
            std::str::from_utf8(&rest[..end]).expect("text").split_once(' ').expect("two words");
        let (page, others) = rest[end + 1..].split_at(length.parse().expect("a number"));
        found.push((name, String::from_utf8_lossy(page).into_owned()));
        rest = others;
    }
    let names: Vec<&str> = found.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["status", "mounts", "limits", "network"]);
    assert!(
        found[0].1.contains("\nPid:\t1\n")
            && found[1].1.contains(" / ")
            && found[2].1.contains("Max open files")
    );
    assert!(found[3].1.contains("lo:"));
}

#[test]
fn whoever_calls_in_vain_is_told_who_does_not_listen() {
    let mut command = program();
    command.args(["pass", ""]).stdin(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it starts");
    // Nobody listens at an empty name: it gives up in its own time, which is not waited for.
    std::thread::park_timeout(std::time::Duration::from_millis(50));
    assert!(child.try_wait().expect("looked at").is_none(), "it waits for the first process");
    child.kill().expect("killed");
    child.wait().expect("reaped");
    let mut usage = program()
        .args(["await", "name", "nobody", "filters"])
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = String::new();
    usage.stderr.take().expect("its words").read_to_string(&mut said).expect("read");
    usage.wait().expect("reaped");
    assert!(said.contains("await NAME UID FILTERS"), "{said}");
    std::io::stderr().flush().expect("flushed");
}
