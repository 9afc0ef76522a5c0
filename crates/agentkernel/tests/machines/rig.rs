//! What the tests in machines share: whether there can be any, what runs in them, and a daemon that keeps some.

use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use agentkernel_core::Availability;
use agentkernel_kvm::KvmLevel;
use agentkernel_testkit::{Finished, TestEnvironment, available_or_skip};
use serde_json::{Value, json};

use crate::support::{DEADLINE, Trial, comes_true, work_file};

/// What these tests need, as skips call it.
pub const KVM: &str = "kvm";

/// Flags of a machine: an emulated host has little memory.
pub const MACHINE: [&str; 4] = ["--backend", "hyperlight", "--memory", "128M"];

/// Whether a machine can run here. If not, another test runs this one where it can.
fn has_kvm() -> bool {
    static LEVEL: OnceLock<KvmLevel> = OnceLock::new();
    let level = LEVEL.get_or_init(agentkernel_kvm::probe);
    let available = match level {
        KvmLevel::Hardware => Availability::Available { facts: Vec::new() },
        _ => Availability::Unavailable {
            needs: format!("KVM on hardware virtualisation: {}", level.describe()),
            hint: "an emulated host has it: machines_serve_the_program_and_its_daemon_where_kvm_works".into(),
        },
    };
    available_or_skip(KVM, &available)
}

/// A trial with a module in its working directory, where there can be machines.
pub fn trial() -> Option<Trial> {
    let trial = has_kvm().then(Trial::new)?;
    let module = wat::parse_str(include_str!("left.wat")).expect("valid");
    fs::write(work_file(&trial, "left.wasm"), module).expect("written");
    Some(trial)
}

/// The folder with the program that leaves something. It is compiled before an emulated host begins, and seen there.
pub fn root() -> PathBuf {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/machines/left.c");
        let root = Path::new(env!("CARGO_TARGET_TMPDIR")).join("machines-root");
        let program = root.join("bin/left");
        let age = |path: &Path| fs::metadata(path).and_then(|facts| facts.modified()).ok();
        if age(&program) < age(&source) {
            fs::create_dir_all(root.join("bin")).expect("made");
            let mut compile = TestEnvironment::new().command("/usr/bin/gcc");
            compile.current_dir("/").args(["-O1", "-static-pie", "-o"]).arg(&program).arg(source);
            Finished::of(&mut compile).assert_success();
            fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("set");
        }
        root
    })
    .clone()
}

/// Starts a daemon that keeps so many machines of this kind warm, and waits until they are.
pub fn serve(trial: &mut Trial, number: u64, kind: &[&str]) {
    trial.serve(&[]);
    let size = format!("{number}..{number}");
    trial.say(&[&["pool", "set", &size], &MACHINE[..], kind].concat()).assert_success();
    warms_up(trial, number);
}

/// The pool of machines, as it is listed.
pub fn pool(trial: &Trial) -> Value {
    let said = trial.say(&["pool", "ls", "--format", "json"]).assert_success();
    of_machines(&serde_json::from_slice(&said.stdout).expect("JSON"))
}

fn of_machines(pools: &Value) -> Value {
    let pools = pools["pools"].as_array().expect("a list");
    pools.iter().find(|pool| pool["backend"] == "hyperlight").cloned().unwrap_or_default()
}

/// Waits until so many are warm. The daemon itself is asked: a program for each question would keep an emulated host busy.
#[track_caller]
pub fn warms_up(trial: &Trial, number: u64) {
    let pool = || of_machines(&ask(trial, "GET", "/v1/pools", None));
    let is_warm = comes_true(DEADLINE, || pool()["warm"] == number);
    assert!(is_warm, "not {number} are warm: {}", pool());
}

/// That so many were asked for, all of them were warm, and nothing failed; and that as many as there were are warm again.
#[track_caller]
pub fn were_all_warm(trial: &Trial, number: u64, warm: u64) {
    let pool = pool(trial);
    let counts =
        ["hits", "misses", "boot_failures", "stop_failures"].map(|name| pool["total"][name].as_u64());
    assert_eq!(counts, [number, 0, 0, 0].map(Some), "{pool}");
    assert_eq!(pool["warm"], warm, "{pool}");
}

/// Posts this to the daemon. Returns the reply's body.
pub fn post(trial: &Trial, path: &str, body: &Value) -> Value {
    ask(trial, "POST", path, Some(body))
}

/// Asks the daemon on its socket, by nothing of ours.
fn ask(trial: &Trial, method: &str, path: &str, body: Option<&Value>) -> Value {
    let socket = trial.environment.agentkernel_home().join("daemon.sock");
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    let body = body.map(ToString::to_string).unwrap_or_default();
    let head = "Host: daemon\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length";
    write!(stream, "{method} {path} HTTP/1.1\r\n{head}: {}\r\n\r\n{body}", body.len()).expect("written");
    let mut reply = String::new();
    stream.read_to_string(&mut reply).expect("text");
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{reply}"));
    assert!(head.starts_with("HTTP/1.1 200 "), "{reply}");
    serde_json::from_str(body).unwrap_or_else(|why| panic!("{why}: {reply}"))
}

/// A description of the machines of [`MACHINE`], as requests have it.
pub fn machine(image: &str, path: &Path) -> Value {
    json!({"backend": "hyperlight", "memory": "128M", image: path})
}

/// The helper programs of a daemon: its children of that name.
pub fn helpers(trial: &Trial) -> Vec<String> {
    let lock = fs::read_to_string(trial.environment.agentkernel_home().join("daemon.lock")).expect("a lock");
    let tasks = fs::read_dir(format!("/proc/{}/task", lock.trim())).expect("it lives").flatten();
    let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<String> = children.collect();
    let pids = children.iter().flat_map(|children| children.split_whitespace());
    pids.filter(|pid| is_helper(pid)).map(ToOwned::to_owned).collect()
}

/// Whether a process is a helper, and lives.
pub fn is_helper(pid: &str) -> bool {
    // The kernel keeps fifteen letters of a name.
    fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "agentkernel-hyp")
}
