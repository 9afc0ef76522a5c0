//! What a person reads: the table, and how it came about.

use std::fmt::Write as _;

use crate::environment::Environment;
use crate::measure::{Measured, Outcome};
use crate::plan::{Metric, Plan};
use crate::results::{self, Course, Facts};
use crate::sandbox::Target;
use crate::statistics::{self, Interval, Ratio, Summary};
use crate::text::{BYTES_OF_MIB, NANOSECONDS_OF_MS};
use crate::workload;

/// The runtime's own client, which waits for the sandbox outside of its group.
const OWN_SHARERS: usize = 1;

/// Metric, each target, and what the first ones are to the last.
#[must_use]
pub fn table(plan: &Plan, outcome: &Outcome) -> String {
    let mut table = format!("| Metric | {} | overhead |\n", plan.targets.join(" | "));
    table.push_str(&"|---".repeat(plan.targets.len() + 2));
    table.push_str("|\n");
    for measured in &outcome.measured {
        let cells = (0..plan.targets.len()).map(|index| cell(plan, measured, index));
        let cells = cells.collect::<Vec<_>>().join(" | ");
        let line = format!("| {} | {cells} | {} |\n", measured.metric.title(), overheads(plan, measured));
        table.push_str(&line);
    }
    table.push_str(&footing(plan, outcome));
    table
}

/// What the cells are, and what was thrown away: nothing, in a run that came to its end.
fn footing(plan: &Plan, outcome: &Outcome) -> String {
    let all = || outcome.measured.iter().flat_map(|measured| &measured.targets);
    let failures: u32 = all().map(|series| series.failures).sum();
    let timeouts: u32 = all().map(|series| series.timeouts).sum();
    let sharers = all().flat_map(|series| &series.samples).filter_map(|sample| sample.sharers).max();
    let sharing = sharers.filter(|sharers| *sharers > OWN_SHARERS).map_or(String::new(), |sharers| {
        format!("While memory was measured, up to {sharers} other processes ran the same programs: PSS counts too little.\n")
    });
    format!(
        "\np50 (95 % interval of it), p95; overhead is the ratio of the p50 (95 % interval of it) and their difference. \
         {} samples each, interleaved; {failures} failures, {timeouts} timeouts.\n{sharing}",
        plan.iterations
    )
}

fn cell(plan: &Plan, measured: &Measured, index: usize) -> String {
    match results::summary(plan, measured, index) {
        Some(summary) => figure(&summary, measured.metric) + &resident(measured, index),
        None => "not measured".into(),
    }
}

fn figure(summary: &Summary, metric: Metric) -> String {
    let Interval { low, high } = summary.p50_interval;
    let in_unit = |value| in_unit(value, metric);
    let unit = unit(metric);
    format!(
        "{} {unit} ({}–{}), p95 {}",
        in_unit(summary.p50),
        in_unit(low),
        in_unit(high),
        in_unit(summary.p95)
    )
}

/// Of memory also the p50 of what is resident, in which shared pages count for each process.
fn resident(measured: &Measured, index: usize) -> String {
    let samples = measured.targets[index].samples.iter();
    let mut resident: Vec<u64> = samples.filter_map(|sample| sample.rss_bytes).collect();
    if resident.is_empty() {
        return String::new();
    }
    #[expect(clippy::cast_precision_loss, reason = "bytes below 2^53")]
    let middle = statistics::middle(&mut resident) as f64;
    format!(", RSS {}", in_unit(middle, Metric::Memory))
}

fn overheads(plan: &Plan, measured: &Measured) -> String {
    let others = (0..plan.targets.len()).filter(|index| *index != plan.baseline());
    let words: Vec<String> = others
        .map(|index| match results::ratio(plan, measured, index) {
            Some(ratio) => overhead(&ratio, measured.metric),
            None => "not measured".into(),
        })
        .collect();
    words.join("; ")
}

fn overhead(ratio: &Ratio, metric: Metric) -> String {
    let Interval { low, high } = ratio.interval;
    let sign = if ratio.difference < 0.0 { "−" } else { "+" };
    let difference = in_unit(ratio.difference.abs(), metric);
    format!("{:.2} × ({low:.2}–{high:.2}), {sign}{difference} {}", ratio.p50, unit(metric))
}

