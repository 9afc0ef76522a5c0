//! Carries out a plan, and hands on each benchmark once it is finished: a later failure does not lose it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};

use super::benchmark::{Benchmark, Plan};
use super::document::{Record, Row};
use super::subject::{NotReady, Sample, Subject, Task};
use crate::plan::rounds;
use crate::refusal::Failure;

/// How a run ended, and every benchmark that was finished until then.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The finished ones.
    pub records: Vec<Record>,
    /// Why it ended early, if it did.
    pub failure: Option<Failure>,
}

/// Told after each sample: the benchmark, how many are done, of how many.
pub type Progress<'a> = &'a mut dyn FnMut(Benchmark, usize, usize);

/// Measures everything. `watch` is told what is finished after each benchmark; if it fails, the run ends.
pub fn measure(
    plan: &Plan,
    subject: &mut dyn Subject,
    progress: Progress<'_>,
    watch: &mut dyn FnMut(&Outcome) -> Result<(), Failure>,
) -> Outcome {
    let mut outcome = Outcome::default();
    for benchmark in &plan.benchmarks {
        let ended = match one(plan, *benchmark, subject, progress) {
            Ok(rows) => {
                outcome.records.push(Record::new(*benchmark, rows, plan.seed));
                watch(&outcome)
            }
            Err(failure) => Err(failure),
        };
        if let Err(failure) = ended {
            outcome.failure = Some(failure);
            break;
        }
    }
    outcome
}

fn one(
    plan: &Plan,
    benchmark: Benchmark,
    subject: &mut dyn Subject,
    progress: Progress<'_>,
) -> Result<Vec<Row>, Failure> {
    let targets = subject.targets();
    let levels = plan.levels(benchmark);
    let mut prepared = Vec::new();
    let mut rows = Vec::new();
    let measured = ready(&targets, benchmark, subject, &mut prepared, &mut rows).and_then(|ready| {
        if benchmark.is_rush() {
            rushes(plan, benchmark, &levels, &ready, &targets, subject, progress)
        } else {
            in_turn(plan, benchmark, &ready, &targets, subject, progress)
        }
    });
    // What was made ready is taken down in any case; the first failure is the one that counts.
    let finished: Vec<_> = prepared.iter().map(|target| subject.finish(*target, benchmark)).collect();
    let mut measured = measured?;
    finished.into_iter().collect::<Result<Vec<()>, _>>()?;
    measured.extend(rows);
    let place = |row: &Row| targets.iter().position(|target| *target == row.target);
    measured.sort_by_key(|row| (row.could_not_run.is_some(), row.at_once, place(row)));
    Ok(measured)
}

/// Makes all ready; those that cannot run here have their row.
fn ready(
    targets: &[String],
    benchmark: Benchmark,
    subject: &mut dyn Subject,
    prepared: &mut Vec<usize>,
    rows: &mut Vec<Row>,
) -> Result<Vec<usize>, Failure> {
    let mut ready = Vec::new();
    for (index, name) in targets.iter().enumerate() {
        // Also what failed half way has something to take down.
        prepared.push(index);
        match subject.prepare(index, benchmark) {
            Ok(()) => ready.push(index),
            Err(NotReady::Absent(why)) => rows.push(Row::absent(name, why)),
            Err(NotReady::Failure(failure)) => return Err(failure),
        }
    }
    Ok(ready)
}

/// One after the other, interleaved.
fn in_turn(
    plan: &Plan,
    benchmark: Benchmark,
    ready: &[usize],
    targets: &[String],
    subject: &dyn Subject,
    progress: Progress<'_>,
) -> Result<Vec<Row>, Failure> {
    let mut rows: Vec<Row> = ready.iter().map(|index| Row::new(&targets[*index], 1)).collect();
    let orders = rounds(salted(plan.seed, benchmark, 0), ready, plan.warm_ups, plan.iterations);
    for (done, (target, round)) in orders.iter().enumerate() {
        let sample = subject.take(&Task { benchmark, target: *target, round: *round })?;
        let row = ready.iter().position(|index| index == target).and_then(|at| rows.get_mut(at));
        if let Some(row) = row.filter(|_| round.is_some()) {
            row.samples.push(sample);
        }
        progress(benchmark, done + 1, orders.len());
    }
    Ok(rows)
}

/// For each level every target's batches, interleaved.
fn rushes(
    plan: &Plan,
    benchmark: Benchmark,
    levels: &[u32],
    ready: &[usize],
    targets: &[String],
    subject: &dyn Subject,
    progress: Progress<'_>,
) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (done, level) in levels.iter().enumerate() {
        let (count, batches) = match benchmark {
            Benchmark::Stress => (plan.stress_count, 1),
            _ => (*level, plan.iterations.div_ceil(*level)),
        };
        let mut of_level: Vec<Row> = ready.iter().map(|index| Row::new(&targets[*index], *level)).collect();
        let warm_ups = plan.warm_ups.min(1);
        for (target, round) in rounds(salted(plan.seed, benchmark, *level), ready, warm_ups, batches) {
            let task = Task { benchmark, target, round };
            let Some(_) = round else {
                subject.take(&task)?;
                continue;
            };
            let samples = rush(subject, &task, count, *level)?;
            let at = ready.iter().position(|index| *index == target);
            if let Some(row) = at.and_then(|at| of_level.get_mut(at)) {
                row.batches_ns.push(span(&samples));
                row.samples.extend(samples);
            }
        }
        rows.extend(of_level);
        progress(benchmark, done + 1, levels.len());
    }
    Ok(rows)
}

/// Takes `count` samples, `at_once` at a time: each of so many threads takes the next one as long as there is one. The
/// first failure ends it.
fn rush(subject: &dyn Subject, task: &Task, count: u32, at_once: u32) -> Result<Vec<Sample>, Failure> {
    let at_once = at_once.min(count);
    let (next, begin) = (AtomicU32::new(0), Barrier::new(at_once as usize));
    let taken = Mutex::new((Vec::new(), None));
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                begin.wait();
                while next.fetch_add(1, Ordering::Relaxed) < count {
                    let sample = subject.take(task);
                    let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                    match sample {
                        Ok(sample) => taken.0.push(sample),
                        Err(failure) => {
                            taken.1.get_or_insert(failure);
                            next.store(count, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let (samples, failure) = taken.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure.map_or(Ok(samples), Err)
}

/// From the first beginning to the last end.
fn span(samples: &[Sample]) -> u64 {
    let began = samples.iter().map(|sample| sample.began_ns).min().unwrap_or(0);
    let ended = samples.iter().map(|sample| sample.began_ns + sample.total_ns).max().unwrap_or(0);
    ended - began
}

/// Each benchmark and level has an order of its own.
fn salted(seed: u64, benchmark: Benchmark, level: u32) -> u64 {
    seed.wrapping_add(benchmark as u64).wrapping_add(u64::from(level) << 8)
}
