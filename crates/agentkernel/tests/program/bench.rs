//! Benchmarks that are run, kept and compared.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{DEADLINE, Running, Trial, code, comes_true};

/// The only run that was kept in this folder, and its results.
pub fn kept(trial: &Trial, folder: &str) -> (PathBuf, Value) {
    let kept = std::fs::read_dir(trial.environment.work().join(folder)).expect("made");
    let folder = kept.flatten().next().expect("a run").path();
    let text = std::fs::read_to_string(folder.join("results.json")).expect("saved");
    (folder, serde_json::from_str(&text).expect("JSON"))
}

/// What one target gave in the benchmark of this number.
pub fn row<'a>(json: &'a Value, benchmark: usize, target: &str) -> &'a Value {
    let rows = json["benchmarks"][benchmark]["rows"].as_array().expect("rows");
    rows.iter().find(|row| row["target"] == target).unwrap_or_else(|| panic!("{target} has no row: {rows:?}"))
}

/// Has programs looked for in this folder before all others.
pub fn find_first_in(command: &mut Command, folder: &Path) {
    let path = command.get_envs().find_map(|(name, value)| (name == "PATH").then_some(value)?);
    let path = path.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.display()));
}

#[test]
fn what_lives_and_what_is_warm_is_measured_by_a_daemon_that_ends_with_the_run() {
    let Some(trial) = Trial::alone() else { return };
    let plans = ["startup", "exec", "lifecycle", "memory", "copy", "fork"];
    let flags = ["--backend", "oci,wasm", "--warm", "--iterations", "1", "--warm-ups", "0", "--at-once", "1"];
    let words = [&["bench", "run", "--output", "kept"][..], &flags[..], &plans[..]].concat();
    trial.say(&words).assert_code(0);
    let (_, json) = kept(&trial, "kept");
    assert_eq!(row(&json, 0, "oci pool")["samples"].as_array().map(Vec::len), Some(1));
    for (benchmark, part) in [(1, "total"), (2, "create"), (2, "rm"), (4, "in"), (4, "tree_out")] {
        assert!(p50_ns(&json, benchmark, part) > 0.0, "{}: {part}", plans[benchmark]);
    }
    assert!(row(&json, 3, "oci")["bytes"]["pss"]["p50_bytes"].as_f64().is_some_and(|bytes| bytes > 4096.0));
    let why = row(&json, 5, "oci")["could_not_run"].as_str().expect("a reason");
    assert!(why.contains("it cannot make two of a running sandbox"), "{why}");
    // The parts of each life and its residual are the whole.
    let sample = &row(&json, 2, "oci")["samples"][0];
    let sum: u64 = sample["parts"].as_object().expect("parts").values().filter_map(Value::as_u64).sum();
    assert_eq!(sample["total_ns"], sum);
    // The module is staged in the run's own folder, and so its words name that.
    let words = json["facts"]["targets"]["wasm"].as_str().expect("its words");
    let work = words.split(' ').find(|word| word.ends_with("say.wat")).map(|word| Path::new(word).parent());
    let work = work.flatten().expect("a folder");
    assert!(!work.exists() && at_home_in(work).is_empty(), "the daemon has ended, and its home is gone");
}

#[test]
fn a_daemon_that_is_named_is_measured_and_lives_on() {
    let Some(mut trial) = Trial::alone() else { return };
    trial.serve(&[]);
    trial.say(&["create", "--name", "old"]).assert_code(0);
    let socket = format!("unix://{}", trial.environment.agentkernel_home().join("daemon.sock").display());
    let words =
        ["bench", "run", "startup", "exec", "memory", "--backend", "oci", "--warm", "--daemon", &socket];
    let few = ["--iterations", "2", "--warm-ups", "0", "--at-once", "1", "--output", "kept"];
    trial.say(&[&words[..], &few[..]].concat()).assert_code(0);
    let (_, json) = kept(&trial, "kept");
    for (benchmark, target) in [(0, "oci pool"), (1, "oci")] {
        assert_eq!(row(&json, benchmark, target)["samples"].as_array().map(Vec::len), Some(2), "{target}");
    }
    let why = row(&json, 2, "oci")["could_not_run"].as_str().expect("a reason");
    assert!(why.contains("a daemon that was named"), "{why}");
    // What it had it still has, and nothing more.
    assert_eq!(trial.say(&["ps", "-q"]).assert_code(0).stdout_text().lines().count(), 1);
    let nobody = format!("unix://{}", trial.environment.work().join("nobody.sock").display());
    let words = ["bench", "run", "exec", "--backend", "oci", "--daemon", &nobody, "--output", "kept"];
    let said = trial.say(&words).assert_code(125).stderr_text();
    assert!(said.contains("nobody.sock: no daemon is running"), "{said}");
}

