//! Order, warm-ups, concurrency, refusals and figures without real time: the subject returns the times that it is told.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use agentkernel_bench::refusal::{Cause, Failure, REFUSED, Refusal};
use agentkernel_bench::suite::measure::{Outcome, measure};
use agentkernel_bench::suite::record::{MARGINAL, TOTAL};
use agentkernel_bench::suite::subject::{NotReady, Sample, Subject, Task};
use agentkernel_bench::suite::{Benchmark, Plan};

/// Whoever waits longer for the others is alone.
const DEADLINE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Inside {
    now: u32,
    most: u32,
    taken: Vec<Task>,
    crowds: Vec<(usize, u32)>,
}

/// Counts who is inside. In a rush nobody leaves before as many have been inside at once as should be.
#[derive(Default)]
struct Counting {
    inside: Mutex<Inside>,
    came: Condvar,
    awaited: u32,
    wrong_at: Option<usize>,
    finished: Vec<usize>,
}

impl Subject for Counting {
    fn targets(&self) -> Vec<String> {
        ["host", "box", "gone"].map(str::to_owned).to_vec()
    }

    fn prepare(&mut self, target: usize, benchmark: Benchmark) -> Result<(), NotReady> {
        if target == 2 && benchmark != Benchmark::Memory {
            Err(NotReady::Absent("it is not installed".into()))
        } else {
            Ok(())
        }
    }

    fn settle(&self, _: &Task, _: u32) -> Result<(), Failure> {
        Ok(())
    }

    fn alone(&self, target: usize) -> Option<String> {
        (target == 2).then(|| "it is only many".into())
    }

    /// The host takes nothing that is to be seen.
    fn crowd(&self, task: &Task, count: u32) -> Result<Option<Sample>, Failure> {
        self.inside.lock().expect("whole").crowds.push((task.target, count));
        let bytes = BTreeMap::from([(MARGINAL.to_owned(), 1000 * task.target as u64)]);
        Ok((task.target > 0).then(|| Sample { bytes, ..sample(task, 1) }))
    }

    fn take(&self, task: &Task) -> Result<Sample, Failure> {
        let mut inside = self.inside.lock().expect("whole");
        let index = inside.taken.len();
        inside.taken.push(*task);
        inside.now += 1;
        inside.most = inside.most.max(inside.now);
        self.came.notify_all();
        if task.benchmark.is_rush() && task.round.is_some() {
            let alone = |inside: &mut Inside| inside.most < self.awaited;
            inside = self.came.wait_timeout_while(inside, DEADLINE, alone).expect("whole").0;
        }
        inside.now -= 1;
        if self.wrong_at == Some(index) {
            let refusal =
                Refusal { target: "box".into(), while_measuring: "x".into(), cause: Cause::EmptyOutput };
            return Err(Failure::Refused(refusal));
        }
        // Warm-ups would be seen in any figure. The box takes three times as long as the host.
        let ms = task.round.map_or(100_000, |round| 100 + u64::from(round % 5));
        Ok(sample(task, ms * 1_000_000 * (1 + 2 * task.target as u64)))
    }

    fn finish(&mut self, target: usize, _: Benchmark) -> Result<(), Failure> {
        self.finished.push(target);
        Ok(())
    }
}

fn sample(task: &Task, total_ns: u64) -> Sample {
    Sample {
        round: task.round,
        began_ns: 0,
        total_ns,
        parts: BTreeMap::new(),
        bytes: BTreeMap::new(),
        exit_code: 0,
        stdout_sha256: "x".into(),
    }
}

fn plan(benchmarks: &[Benchmark]) -> Plan {
    let benchmarks = benchmarks.to_vec();
    Plan { benchmarks, iterations: 50, warm_ups: 2, seed: 11, at_once_max: 6, stress_count: 30 }
}

fn run(plan: &Plan, subject: &mut Counting) -> (Outcome, Vec<usize>) {
    let mut saved = Vec::new();
    let outcome = measure(plan, subject, &mut |_, _, _| {}, &mut |outcome| {
        saved.push(outcome.records.len());
        Ok(())
    });
    (outcome, saved)
}

