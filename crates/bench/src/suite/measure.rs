//! Carries out a plan, and hands on each benchmark once it is finished: a later failure does not lose it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Barrier, Mutex, PoisonError};

use super::benchmark::{Benchmark, Plan};
use super::record::{Record, Row};
use super::subject::{NotReady, Sample, Subject, Task};
use crate::plan::rounds;
use crate::refusal::Failure;

/// How often many are made to see what they take.
const CROWDS: u32 = 5;

/// How a run ended, and every benchmark that was finished until then.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The finished ones.
    pub records: Vec<Record>,
    /// The one that was not, with all that it gave before its failure.
    pub unfinished: Option<Record>,
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
        let mut rows = Vec::new();
        let ended = one(plan, *benchmark, subject, progress, &mut rows);
        let record = Record::new(*benchmark, sorted(rows, &subject.targets()), plan.seed);
        let ended = match ended {
            Ok(()) => {
                outcome.records.push(record);
                watch(&outcome)
            }
            Err(failure) => {
                outcome.unfinished = Some(record);
                Err(failure)
            }
        };
        if let Err(failure) = ended {
            outcome.failure = Some(failure);
            break;
        }
    }
    if let Err(failure) = subject.end() {
        outcome.failure.get_or_insert(failure);
    }
    outcome
}

/// By how many at once, then as the targets are; those that cannot run here come last.
fn sorted(mut rows: Vec<Row>, targets: &[String]) -> Vec<Row> {
    let place = |row: &Row| targets.iter().position(|target| *target == row.target);
    rows.sort_by_key(|row| (row.could_not_run.is_some(), row.at_once, place(row)));
    rows
}

fn one(
    plan: &Plan,
    benchmark: Benchmark,
    subject: &mut dyn Subject,
    progress: Progress<'_>,
    rows: &mut Vec<Row>,
) -> Result<(), Failure> {
    let mut prepared = Vec::new();
    let measured = ready(benchmark, subject, &mut prepared, rows).and_then(|ready| {
        let mut taking = Taking { plan, benchmark, ready, subject, progress, rows };
        if benchmark.is_rush() {
            return taking.rushes();
        }
        taking.in_turn()?;
        if benchmark == Benchmark::Memory && plan.at_once_max > 1 { taking.crowds() } else { Ok(()) }
    });
    // What was made ready is taken down in any case; the first failure is the one that counts.
    let finished: Vec<_> = prepared.iter().map(|target| subject.finish(*target, benchmark)).collect();
    measured?;
    finished.into_iter().collect()
}

/// Makes all ready; those that cannot run here have their row.
fn ready(
    benchmark: Benchmark,
    subject: &mut dyn Subject,
    prepared: &mut Vec<usize>,
    rows: &mut Vec<Row>,
) -> Result<Vec<usize>, Failure> {
    let mut ready = Vec::new();
    for (index, name) in subject.targets().iter().enumerate() {
        // Also what failed half way has something to take down.
        prepared.push(index);
        match subject.prepare(index, benchmark) {
            Ok(()) => ready.push(index),
            Err(NotReady::Absent(why)) => rows.push(Row::absent(name, why)),
            Err(NotReady::Elsewhere) => {}
            Err(NotReady::Failure(failure)) => {
                let mut row = Row::new(name, 1);
                row.count(&failure);
                rows.push(row);
                return Err(failure);
            }
        }
    }
    Ok(ready)
}

/// The samples of one benchmark, while they are taken.
struct Taking<'a, 'p> {
    plan: &'a Plan,
    benchmark: Benchmark,
    ready: Vec<usize>,
    subject: &'a dyn Subject,
    progress: Progress<'p>,
    rows: &'a mut Vec<Row>,
}

impl Taking<'_, '_> {
    /// Gives each target a row for so many at once, and says where the first of them is.
    fn rows_at(&mut self, at_once: u32, ready: &[usize]) -> usize {
        let (targets, first) = (self.subject.targets(), self.rows.len());
        self.rows.extend(ready.iter().map(|index| Row::new(&targets[*index], at_once)));
        first
    }

    /// The target's row among those from `first` on.
    fn row(&mut self, first: usize, target: usize) -> &mut Row {
        let name = &self.subject.targets()[target];
        let at = self.rows[first..].iter().position(|row| row.target == *name).unwrap_or(0);
        &mut self.rows[first + at]
    }