fn p50_ns(json: &Value, benchmark: usize, part: &str) -> f64 {
    row(json, benchmark, "oci")["figures"][part]["p50_ns"].as_f64().unwrap_or_default()
}

#[test]
fn fixed_work_is_timed_by_the_clock_inside() {
    let Some(trial) = Trial::alone() else { return };
    let flags = ["--backend", "oci", "--iterations", "1", "--warm-ups", "0", "--output", "kept"];
    let plans = ["bench", "run", "cpu", "syscalls", "io", "output"];
    trial.say(&[&plans[..], &flags[..]].concat()).assert_code(0);
    let (_, json) = kept(&trial, "kept");
    let parts = [(0, "total"), (1, "getpid"), (1, "fork_exec"), (2, "write"), (2, "read"), (3, "total")];
    for (benchmark, part) in parts {
        assert!(p50_ns(&json, benchmark, part) > 0.0, "{benchmark}: {part}");
    }
    isolation_was_seen(&json["facts"]["proven"]["oci"]["checked"]);
}

/// From inside and from the host, limits read back among the rest.
fn isolation_was_seen(found: &Value) {
    let checks = found["checks"].as_array().expect("checks");
    for name in ["network namespace inside", "seccomp mode inside", "effective capabilities inside"] {
        assert!(
            checks.iter().any(|check| check["name"] == name && check["holds"] == true),
            "{name}: {checks:?}"
        );
    }
    let is_read_back = |check: &Value| check["found"] == "536870912" && check["expected"] == "536870912";
    assert!(checks.iter().any(is_read_back), "memory: {checks:?}");
    assert!(!found["host"]["processes"].as_array().expect("processes").is_empty());
}

/// Processes whose home is in this folder of a run's own.
fn at_home_in(work: &Path) -> Vec<PathBuf> {
    let home = format!("AGENTKERNEL_HOME={}/", work.display());
    let has_home = |process: &PathBuf| {
        let variables = std::fs::read(process.join("environ")).unwrap_or_default();
        variables.split(|byte| *byte == 0).any(|variable| variable.starts_with(home.as_bytes()))
    };
    let everybody = std::fs::read_dir("/proc").expect("read").flatten().map(|entry| entry.path());
    everybody.filter(has_home).collect()
}

#[test]
fn an_interrupted_run_ends_its_daemon_and_keeps_what_was_finished() {
    let Some(trial) = Trial::alone() else { return };
    let words =
        ["bench", "run", "fork", "exec", "--backend", "oci", "--iterations", "20000", "--output", "kept"];
    let running = Running(trial.command(&words).spawn().expect("started"));
    let work = PathBuf::from(format!("/var/tmp/agentkernel-bench-{}", running.pid()));
    assert!(comes_true(DEADLINE, || work.join("home/daemon.sock").exists()), "its daemon listens");
    running.signal(Signal::INT);
    assert_eq!(code(&running.finish()), 130);
    let (_, json) = kept(&trial, "kept");
    assert_eq!((&json["complete"], &json["failure"]), (&false.into(), &"interrupted".into()));
    assert_eq!(json["benchmarks"].as_array().map(Vec::len), Some(1), "fork was finished");
    assert!(!work.exists() && at_home_in(&work).is_empty());
}

#[test]
fn raw_runtimes_get_the_bundle_of_ours_and_leave_nothing() {
    let Some(trial) = Trial::booting_on("runc") else { return };
    let plans =
        ["bench", "run", "startup", "exec", "memory", "stress", "--backend", "runc", "--vs", "runc,bwrap"];
    let few = ["--iterations", "1", "--warm-ups", "0", "--at-once", "2", "--count", "3", "--output", "kept"];
    trial.say(&[&plans[..], &few[..]].concat()).assert_code(0);
    let (_, json) = kept(&trial, "kept");
    for (benchmark, samples) in [(0, 1), (1, 1), (2, 1), (3, 3)] {
        let row = row(&json, benchmark, "runc itself");
        assert_eq!(row["could_not_run"], Value::Null, "{row}");
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(samples), "{row}");
    }
    memory_is_that_of_64_mib_more(&json);
}