#[test]
fn targets_are_interleaved_warm_ups_dropped_and_figures_those_of_the_samples() {
    let plan = plan(&[Benchmark::Startup]);
    let mut subject = Counting::default();
    let (outcome, saved) = run(&plan, &mut subject);
    assert!(outcome.failure.is_none() && saved == [1]);
    let inside = subject.inside.into_inner().expect("whole");
    assert_eq!((inside.taken.len(), inside.most), (2 * 52, 1));
    assert!(inside.taken.chunks(2).all(|round| round[0].target != round[1].target));
    let firsts = inside.taken.chunks(2).filter(|round| round[0].target == 1).count();
    assert!((10..43).contains(&firsts), "{firsts} of 52 rounds begin with the box");
    let rows = &outcome.records[0].rows;
    let figures = |at: usize| rows[at].figures[TOTAL];
    assert_eq!(
        (figures(0).count, figures(0).min_ns, figures(0).p50_ns, figures(0).max_ns),
        (50, 100e6, 102e6, 104e6)
    );
    let ratio = rows[1].of_baseline.as_ref().expect("a baseline");
    assert!(ratio.baseline == "host" && (ratio.p50_ratio - 3.0).abs() < 1e-9, "{ratio:?}");
    assert!(ratio.p50_ratio_ci95_low <= 3.0 && 3.0 <= ratio.p50_ratio_ci95_high, "{ratio:?}");
    assert_eq!(rows[0].of_baseline, None);
    let absent = rows.iter().find(|row| row.target == "gone").expect("a row of its own");
    assert_eq!((absent.could_not_run.as_deref(), absent.samples.len()), (Some("it is not installed"), 0));
    assert_eq!(subject.finished, [0, 1, 2]);
}

#[test]
fn as_many_as_were_asked_for_are_inside_at_once() {
    // Nobody leaves before six are inside, so it could not end by less.
    let mut subject = Counting { awaited: 6, ..Counting::default() };
    let mut plan = plan(&[Benchmark::Stress]);
    plan.warm_ups = 1;
    let (outcome, _) = run(&plan, &mut subject);
    assert!(outcome.failure.is_none());
    assert_eq!(subject.inside.lock().expect("whole").most, 6);
    let rows = &outcome.records[0].rows;
    let of = |name: &str| rows.iter().find(|row| row.target == name).expect("its row");
    assert_eq!((of("host").samples.len(), of("host").at_once, of("host").batches_ns.len()), (30, 6, 1));
}

#[test]
fn each_level_has_enough_samples_and_never_more_at_once_than_it_says() {
    let plan = plan(&[Benchmark::Concurrent]);
    let mut subject = Counting::default();
    let (outcome, _) = run(&plan, &mut subject);
    assert!(subject.inside.lock().expect("whole").most <= 6);
    let hosts = outcome.records[0].rows.iter().filter(|row| row.target == "host");
    let levels: Vec<(u32, usize)> = hosts.map(|row| (row.at_once, row.samples.len())).collect();
    assert_eq!(levels, [(1, 50), (2, 50), (4, 52), (6, 54)]);
}

#[test]
fn what_each_of_many_takes_is_looked_at_a_few_times_and_one_that_is_only_many_has_a_reason() {
    let plan = plan(&[Benchmark::Memory]);
    let mut subject = Counting::default();
    let (outcome, _) = run(&plan, &mut subject);
    let inside = subject.inside.into_inner().expect("whole");
    assert!(inside.taken.iter().all(|task| task.target != 2), "it is not taken alone");
    assert_eq!(inside.crowds.len(), 3 * 5);
    assert!(inside.crowds.iter().all(|(_, count)| *count == 6));
    let rows = &outcome.records[0].rows;
    let of = |name: &str, at_once| rows.iter().find(|row| row.target == name && row.at_once == at_once);
    let of = |name: &str, at_once| of(name, at_once).expect("its row");
    assert_eq!((of("box", 1).samples.len(), of("box", 6).samples.len()), (50, 5));
    assert_eq!(of("gone", 6).bytes[MARGINAL].p50_bytes, 2000.0);
    assert_eq!(of("gone", 0).could_not_run.as_deref(), Some("it is only many"));
    let why = of("host", 6).could_not_run.as_deref().expect("a reason");
    assert!(why.contains("not to be seen"), "{why}");
}

#[test]
fn a_wrong_sample_ends_the_run_and_finished_benchmarks_are_kept() {
    let plan = plan(&[Benchmark::Startup, Benchmark::Stress]);
    for wrong_at in [104 + 20, 104] {
        let mut subject = Counting { wrong_at: Some(wrong_at), ..Counting::default() };
        let (outcome, saved) = run(&plan, &mut subject);
        assert_eq!(outcome.failure.as_ref().map(Failure::exit_code), Some(REFUSED));
        assert_eq!((outcome.records.len(), saved), (1, vec![1]));
        let failures = outcome.unfinished.iter().flat_map(|record| &record.rows).map(|row| row.failures);
        assert_eq!(failures.sum::<u32>(), 1, "it is counted");
        assert_eq!(subject.finished, [0, 1, 2, 0, 1, 2], "what was made ready is taken down");
    }
}

#[test]
fn an_order_is_given_again_by_its_seed() {
    let order = |seed| {
        let mut subject = Counting::default();
        run(&Plan { seed, ..plan(&[Benchmark::Phases]) }, &mut subject);
        subject.inside.into_inner().expect("whole").taken
    };
    assert_eq!(order(3), order(3));
    assert_ne!(order(3), order(4));
}
