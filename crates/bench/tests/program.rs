//! The program as it is run: what it refuses, what it measures, and that nothing is left.

#[path = "program/root_folders.rs"]
mod root_folders;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agentkernel_core::Availability;
use agentkernel_testkit::{Finished, TestEnvironment, available_or_skip, tool_or_skip};
use serde_json::Value;

const PROGRAM: &str = env!("CARGO_BIN_EXE_agentkernel-bench");
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// One at a time: they look at the host's control groups, and a script that was just written may still be open in what
/// another test is starting.
static HOST: Mutex<()> = Mutex::new(());

/// Whether sandboxes can be measured here.
fn can_measure() -> bool {
    let root = rustix::process::geteuid().is_root();
    let root = if root {
        Availability::Available { facts: Vec::new() }
    } else {
        Availability::Unavailable { needs: "root".into(), hint: "run the tests as root".into() }
    };
    let has_tools = ["runc", "runsc", "busybox"].map(|name| tool_or_skip(name).is_some());
    available_or_skip("bench", &root) && has_tools == [true; 3]
}

struct Bench {
    environment: TestEnvironment,
    _alone: MutexGuard<'static, ()>,
}

/// How a run ended, in words.
struct Said {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Bench {
    fn new() -> Self {
        Self {
            environment: TestEnvironment::new(),
            _alone: HOST.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }

    /// Where bundles are staged, and results go.
    fn folder(&self, name: &str) -> PathBuf {
        let folder = self.environment.work().join(name);
        fs::create_dir_all(&folder).expect("made");
        // The sandbox's root passes through.
        for ancestor in folder.ancestors().filter(|path| path.starts_with(self.environment.root())) {
            fs::set_permissions(ancestor, fs::Permissions::from_mode(0o755)).expect("opened");
        }
        folder
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = self.environment.command(PROGRAM);
        command.env("PATH", SYSTEM_PATH).args(words).arg("--work-dir").arg(self.folder("staged"));
        command.arg("--output").arg(self.folder("results"));
        command
    }

    fn run(&self, words: &[&str], variables: &[(&str, &str)]) -> Said {
        let finished = Finished::of(self.command(words).envs(variables.iter().copied()));
        let (stdout, stderr) = (finished.stdout_text(), finished.stderr_text());
        Said { code: finished.status.code(), stdout, stderr }
    }

    fn results(&self) -> Value {
        let text = fs::read_to_string(self.folder("results").join("results.json")).expect("results");
        serde_json::from_str(&text).expect("JSON")
    }

    /// Everything that a run could leave: staged bundles and control groups.
    fn left(&self) -> BTreeSet<PathBuf> {
        let staged = fs::read_dir(self.folder("staged")).expect("read").flatten().map(|entry| entry.path());
        let trees = fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let trees = trees.chain([PathBuf::from("/sys/fs/cgroup")]);
        let groups = trees.flat_map(|tree| fs::read_dir(tree).into_iter().flatten().flatten());
        let is_ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("agentkernel-") && name.ends_with("-bench")
        };
        staged.chain(groups.map(|entry| entry.path()).filter(is_ours)).collect()
    }
}

#[test]
fn every_fake_runtime_is_refused_for_its_own_reason() {
    let bench = Bench::new();
    let finished = bench.run(&["--self-test"], &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    let lines: Vec<&str> = finished.stderr.lines().collect();
    for expected in [
        "fails: refused: wrong exit",
        "says the right thing and fails: refused: wrong exit",
        "is killed: refused: wrong exit",
        "says the wrong thing: refused: wrong output",
        "says too much: refused: wrong output",
        "says nothing: refused: empty output",
        "hangs: refused: timed out",
        "hangs idle: refused: timed out",
        "leaves a process: refused: left behind",
        "leaves its output held open: refused: left behind",
        "leaves its state: refused: left behind",
        "works in no time: refused: incredible",
        "works longer than it ran: refused: incredible",
        "does not tell its time: refused: incredible",
        "has no processes: refused: incredible",
        "honest: accepted",
    ] {
        let found = lines.iter().any(|line| line.contains(&format!("ok: a runtime that {expected}")));
        assert!(found, "{expected:?} is not in:\n{}", finished.stderr);
    }
    assert_eq!(fs::read_dir(bench.folder("staged")).expect("read").count(), 0);
}

#[test]
fn wrong_usage_is_told_by_its_name() {
    let bench = Bench::new();
    for (words, variables, said) in [
        (&["--metrics", "speed"][..], &[][..], "cold_start, warm_start, memory, cpu, walk"),
        (&["--iterations", "0"], &[], "--iterations"),
        (&["--fast"], &[], "--fast"),
        (&[], &[("BENCH_CPUS", "none")], "BENCH_CPUS"),
        (&[], &[("BENCH_MEM_MB", "0")], "BENCH_MEM_MB"),
        (&[], &[("BENCH_IMAGE", "x"), ("BENCH_ROOTFS", "/")], "BENCH_ROOTFS"),
        (&[], &[("BENCH_IMAGE", "")], "BENCH_IMAGE: \"\" names no image: it is empty"),
        (&[], &[("BENCH_IMAGE", "--privileged")], "it begins with '-'"),
    ] {
        let finished = bench.run(words, variables);
        assert_eq!(finished.code, Some(2), "{words:?} {variables:?}: {}", finished.stderr);
        assert!(finished.stderr.contains(said), "{words:?}: {}", finished.stderr);
    }
}

#[test]
fn both_runtimes_are_proven_and_measured_and_nothing_is_left() {
    if !can_measure() {
        return;
    }
    let bench = Bench::new();
    let before = bench.left();
    let words =
        ["--iterations", "2", "--warm-ups", "1", "--keep-page-cache", "--seed", "5", "--commit", "abc"];
    let finished = bench.run(&words, &[("BENCH_MEM_MB", "256"), ("BENCH_CPUS", "0.5")]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert!(finished.stdout.starts_with("| Metric | gVisor | runc | overhead |\n"), "{}", finished.stdout);
    let results = bench.results();
    assert_eq!((&results["complete"], &results["failure"]), (&Value::Bool(true), &Value::Null));
    assert_eq!(results["facts"]["limits"]["memory_bytes"], 256 << 20);
    assert_eq!(results["facts"]["limits"]["cpu_quota_us"], 50_000);
    assert_eq!(results["facts"]["plan"]["seed"], 5);
    let proofs = results["facts"]["proofs"].as_array().expect("proofs");
    assert_eq!(proofs.len(), 2);
    for metric in results["metrics"].as_array().expect("metrics") {
        for (name, target) in metric["targets"].as_object().expect("targets") {
            assert_eq!(target["samples"].as_array().map(Vec::len), Some(2), "{name} {}", metric["metric"]);
        }
    }
    let methodology = fs::read_to_string(bench.folder("results").join("methodology.txt")).expect("written");
    for said in [
        "commit: abc",
        "seed: 5",
        "gVisor version: runsc",
        "load before: ",
        "mitigation: ",
        "page cache: kept",
    ] {
        assert!(methodology.contains(said), "{said:?} is not in:\n{methodology}");
    }
    assert_eq!(bench.left(), before);
}

/// Puts a program of this name and script in front of all others, and gives the PATH.
fn fake(bench: &Bench, name: &str, script: &str) -> String {
    let folder = bench.folder("fakes");
    let program = folder.join(name);
    fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("executable");
    format!("{}:{SYSTEM_PATH}", folder.display())
}

/// What a fake runsc says of itself; `$@` is an order afterwards, its state `$state`.
const PRETENDS: &str = "case $1 in --version) echo runsc version release-20240729.0; exit;; flags) exit;; esac\n\
                        state=$2; shift 2; while case $1 in --*) true;; *) false;; esac; do shift; done\n";

/// The refusal of a fake runtime, after which nothing is timed and nothing left.
fn refused_proof(name: &str, script: &str) -> String {
    let bench = Bench::new();
    let before = bench.left();
    let path = fake(&bench, name, script);
    let finished = bench.run(&["--iterations", "2"], &[("PATH", &path)]);
    assert_eq!(finished.code, Some(3), "{}", finished.stderr);
    assert_eq!(finished.stdout, "", "nothing was timed");
    assert!(!bench.folder("results").join("results.json").exists());
    assert_eq!(bench.left(), before);
    finished.stderr
}

fn refused_runsc(script: &str) -> String {
    refused_proof("runsc", &format!("{PRETENDS}{script}"))
}

#[test]
fn runc_in_gvisors_name_is_refused_before_anything_is_timed() {
    if !can_measure() {
        return;
    }
    let stderr = refused_runsc("exec runc --root \"$state\" \"$@\"");
    assert!(
        stderr.contains("refused: gVisor: proof: it is not isolated: kernel inside is \"Linux version"),
        "{stderr}"
    );
}

#[test]
fn a_runtime_that_starts_nothing_is_refused_before_anything_is_timed() {
    if !can_measure() {
        return;
    }
    let stderr = refused_runsc("exit 0");
    assert!(stderr.contains("refused: gVisor: proof: it ended well and said nothing"), "{stderr}");
    let stderr = refused_runsc("echo no user mapping found >&2; exit 1");
    assert!(stderr.contains("proof: it ended with exit code 1: no user mapping found"), "{stderr}");
    // Its sandbox is alive, and its words are those of somebody who knows what is wanted.
    let stderr = refused_runsc("echo '{\"kernel\":\"Linux version 4.4.0\"}'; cat");
    assert!(stderr.contains("not isolated") && stderr.contains("network namespaces"), "{stderr}");
}

/// runc, but its group is there again when it has ended, with somebody in it.
const LEAVES_ITS_GROUP: &str = r#"
case $1 in --version) exec runc --version;; esac
runc "$@"; code=$?
group=$(sed 's/.*"cgroupsPath":"\([^"]*\)".*/\1/' "$5/config.json")
for tree in /sys/fs/cgroup/memory /sys/fs/cgroup; do
  [ -e $tree/cgroup.procs ] || continue
  mkdir $tree$group
  sleep 1000 </dev/null >/dev/null 2>&1 &
  echo $! >$tree$group/cgroup.procs
  break
done
exit $code"#;

#[test]
fn a_runtime_that_leaves_its_group_is_refused_and_the_group_removed() {
    if !can_measure() {
        return;
    }
    let stderr = refused_proof("runc", LEAVES_ITS_GROUP);
    assert!(stderr.contains("refused: runc: proof: it left something behind: process"), "{stderr}");
    assert!(stderr.contains("(sleep)") && stderr.contains("control group /sys/fs/cgroup"), "{stderr}");
}

#[test]
fn what_a_killed_run_left_is_gone_after_the_next() {
    if !can_measure() {
        return;
    }
    let bench = Bench::new();
    let before = bench.left();
    let words = ["--iterations", "1000", "--metrics", "warm_start"];
    let mut killed = bench.command(&words).spawn().expect("spawned");
    let said = BufReader::new(killed.stderr.take().expect("its stderr")).lines();
    let proven = said.map_while(Result::ok).filter(|line| line.contains("controls hold")).nth(1);
    assert!(proven.is_some_and(|line| line.contains("runc")), "it measures now");
    killed.kill().expect("killed");
    killed.wait().expect("ended");
    assert_ne!(bench.left(), before, "a killed run removes nothing");
    let finished = bench.run(&["--iterations", "1", "--warm-ups", "0", "--metrics", "warm_start"], &[]);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    assert_eq!(bench.left(), before);
}