    /// One after the other, interleaved.
    fn in_turn(&mut self) -> Result<(), Failure> {
        let (plan, benchmark) = (self.plan, self.benchmark);
        let targets = self.subject.targets();
        let (only_many, ready): (Vec<usize>, Vec<usize>) =
            self.ready.iter().partition(|target| self.subject.alone(**target).is_some());
        for target in only_many {
            let why = self.subject.alone(target).unwrap_or_default();
            self.rows.push(Row::absent(&targets[target], why));
        }
        let first = self.rows_at(1, &ready);
        let orders = rounds(salted(plan.seed, benchmark, 0), &ready, plan.warm_ups, plan.iterations);
        for (done, (target, round)) in orders.iter().enumerate() {
            let task = Task { benchmark, target: *target, round: *round };
            let sample = self.subject.settle(&task, 1).and_then(|()| self.subject.take(&task));
            let taken =
                sample.map_or_else(|failure| (Vec::new(), Some(failure)), |sample| (vec![sample], None));
            self.keep(first, &task, taken)?;
            (self.progress)(benchmark, done + 1, orders.len());
        }
        Ok(())
    }

    /// For each level every target's batches, interleaved.
    fn rushes(&mut self) -> Result<(), Failure> {
        let (plan, benchmark) = (self.plan, self.benchmark);
        let levels = plan.levels(benchmark);
        for (done, level) in levels.iter().enumerate() {
            let (count, batches) = match benchmark {
                Benchmark::Stress => (plan.stress_count, 1),
                _ => (*level, plan.iterations.div_ceil(*level)),
            };
            let first = self.rows_at(*level, &self.ready.clone());
            let warm_ups = plan.warm_ups.min(1);
            for (target, round) in
                rounds(salted(plan.seed, benchmark, *level), &self.ready, warm_ups, batches)
            {
                let task = Task { benchmark, target, round };
                let count = if round.is_some() { count } else { 1 };
                let settled = self.subject.settle(&task, count.min(*level));
                let taken = match settled {
                    Ok(()) => rush(self.subject, &task, count, *level),
                    Err(failure) => (Vec::new(), Some(failure)),
                };
                self.keep(first, &task, taken)?;
            }
            (self.progress)(benchmark, done + 1, levels.len());
        }
        Ok(())
    }

    /// Many that wait together, a few times: what they take is looked at only once for all of them.
    fn crowds(&mut self) -> Result<(), Failure> {
        let (plan, benchmark, count) = (self.plan, self.benchmark, self.plan.at_once_max);
        let first = self.rows_at(count, &self.ready.clone());
        let salt = salted(plan.seed, benchmark, count);
        let orders = rounds(salt, &self.ready, 0, plan.iterations.min(CROWDS));
        for (done, (target, round)) in orders.iter().enumerate() {
            let task = Task { benchmark, target: *target, round: *round };
            let taken = match self.subject.crowd(&task, count) {
                Ok(sample) => (sample.into_iter().collect(), None),
                Err(failure) => (Vec::new(), Some(failure)),
            };
            self.keep(first, &task, taken)?;
            (self.progress)(benchmark, done + 1, orders.len());
        }
        for row in &mut self.rows[first..] {
            if row.samples.is_empty() {
                row.could_not_run = Some("what so many of it take is not to be seen".into());
            }
        }
        Ok(())
    }

    /// Keeps what is no warm-up, and counts what failed.
    fn keep(&mut self, first: usize, task: &Task, (samples, failure): Taken) -> Result<(), Failure> {
        let is_rush = self.benchmark.is_rush();
        let row = self.row(first, task.target);
        if task.round.is_some() && !samples.is_empty() {
            row.batches_ns.extend(is_rush.then(|| span(&samples)));
            row.samples.extend(samples);
        }
        failure.map_or(Ok(()), |failure| {
            row.count(&failure);
            Err(failure)
        })
    }
}

/// What was right, and the failure that ended it.
type Taken = (Vec<Sample>, Option<Failure>);

/// Takes `count` samples, `at_once` at a time: each of so many threads takes the next one as long as there is one. The
/// first failure ends it; what was right until then comes with it.
fn rush(subject: &dyn Subject, task: &Task, count: u32, at_once: u32) -> Taken {
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
    taken.into_inner().unwrap_or_else(PoisonError::into_inner)
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
