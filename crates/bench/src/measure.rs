//! Carries out a plan, and hands on what is finished: a later failure does not lose it.

use crate::executor::{Executor, Sample};
use crate::plan::{Metric, Plan};
use crate::refusal::{Cause, Failure};

/// The samples of one metric, by target.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Of what.
    pub metric: Metric,
    /// For each target of the plan.
    pub targets: Vec<Series>,
}

/// What one target gave for one metric.
#[derive(Debug, Clone, Default)]
pub struct Series {
    /// Warm-ups are not among them.
    pub samples: Vec<Sample>,
    /// Wrong ones, warm-ups included.
    pub failures: u32,
    /// Those that took too long.
    pub timeouts: u32,
}

/// How a run ended, and all that was measured until then.
#[derive(Debug)]
pub struct Outcome {
    /// One for each metric that was begun.
    pub measured: Vec<Measured>,
    /// Why it ended early, if it did.
    pub failure: Option<Failure>,
}

/// Measures everything. `watch` is told what was measured so far after each metric, also of one that failed; if it fails
/// itself, the run ends.
pub fn measure(
    plan: &Plan,
    executor: &mut dyn Executor,
    watch: &mut dyn FnMut(&Outcome) -> Result<(), Failure>,
) -> Outcome {
    let mut outcome = Outcome { measured: Vec::new(), failure: executor.calibrate().err() };
    for metric in &plan.metrics {
        if outcome.failure.is_some() {
            break;
        }
        let (measured, failure) = measure_one(plan, *metric, executor);
        outcome.measured.push(measured);
        outcome.failure = failure;
        if let Err(failure) = watch(&outcome) {
            outcome.failure.get_or_insert(failure);
        }
    }
    outcome
}

fn measure_one(plan: &Plan, metric: Metric, executor: &mut dyn Executor) -> (Measured, Option<Failure>) {
    let mut targets = vec![Series::default(); plan.targets.len()];
    for order in plan.orders(metric) {
        let series = &mut targets[order.target];
        match executor.sample(&order) {
            Ok(sample) if order.round.is_some() => series.samples.push(sample),
            Ok(_warm_up) => {}
            Err(failure) => {
                count(series, &failure);
                return (Measured { metric, targets }, Some(failure));
            }
        }
    }
    (Measured { metric, targets }, None)
}

fn count(series: &mut Series, failure: &Failure) {
    match failure {
        Failure::Refused(refusal) if matches!(refusal.cause, Cause::TimedOut { .. }) => series.timeouts += 1,
        Failure::Refused(_) => series.failures += 1,
        // Not the target's doing.
        Failure::Error(_) | Failure::Interrupted => {}
    }
}

impl Series {
    /// The figures alone, in the metric's unit.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds and bytes below 2^53: days, and petabytes")]
    pub fn values(&self, metric: Metric) -> Vec<f64> {
        self.samples.iter().filter_map(|sample| sample.value(metric)).map(|value| value as f64).collect()
    }
}
