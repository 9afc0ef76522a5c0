//! Order, warm-ups, refusals and figures, without real time: the executor returns the times that it is told.

use agentkernel_bench::executor::{Executor, Sample};
use agentkernel_bench::measure::{Outcome, measure};
use agentkernel_bench::plan::{Metric, Order, Plan};
use agentkernel_bench::refusal::{Cause, Failure, REFUSED, Refusal};
use agentkernel_bench::{report, results};

/// Each target takes its own time, and one of the samples may be wrong.
#[derive(Default)]
struct Scripted {
    taken: Vec<Order>,
    calibrated: u32,
    wrong_at: Option<(usize, Cause)>,
}

impl Executor for Scripted {
    fn calibrate(&mut self) -> Result<(), Failure> {
        self.calibrated += 1;
        Ok(())
    }

    fn sample(&mut self, order: &Order) -> Result<Sample, Failure> {
        let index = self.taken.len();
        self.taken.push(*order);
        if let Some((at, cause)) = &self.wrong_at
            && *at == index
        {
            return Err(Failure::Refused(Refusal {
                target: "slow".into(),
                while_measuring: order.metric.key().into(),
                cause: cause.clone(),
            }));
        }
        Ok(sample(order))
    }

    fn overhead_ns(&self) -> Option<u64> {
        Some(500_000)
    }
}

/// Warm-ups are a thousand times slower: they would be seen in any figure. The slow target takes three times as long.
fn sample(order: &Order) -> Sample {
    let milliseconds = match order.round {
        None => 100_000,
        Some(round) => 100 + u64::from(round % 5),
    };
    let factor = if order.target == 0 { 3 } else { 1 };
    let value = milliseconds * factor * 1_000_000;
    Sample {
        round: order.round,
        wall_ns: value,
        inside_ns: Some(value / 2),
        pss_bytes: Some(factor << 20),
        rss_bytes: Some(factor << 21),
        processes: Some(1),
        sharers: Some(0),
        exit_code: 0,
        stdout_sha256: "x".into(),
    }
}

fn plan() -> Plan {
    Plan {
        metrics: vec![Metric::ColdStart, Metric::Memory, Metric::Walk],
        targets: vec!["slow".into(), "quick".into()],
        iterations: 50,
        warm_ups: 2,
        seed: 11,
    }
}

fn run(executor: &mut Scripted) -> (Outcome, Vec<usize>) {
    let mut saved = Vec::new();
    let outcome = measure(&plan(), executor, &mut |outcome| {
        saved.push(outcome.measured.len());
        Ok(())
    });
    (outcome, saved)
}

#[test]
fn every_planned_sample_is_taken_in_its_order_and_warm_ups_are_thrown_away() {
    let mut executor = Scripted::default();
    let (outcome, saved) = run(&mut executor);
    assert!(outcome.failure.is_none());
    let planned: Vec<Order> = plan().metrics.iter().flat_map(|metric| plan().orders(*metric)).collect();
    assert_eq!(executor.taken, planned);
    assert_eq!(executor.calibrated, 1);
    assert_eq!(saved, [1, 2, 3], "what is finished is handed on at once");
    for series in outcome.measured.iter().flat_map(|measured| &measured.targets) {
        assert_eq!((series.samples.len(), series.failures, series.timeouts), (50, 0, 0));
        assert!(series.samples.iter().all(|sample| sample.round.is_some()));
    }
}

#[test]
fn figures_are_those_of_the_samples() {
    let (outcome, _) = run(&mut Scripted::default());
    let cold = &outcome.measured[0];
    let slow = results::summary(&plan(), cold, 0).expect("samples");
    assert_eq!((slow.min, slow.p50, slow.max), (300e6, 306e6, 312e6));
    let ratio = results::ratio(&plan(), cold, 0).expect("samples");
    assert!((ratio.p50 - 3.0).abs() < 1e-9 && ratio.interval.low <= 3.0 && 3.0 <= ratio.interval.high);
    let table = report::table(&plan(), &outcome);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines[0], "| Metric | slow | quick | overhead |");
    assert!(lines[2].starts_with("| Cold start | 306.0 ms (") && lines[2].contains("| 3.00 × ("), "{table}");
    assert!(
        lines[3].contains("3.00 MiB") && lines[3].contains("RSS 6.00") && lines[3].ends_with("+2.00 MiB |"),
        "{table}"
    );
    assert!(lines[4].contains("153.0 ms"), "a walk is timed inside: {table}");
    assert!(table.contains("0 failures, 0 timeouts"));
}

#[test]
fn a_wrong_sample_ends_the_run_is_counted_and_has_no_time() {
    // The second metric's 11th sample: 104 of the first one come before.
    let wrong = Cause::EmptyOutput;
    let mut executor = Scripted { wrong_at: Some((114, wrong)), ..Scripted::default() };
    let (outcome, saved) = run(&mut executor);
    let failure = outcome.failure.as_ref().expect("refused");
    assert_eq!(failure.exit_code(), REFUSED);
    assert_eq!(failure.to_string(), "refused: slow: memory: it ended well and said nothing");
    assert_eq!(executor.taken.len(), 115, "nothing is measured after it");
    assert_eq!(saved, [1, 2], "what was measured before it is kept");
    assert_eq!(outcome.measured[0].targets[0].samples.len(), 50);
    let of_second = &outcome.measured[1].targets;
    assert_eq!(of_second.iter().map(|series| series.samples.len()).sum::<usize>(), 6);
    assert_eq!(of_second.iter().map(|series| series.failures).sum::<u32>(), 1);
    assert!(report::table(&plan(), &outcome).contains("1 failures, 0 timeouts"));
}

#[test]
fn a_timeout_is_counted_apart_also_among_warm_ups() {
    let slow = Cause::TimedOut { awaited: "end".into(), deadline_ms: 1 };
    let (outcome, _) = run(&mut Scripted { wrong_at: Some((0, slow)), ..Scripted::default() });
    let targets = &outcome.measured[0].targets;
    assert_eq!(targets.iter().map(|series| series.timeouts).sum::<u32>(), 1);
    assert_eq!(targets.iter().map(|series| series.failures).sum::<u32>(), 0);
    assert!(results::summary(&plan(), &outcome.measured[0], 0).is_none());
    assert!(report::table(&plan(), &outcome).contains("not measured"));
}

#[test]
fn results_that_cannot_be_saved_end_the_run() {
    let full = |_: &Outcome| Err(Failure::Error(agentkernel_bench::refusal::host("save", "results", "full")));
    let mut executor = Scripted::default();
    let outcome = measure(&plan(), &mut executor, &mut { full });
    assert_eq!(outcome.failure.expect("ended").to_string(), "save: results: full");
    assert_eq!(executor.taken.len(), 104, "the first metric only");
}