fn unit(metric: Metric) -> &'static str {
    if metric == Metric::Memory { "MiB" } else { "ms" }
}

fn in_unit(value: f64, metric: Metric) -> String {
    let of = if metric == Metric::Memory { BYTES_OF_MIB } else { NANOSECONDS_OF_MS };
    let value = value / of;
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

/// `methodology.txt`: every fact on which the figures depend.
#[must_use]
pub fn methodology(facts: &Facts, course: &Course) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a string does not fail.
        writeln!(text, "{name}: {value}").ok();
    };
    line("started", &facts.started_utc);
    line("commit", facts.commit.as_deref().unwrap_or("not captured: nobody told it (--commit)"));
    machine(&facts.environment, &facts.load_before, &course.load_after, &mut line);
    facts.targets.iter().for_each(|target| runtime(target, &mut line));
    bundle(facts, &mut line);
    plan(&facts.plan, &mut line);
    line("deadline of a sample", &format!("{} ms", facts.deadline_ms));
    line("page cache", &course.page_cache);
    let alone =
        course.work_alone_ns.map_or("not captured".into(), |ns| format!("{ns} ns p50, not taken off"));
    line("the work of a start without a sandbox", &alone);
    line(
        "clock",
        "CLOCK_MONOTONIC from before the spawn to after the exit; cpu and walk by the clock inside",
    );
    line("memory is", "PSS of smaps_rollup over all processes in the sandbox's control group, idle");
    line("a wrong exit code or output", "ends the run with exit code 3 and is never timed");
    text
}

/// What figures depend on of the machine.
pub(crate) fn machine(
    machine: &Environment,
    load_before: &str,
    load_after: &str,
    line: &mut impl FnMut(&str, &str),
) {
    let bytes = |bytes: Option<u64>| bytes.map_or("not captured".into(), |bytes| format!("{bytes} bytes"));
    line("kernel", &machine.kernel);
    line("system", &machine.system);
    line("cpu", &machine.cpu);
    line("cores", &machine.cores.to_string());
    line("memory", &bytes(machine.memory_bytes));
    line("swap", &bytes(machine.swap_bytes));
    line("load before", load_before);
    line("load after", load_after);
    line("control groups", &machine.cgroups);
    line("virtualisation", &machine.virtualisation);
    line("clock governor", &machine.governor);
    machine.mitigations.iter().for_each(|remedy| line("mitigation", remedy));
}

fn bundle(facts: &Facts, line: &mut impl FnMut(&str, &str)) {
    line("bundle sha256", &facts.bundle_sha256);
    line("root folder", &facts.rootfs);
    if let Some(image) = &facts.image {
        line("image", &image.name);
        line("image digest", image.digest.as_deref().unwrap_or("none: the engine has only its id"));
        line("image id", &image.id);
        line("image engine", &image.engine);
    }
    line("root folder sha256", &facts.rootfs_sha256);
    let swap = if facts.limits.swap { "none of the host's swap" } else { "the host has no swap" };
    line("memory limit", &format!("{} bytes; {swap}", facts.limits.memory_bytes));
    line("cpu limit", &format!("{} of {} µs", facts.limits.cpu_quota_us, facts.limits.cpu_period_us));
    line("pids limit", &format!("{} on the host", facts.limits.pids));
}

fn runtime(target: &Target, line: &mut impl FnMut(&str, &str)) {
    let name = &target.name;
    line(&format!("{name} program"), &target.program.display().to_string());
    line(&format!("{name} version"), &target.version);
    line(&format!("{name} sha256"), &target.sha256);
    line(&format!("{name} flags"), &target.flags.join(" "));
}

fn plan(plan: &Plan, line: &mut impl FnMut(&str, &str)) {
    line("seed", &plan.seed.to_string());
    line("samples", &format!("{} of each target and metric", plan.iterations));
    line("warm-ups", &format!("{} before them, thrown away", plan.warm_ups));
    line("order", "each round has every target once, shuffled by the seed");
    for metric in &plan.metrics {
        line(&format!("work of {}", metric.key()), &workload::amount_of(*metric));
    }
}
