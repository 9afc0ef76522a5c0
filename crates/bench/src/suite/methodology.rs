//! How a run's figures came about, as lines of words.

use std::fmt::Write as _;

use super::document::Document;
use super::machine::proving;
use crate::report;

/// Of a run, from what is stored of it.
#[must_use]
pub fn of(document: &Document) -> String {
    let facts = &document.facts;
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        writeln!(text, "{name}: {value}").ok();
    };
    line("started", &facts.started_utc);
    line("complete", if document.complete { "yes" } else { "no" });
    document.failure.iter().for_each(|why| line("ended early", why));
    line("program", &format!("agentkernel {}, {} build", facts.version, facts.build));
    line("program sha256", &facts.program_sha256);
    report::machine(&facts.environment, &facts.load_before, &facts.load_after, &mut line);
    line("kvm", facts.kvm.as_deref().unwrap_or("not emulated, as far as doctor can tell"));
    facts.targets.iter().for_each(|(target, words)| line(&format!("{target} starts by"), words));
    facts.proven.iter().for_each(|(target, proven)| {
        line("isolation of", &proving::in_words(target, proven));
    });
    plan(document, &mut line);
    RULES.iter().for_each(|(name, rule)| line(name, rule));
    text
}

fn plan(document: &Document, line: &mut impl FnMut(&str, &str)) {
    let plan = &document.facts.plan;
    let plans: Vec<&str> = plan.benchmarks.iter().map(|benchmark| benchmark.key()).collect();
    line("plans", &plans.join(" "));
    line("samples of each target", &plan.iterations.to_string());
    line(
        "warm-ups dropped",
        &format!("{}; of many at once one at most, and one to try each target", plan.warm_ups),
    );
    line("at once at the most", &plan.at_once_max.to_string());
    line("commands of stress", &plan.stress_count.to_string());
    line("seed", &plan.seed.to_string());
    line("deadline of a command", &format!("{} ms", document.facts.deadline_ms));
    line("judging a result takes", &format!("{} ns p50, outside of the time", document.facts.harness_ns));
}

/// What holds for every run.
const RULES: &[(&str, &str)] = &[
    (
        "clock",
        "CLOCK_MONOTONIC from before the spawn to after the exit; cpu, syscalls and io by the clock inside",
    ),
    ("order", "every target once in each round, in an order of the round's own that the seed gives again"),
    ("intervals", "bootstrap, 95 %; ratios to the first target with as many at once"),
    ("a wrong exit code or output", "ends the run with exit code 3, is counted, and is never timed"),
    ("host", "the same work without any sandbox: the floor"),
    (
        "X pool",
        "a sandbox out of a daemon's pool, which is full again before each sample or batch; that wait is not timed",
    ),
    (
        "X itself",
        "another's tool by its own command line; runc and runsc on the bundle of our sandboxes and a root folder of busybox, wasmtime with the module of our own Wasm targets",
    ),
    (
        "emulated in software",
        "a machine without hardware virtualisation: its figures say nothing of one that has it",
    ),
    (
        "X, raw root",
        "ours on a root folder like that of the raw runtime, with the raw runtime's work: for what our layer adds to it",
    ),
    (
        "exec, lifecycle, memory, copy",
        "of ours by a daemon that the run has started with a home of its own, unless one was named",
    ),
    (
        "memory is",
        "PSS of smaps_rollup over all processes in the sandbox's own control group, idle, and with 64 MiB written to inside \
         by one more process, and what the group is charged with; no supervisor, no shim. Of many: by how much more the host \
         cannot drop (AnonPages, Shmem, SUnreclaim, KernelStack, PageTables and Percpu of /proc/meminfo), once it is at rest \
         after the last was made, for each",
    ),
    (
        "isolation is seen",
        "once for each target, before it is timed: a program inside tells what it sees, and the host looks at its processes, \
         their network and their control group, where they are told; what does not hold ends the run with exit code 3",
    ),
    ("output is", "100 MB of 100 blocks, each with its number, compared byte for byte while they come"),
    (
        "e2b:ADDRESS",
        "by E2B's own client for Python, one process for each at once, started before; timed from the order to the answer",
    ),
    (
        "syscalls are",
        "100,000 getpid, 10,000 lstat of /, 5,000 open + read of 4096 bytes + close, 50 fork + exec + wait",
    ),
    (
        "io is",
        "64 MiB in blocks of 1 MiB written and fsynced, read again through the page cache and added up, removed",
    ),
    ("copy is", "100 MB in one file, and 10,000 files of 1 KiB, each compared byte for byte once it is back"),
];
