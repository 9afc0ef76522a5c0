//! The whole life of a sandbox again and again, with statistics, on every backend that works here:
//! `BENCH_SANDBOXES=20 BENCH_ITERATIONS=5 cargo test --test benchmark_test -- --nocapture --ignored`.

#[path = "program/daemon.rs"]
#[expect(dead_code, reason = "the tests of the program use the rest")]
mod daemon;
mod measuring;
#[path = "measuring/requests.rs"]
mod requests;
#[path = "program/support.rs"]
#[expect(dead_code, reason = "the tests of the program use the rest")]
mod support;

/// The trials here start their daemons themselves.
const BY_DAEMON: bool = false;

use std::fs;
use std::path::Path;

use agentkernel_testkit::{TestEngine, TestEnvironment, tool_or_skip};
use measuring::{bench, bench_with, number};

#[test]
#[ignore = "it measures: BENCH_ITERATIONS (10) times BENCH_SANDBOXES (10), BENCH_MAX_CONCURRENT (50) at once"]
fn benchmark() {
    let sandboxes = number("BENCH_SANDBOXES", 10);
    let count = sandboxes.saturating_mul(number("BENCH_ITERATIONS", 10));
    let at_once = number("BENCH_MAX_CONCURRENT", 50).min(sandboxes);
    let flags = [("--iterations", count), ("--count", count), ("--at-once", at_once)];
    bench(&["startup", "phases", "stress"], &flags);
}

/// Of each target of the long ones.
const FEW: (&str, u32) = ("--iterations", 20);
/// Of each target of the longest: under gVisor's ptrace a sample takes ten seconds.
const FEWER: (&str, u32) = ("--iterations", 10);
/// As many as the product's brief has at once.
const HUNDRED: (&str, u32) = ("--at-once", 100);

/// A home with what QEMU's machines are made of, where that can be had.
fn machines() -> Option<String> {
    tool_or_skip("qemu-system-x86_64")?;
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bench-machines").display().to_string();
    // Its folder is that of the program, as long as this lives.
    let environment = TestEnvironment::new();
    let mut command = environment.command(env!("CARGO_BIN_EXE_agentkernel"));
    let status = command.args(["setup", "microvm"]).env("AGENTKERNEL_HOME", &home).status();
    status.expect("it starts").success().then_some(home)
}

/// A daemon's requests, without a process for each.
#[test]
#[ignore = "it measures: BENCH_FRESH (10000) fresh sandboxes among it"]
fn requests() {
    requests::measure(number("BENCH_FRESH", 10_000) as usize);
    requests::measure_pool(1_000);
}

/// All that the generated part of BENCHMARKS.md has; what is there twice is told of the newest. `scripts/bench/all` calls it.
#[test]
#[ignore = "it measures everything, on engines of its own: most of an hour"]
fn everything() {
    let (docker, podman) = (TestEngine::docker(), TestEngine::podman());
    let image = "docker.io/library/busybox:latest";
    for engine in [&docker, &podman].into_iter().flatten() {
        // A place that is written to, as every image has it.
        engine.import_busybox(image, &[], |root| fs::create_dir(root.join("tmp")).expect("made"));
    }
    let named = [("DOCKER_HOST", &docker), ("CONTAINER_HOST", &podman)];
    let named = named.into_iter().filter_map(|(name, engine)| Some((name, engine.as_ref()?.address())));
    let engines: Vec<(&str, String)> = named.collect();
    let run = |plans: &[&str], words: &[&str], flags: &[(&str, u32)]| {
        bench_with(&engines, plans, &[&["--image", image], words].concat(), flags);
    };
    // First, so that the newest run of each plan is one of machines that are none, or are not emulated.
    if let Some(home) = machines() {
        let words = ["--backend", "qemu", "--emulate", "--warm", "--timeout", "180s"];
        bench_with(
            &[("AGENTKERNEL_HOME", home)],
            &["startup", "exec", "fork"],
            &words,
            &[FEWER, ("--at-once", 1)],
        );
    }
    let all = ["--warm", "--vs", "docker,podman,bwrap,runc,runsc,wasmtime"];
    run(&["startup", "phases"], &all, &[("--iterations", number("BENCH_ITERATIONS", 40)), ("--at-once", 1)]);
    run(&["concurrent"], &["--warm", "--backend", "oci,docker,podman,wasm"], &[FEW, HUNDRED]);
    run(&["stress", "lifecycle"], &all[1..], &[FEW, ("--at-once", 10)]);
    run(&["memory"], &["--backend", "oci,runc,crun,gvisor,docker,wasm"], &[("--iterations", 3), HUNDRED]);
    run(&["memory"], &all[1..], &[FEW, ("--at-once", 10)]);
    run(&["exec", "cpu"], &all[1..], &[FEW, ("--at-once", 1)]);
    run(&["syscalls", "io", "output", "copy", "fork"], &all[1..], &[FEWER, ("--at-once", 1)]);
}
