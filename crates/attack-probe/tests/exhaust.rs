//! The attacks on resources, kept small by their own limits: each one ends, and says what it had.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

const PROBE: &str = env!("CARGO_BIN_EXE_attack-probe");

#[expect(clippy::disallowed_methods, reason = "a test starts the program under test")]
fn command(program: &str) -> Command {
    Command::new(program)
}

fn last_line(command: &mut Command) -> Value {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).unwrap_or_else(|_| panic!("no last line: {output:?}"))
}

fn exhaust(arguments: &str) -> Value {
    last_line(command(PROBE).arg("exhaust").args(arguments.split(' ')))
}

/// The same, in a shell that has first set a limit.
fn exhaust_with(limit: &str, arguments: &str) -> Value {
    last_line(command("sh").args(["-c", &format!("{limit}; exec '{PROBE}' exhaust {arguments}")]))
}

#[track_caller]
fn assert_ended(line: &Value, count: u64, errno: i32) {
    assert_eq!(
        (&line["event"], &line["count"], &line["errno"]),
        (&"end".into(), &count.into(), &errno.into())
    );
}

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Folder(path)
    }

    fn path(&self) -> std::path::Display<'_> {
        self.0.display()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).expect("the folder goes");
    }
}

#[test]
fn attacks_end_at_their_own_limit_and_count() {
    assert_ended(&exhaust("fork-bomb --count 20 --seconds 0"), 20, 0);
    assert_ended(&exhaust("zombies --count 20 --seconds 0"), 20, 0);
    assert_ended(&exhaust("timers --count 20"), 20, 0);
    assert_ended(&exhaust("signal-queue --count 20"), 20, 0);
    assert_ended(&exhaust("memory-bomb --mib 4"), 4, 0);
    assert_ended(&exhaust("memfd-bomb --mib 4"), 4, 0);
    assert_ended(&exhaust("pipe-bomb --count 3"), 3, 0);
    assert_ended(&exhaust("open-fds --count 20"), 20, 0);
    assert_ended(&exhaust("never-read-stdin --seconds 0"), 0, 0);
}

#[test]
fn attacks_end_at_the_limits_of_the_system_and_tell_its_errno() {
    let line = exhaust_with("ulimit -n 64", "open-fds");
    assert_eq!((&line["event"], &line["errno"]), (&"end".into(), &libc::EMFILE.into()));
    assert!(line["count"].as_u64() < Some(64), "{line}");
    let line = exhaust_with("ulimit -n 64", "pipe-bomb");
    assert_eq!((&line["event"], &line["errno"]), (&"end".into(), &libc::EMFILE.into()));
    // The limit is of the user, who may have some elsewhere.
    let line = last_line(command("prlimit").args(["--sigpending=32", PROBE, "exhaust", "timers"]));
    assert_eq!((&line["event"], &line["errno"]), (&"end".into(), &libc::EAGAIN.into()));
    assert!(line["count"].as_u64() <= Some(32), "{line}");
    let line = exhaust_with("ulimit -v 100000", "memory-bomb");
    assert_eq!((&line["event"], &line["errno"]), (&"end".into(), &libc::ENOMEM.into()));
}

#[test]
fn a_limit_on_the_size_of_a_file_does_not_stop_the_filling() {
    let folder = Folder::new("fill");
    // Blocks of 512: one MiB.
    let line = exhaust_with("ulimit -f 2048", &format!("tmpfs-fill '{}' --mib 3", folder.path()));
    assert_ended(&line, 3, 0);
    assert!(line["detail"].as_str().is_some_and(|detail| detail.ends_with("in 3 files")), "{line}");
}

#[test]
fn floods_of_files_leave_nothing_and_traps_stay() {
    let folder = Folder::new("files");
    assert_ended(&exhaust(&format!("inode-flood {} --count 20", folder.path())), 20, 0);
    assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 0);
    assert_ended(&exhaust(&format!("sparse-1tb {}/sparse", folder.path())), 1 << 40, 0);
    let line = exhaust(&format!("copy-out-traps {}/traps", folder.path()));
    assert_ended(&line, 15, 0);
    assert!(fs::symlink_metadata(folder.0.join("traps/endless-link")).is_ok_and(|link| link.is_symlink()));
}

#[test]
fn a_limit_on_the_size_of_a_file_refuses_one_trap_and_none_of_the_others() {
    let folder = Folder::new("limited-traps");
    let line = exhaust_with("ulimit -f 2048", &format!("copy-out-traps '{}/traps'", folder.path()));
    assert_ended(&line, 14, 0);
    assert!(line["detail"].as_str().is_some_and(|detail| detail.contains("not: sparse-1tb: ")), "{line}");
}

#[test]
fn output_is_as_long_as_was_asked_for() {
    let output = |arguments: &[&str]| command(PROBE).arg("exhaust").args(arguments).output().expect("starts");
    let line = output(&["one-gigabyte-line", "--bytes", "100000"]).stdout;
    assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(100_000));
    let lines = output(&["endless-output", "--bytes", "130000"]).stdout;
    assert_eq!(lines.iter().filter(|byte| **byte == b'\n').count(), 10_000 + 2);
    assert!(output(&["terminal-escapes"]).stdout.contains(&0x1b));
}

#[test]
fn a_held_output_stays_open_after_the_end() {
    let mut child = command(PROBE)
        .args(["exhaust", "hold-stdout", "--seconds", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    assert!(child.wait().expect("ends").success());
    // Its end is the end of the holder, which is in no hurry.
    let mut text = String::new();
    child.stdout.take().expect("an output").read_to_string(&mut text).expect("UTF-8");
    let line: Value = serde_json::from_str(text.trim()).expect("one line");
    assert_eq!(line["event"], "end");
}

#[test]
fn a_daemon_outlives_its_parent() {
    let folder = Folder::new("daemon");
    let line = exhaust(&format!("setsid-daemon {}/pid --seconds 30", folder.path()));
    let pid = line["count"].as_u64().expect("an id");
    assert!(
        fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|text| text.contains("setsid-daemon"))
    );
    assert!(command("kill").arg(pid.to_string()).status().expect("kill starts").success());
}

#[test]
fn sigterm_is_ignored() {
    let mut child = command(PROBE)
        .args(["exhaust", "ignore-sigterm", "--seconds", "1"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut lines = BufReader::new(child.stdout.take().expect("an output")).lines();
    let ready = lines.next().expect("a line").expect("UTF-8");
    assert!(ready.contains("\"ready\""), "{ready}");
    assert!(command("kill").arg(child.id().to_string()).status().expect("kill starts").success());
    assert!(lines.next().expect("a line").expect("UTF-8").contains("\"end\""));
    assert!(child.wait().expect("ends").success());
}

#[test]
fn processors_are_busy() {
    let line = exhaust("cpu-spin --seconds 1");
    assert!(line["count"].as_u64() >= Some(100), "{line}");
}

#[test]
fn an_unknown_name_is_refused() {
    let status = command(PROBE).args(["exhaust", "patience"]).stderr(Stdio::null()).status().expect("starts");
    assert_eq!(status.code(), Some(2));
}
