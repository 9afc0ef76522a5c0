//! The page and the choice by stored results: of the newest on one machine, beside the brief's, each line with its reason.

use std::fs;
use std::path::Path;

use agentkernel_bench::suite::record::{Record, Row};
use agentkernel_bench::suite::stored::{Stored, newest};
use agentkernel_bench::suite::subject::Sample;
use agentkernel_bench::suite::{Benchmark, page, recommend};
use serde_json::{Value, json};

/// Twelve samples of so many milliseconds.
fn row(target: &str, ms: u64) -> Row {
    let sample = |round| Sample {
        round: Some(round),
        began_ns: 0,
        total_ns: ms * 1_000_000,
        parts: std::collections::BTreeMap::new(),
        bytes: std::collections::BTreeMap::new(),
        exit_code: 0,
        stdout_sha256: "x".into(),
    };
    Row { samples: (0..12).map(sample).collect(), ..Row::new(target, 1) }
}

/// A stored run of startup with these rows, on a machine of this name.
fn store(parent: &Path, started: &str, cpu: &str, kvm: Option<&str>, rows: Vec<Row>) {
    let record = Record::new(Benchmark::Startup, rows, 7);
    let environment = json!({
        "kernel": "Linux version 6.1", "system": "Debian 12", "cpu": cpu, "cores": 2, "memory_bytes": 4_u64 << 30,
        "swap_bytes": 0, "cgroups": "v2", "virtualisation": "none told", "mitigations": [], "governor": "none",
    });
    let plan = json!({
        "benchmarks": ["startup"], "iterations": 12, "warm_ups": 0, "seed": 7, "at_once_max": 1, "stress_count": 1,
    });
    let facts = json!({
        "started_utc": started, "version": "0.1.0", "program_sha256": "x", "build": "release", "plan": plan,
        "environment": environment, "load_before": "0.10 0 0", "load_after": "0.20 0 0", "targets": {},
        "deadline_ms": 1, "harness_ns": 1, "kvm": kvm,
    });
    let document: Value = json!({
        "schema": "agentkernel-bench/run", "schema_version": 1, "complete": true, "failure": null, "facts": facts,
        "benchmarks": [record], "unfinished": null,
    });
    let folder = parent.join(started);
    fs::create_dir(&folder).expect("made");
    fs::write(folder.join("results.json"), document.to_string()).expect("written");
}

#[test]
fn machines_that_are_emulated_in_software_are_told_of_apart_and_never_chosen() {
    let parent = tempfile::tempdir().expect("a folder");
    let rows = vec![row("host", 1), row("qemu, emulated in software", 2), row("runc, raw root", 30)];
    store(parent.path(), "2026-01-01T00-00-00Z", "A", None, rows);
    let stored = Stored::load(parent.path()).expect("it is there");
    let page = page::of(&stored);
    let (native, emulated) = page.split_once("## Emulated in software").expect("a part of their own");
    assert!(!native.contains("| `qemu, emulated"), "{native}");
    assert!(
        native.contains("| `runc, raw root` *here* | 30.0 | 33.3 | hardened, the host's kernel is shared |"),
        "{native}"
    );
    assert!(emulated.contains("| qemu, emulated in software | 1 | 12 | 2.00 (2.00–2.00) |"), "{emulated}");
    let chosen = recommend::choices(&stored).into_iter().filter_map(|choice| choice.backend);
    assert!(chosen.clone().all(|backend| !backend.contains(',')), "{:?}", chosen.collect::<Vec<_>>());
}

fn rows() -> Vec<Row> {
    let absent = Row::absent("docker", "it needs a running docker engine".into());
    vec![row("host", 1), row("oci", 10), row("oci pool", 4), row("gvisor", 150), row("wasm", 3), absent]
}