/// Of whoever can be looked at while one and while many wait.
fn memory_is_that_of_64_mib_more(json: &Value) {
    let held = 64.0 * 1024.0 * 1024.0;
    for target in ["host", "runc", "runc itself", "bwrap itself"] {
        let p50 = |kind: &str| row(json, 2, target)["bytes"][kind]["p50_bytes"].as_f64().unwrap_or_default();
        assert!(p50("pss") > 4096.0 && p50("pss_touched") > held, "{target}: {}", row(json, 2, target));
        assert!(p50("pss_touched") < held * 1.5, "{target}");
    }
    let rows = json["benchmarks"][2]["rows"].as_array().expect("rows");
    // What two take may be less than others give back meanwhile.
    assert!(rows.iter().any(|row| row["target"] == "runc itself" && row["at_once"] == 2), "{rows:?}");
}

#[test]
fn targets_that_fail_lie_and_hang_are_each_refused() {
    let said = Trial::new().say(&["bench", "run", "--self-test"]).assert_code(0).stderr_text();
    for told in [
        "ok: a target that is right: accepted",
        "ok: a target that fails: refused: wrong exit",
        "ok: a target that prints the wrong thing: refused: wrong output",
        "ok: a target that hangs: refused: timed out",
        "ok: a target that brings back something else: refused: wrong output",
        "ok: a target that is on the host's own network: refused: not isolated",
        "ok: a target that declines an order: refused: declined",
    ] {
        assert!(said.contains(told), "{told:?} is not in:\n{said}");
    }
    assert!(!said.contains("WRONG"), "{said}");
}

#[test]
fn a_run_is_kept_with_its_samples_and_compared_with_itself() {
    let Some(trial) = Trial::alone() else { return };
    let words = ["bench", "run", "startup", "phases", "stress", "--backend", "oci", "--seed", "7"];
    let few = ["--iterations", "3", "--warm-ups", "1", "--at-once", "2", "--count", "4", "--output", "kept"];
    let said = trial.say(&[&words[..], &few[..]].concat()).assert_code(0);
    assert!(said.stdout_text().starts_with("## Startup"), "{}", said.stdout_text());
    let (folder, json) = kept(&trial, "kept");
    assert_eq!((&json["complete"], &json["facts"]["plan"]["seed"]), (&true.into(), &7.into()));
    for (benchmark, samples) in [(0, 3), (1, 3), (2, 4)] {
        let row = row(&json, benchmark, "oci");
        assert_eq!(row["samples"].as_array().map(Vec::len), Some(samples), "{row}");
    }
    let folder = folder.display().to_string();
    let compared = trial.say(&["bench", "compare", &folder, &folder]).assert_code(0).stdout_text();
    assert!(compared.contains("| startup oci × 1 |") && compared.contains("within 15 %"), "{compared}");
    assert_eq!(trial.say(&["bench", "report", &folder]).assert_code(0).stdout_text(), said.stdout_text());
    let file = |name: &str| std::fs::read_to_string(Path::new(&folder).join(name)).expect("saved");
    assert!(file("startup-distribution.svg").starts_with("<svg"));
    let methodology = file("methodology.txt");
    for line in
        ["seed: 7", "plans: startup phases stress", "load before: ", "mitigation: ", "oci starts by: /"]
    {
        assert!(methodology.contains(line), "{line:?} is not in:\n{methodology}");
    }
    // Its parent stands for the newest run there.
    assert_eq!(trial.say(&["bench", "report", "kept"]).assert_code(0).stdout_text(), said.stdout_text());
    tables_and_choices_are_of_what_was_kept(&trial);
    // Doctor, which a run asks, keeps what it found out; sandboxes leave nothing.
    let records = std::fs::read_dir(trial.environment.agentkernel_home().join("run/sandboxes"));
    assert_eq!(records.into_iter().flatten().count(), 0);
}