#[test]
fn the_page_has_our_figures_beside_the_briefs_and_a_reason_where_there_are_none() {
    let parent = tempfile::tempdir().expect("a folder");
    store(parent.path(), "2026-01-01T00-00-00Z", "A", None, vec![row("oci", 99), row("crun", 20)]);
    store(parent.path(), "2026-01-02T00-00-00Z", "A", None, rows());
    store(parent.path(), "2026-01-01T12-00-00Z", "B", None, vec![row("runc", 77)]);
    fs::create_dir(parent.path().join("2026-01-03T00-00-00Z")).expect("made");
    let stored = Stored::load(parent.path()).expect("it is there");
    assert_eq!((stored.runs().len(), stored.others), (2, 1));
    let page = page::of(&stored);
    for line in [
        "| Firecracker daemon (Linux) | 195 ms | ~5.1/s | full VM (separate kernel) |",
        "| `firecracker pool` *here* | could not run here, because it has not been measured: agentkernel bench run startup |||",
        "| `docker` *here* | could not run here, because it is of macOS, and this is Linux |||",
        "| `oci` *here* | 10.0 | 100.0 | hardened, the host's kernel is shared |",
        "| `crun` *here* | 20.0 | 50.0 |",
        "| 10 sequential | 8.0 s | 1.95 s | – | – | 0.10 s | 0.04 s | 1.50 s | – | – | – |",
        "1 runs of other machines or builds are not on this page",
    ] {
        assert!(page.contains(line), "{line:?} is not in:\n{page}");
    }
    assert!(!page.contains("99.0") && !page.contains("77.0"), "the newest of this machine counts:\n{page}");
    let titles = [
        "The headline numbers",
        "Where the time goes",
        "Firecracker vs Docker",
        "Hyperlight",
        "Concurrent requests",
    ];
    let more = ["Apple Containers", "Docker and Podman", "Daemon mode", "Choosing a backend"];
    for title in titles.iter().chain(&more) {
        assert!(page.contains(&format!("## {title}\n")), "{title}");
    }
    assert_eq!(page.matches("## Stress: ").count(), 3);
    assert!(page.contains("could not run here, because it needs a running docker engine"), "{page}");
}

#[test]
fn what_is_emulated_says_so_in_its_name() {
    let parent = tempfile::tempdir().expect("a folder");
    store(parent.path(), "1", "A", Some("kvm-pvm"), vec![row("firecracker", 800), row("oci", 10)]);
    let page = page::of(&Stored::load(parent.path()).expect("it is there"));
    assert!(page.contains("| `firecracker` *here, emulated (kvm-pvm)* | 800.0 | 1.2 |"), "{page}");
    assert!(page.contains("| `oci` *here* | 10.0 |") && page.contains("KVM is emulated here"), "{page}");
}

#[test]
fn a_backend_is_chosen_by_what_was_measured() {
    let parent = tempfile::tempdir().expect("a folder");
    store(parent.path(), "1", "A", None, rows());
    let choices = recommend::choices(&Stored::load(parent.path()).expect("it is there"));
    let of = |use_case: &str| {
        let choice = choices.iter().find(|choice| choice.use_case == use_case).expect("its choice");
        (choice.backend.as_deref(), choice.why.as_str())
    };
    let warm = "p50 4.00 ms, 250 a second, n 12; hardened, the host's kernel is shared";
    assert_eq!(of("Interactive / API server"), (Some("oci pool"), warm));
    assert_eq!(of("High-throughput Wasm").0, Some("wasm"));
    assert_eq!(of("Linux CI/CD (no KVM)").0, Some("oci"));
    assert_eq!(of("Untrusted code (Linux)").0, Some("gvisor"));
    assert_eq!(of("macOS development (speed)"), (None, "this is Linux"));
}

#[test]
fn a_folder_of_runs_stands_for_its_newest_and_one_without_is_an_error() {
    let parent = tempfile::tempdir().expect("a folder");
    let refused = newest(parent.path()).expect_err("refused");
    assert!(refused.to_string().contains("no run of agentkernel bench is in this folder"), "{refused}");
    assert!(Stored::load(parent.path()).is_err());
    store(parent.path(), "1", "A", None, rows());
    store(parent.path(), "2", "A", None, rows());
    let (folder, run, count) = newest(parent.path()).expect("found");
    assert_eq!((folder, run.facts.started_utc.as_str(), count), (parent.path().join("2"), "2", 2));
    let (_, run, count) = newest(&parent.path().join("1")).expect("found");
    assert_eq!((run.facts.started_utc.as_str(), count), ("1", 1));
}