fn tables_and_choices_are_of_what_was_kept(trial: &Trial) {
    let page = trial.environment.work().join("PAGE.md");
    let marked = "x\n<!-- begin: agentkernel bench report --page -->\n<!-- end -->\ny\n";
    std::fs::write(&page, marked).expect("written");
    trial.say(&["bench", "report", "--page", "--write", "PAGE.md", "kept"]).assert_code(0);
    let page = std::fs::read_to_string(page).expect("written");
    assert!(page.starts_with("x\n<!-- begin") && page.ends_with("<!-- end -->\ny\n"), "{page}");
    assert!(page.contains("## The headline numbers") && page.contains("| `oci` *here* |"), "{page}");
    let words = ["doctor", "--recommend", "--results", "kept", "--format", "json"];
    let json: Value = serde_json::from_slice(&trial.say(&words).assert_code(0).stdout).expect("JSON");
    let choices = json["choices"].as_array().expect("choices");
    let choice = choices.iter().find(|choice| choice["use_case"] == "Linux CI/CD (no KVM)");
    assert_eq!(choice.expect("its choice")["backend"], "oci");
    let said = trial.say(&["doctor", "--recommend"]).assert_code(125).stderr_text();
    assert!(
        said.contains("benchmark-results") && said.contains("agentkernel bench run startup --warm"),
        "{said}"
    );
}

#[test]
fn a_folder_without_any_run_is_told_with_what_measures() {
    let trial = Trial::new();
    std::fs::create_dir(trial.environment.work().join("none")).expect("made");
    for words in [&["bench", "report", "none"][..], &["bench", "report", "--page", "none"]] {
        let said = trial.say(words).assert_code(2).stderr_text();
        assert!(said.contains("no run of agentkernel bench is in this folder"), "{said}");
    }
}

#[test]
fn wrong_plans_backends_tools_and_results_are_told_by_name() {
    let trial = Trial::new();
    for (words, told) in [
        (&["bench", "run", "speed"][..], "there are startup, phases, exec, concurrent, stress"),
        (&["bench", "run", "startup", "--backend", "warp"], "find the backend: warp"),
        (&["bench", "run", "startup", "--vs", "warp"], "find the tool: warp"),
        (&["bench", "run"], "PLAN"),
        (&["bench", "run", "startup", "--self-test"], "--self-test"),
        (&["bench", "run", "startup", "--iterations", "0"], "--iterations"),
    ] {
        let said = trial.say(words).assert_code(2).stderr_text();
        assert!(said.contains(told), "{words:?}: {said}");
    }
    let file = trial.environment.work().join("results.json");
    std::fs::write(&file, r#"{"schema":"agentkernel-bench/run","schema_version":9}"#).expect("written");
    let said = trial.say(&["bench", "report", "results.json"]).assert_code(2).stderr_text();
    assert!(said.contains("schema version is 9, and 1 is understood"), "{said}");
}

#[test]
fn wasmtimes_own_command_is_measured_beside_ours_and_has_a_row_where_it_is_missing() {
    let Some(trial) = Trial::alone() else { return };
    let few = ["--iterations", "2", "--warm-ups", "0", "--at-once", "1"];
    let words = ["bench", "run", "startup", "exec", "--backend", "wasm", "--vs", "wasmtime"];
    // A stand-in, which holds the words to what it is told.
    let tools = trial.environment.work().join("tools");
    std::fs::create_dir(&tools).expect("made");
    let script = "#!/bin/sh\n[ \"$1\" = run ] && [ -s \"$2\" ] && [ $# = 3 ] && echo \"$3\"\n";
    std::fs::write(tools.join("wasmtime"), script).expect("written");
    std::fs::set_permissions(tools.join("wasmtime"), Permissions::from_mode(0o755)).expect("set");
    let mut command = trial.command(&[&words[..], &few[..], &["--output", "there"]].concat());
    find_first_in(&mut command, &tools);
    let said = command.output().expect("started");
    assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
    let (_, json) = kept(&trial, "there");
    let itself = row(&json, 0, "wasmtime itself");
    assert_eq!(itself["samples"].as_array().map(Vec::len), Some(2), "{itself}");
    let told = |row: &Value| row["could_not_run"].as_str().unwrap_or_default().to_owned();
    assert!(told(row(&json, 1, "wasmtime itself")).contains("one process for one module"), "{json}");
    trial.say(&[&words[..3], &words[4..], &few[..], &["--output", "missing"]].concat()).assert_code(0);
    let missing = row(&kept(&trial, "missing").1, 0, "wasmtime itself").clone();
    assert!(told(&missing).contains("wasmtime is not installed"), "{missing}");
}
