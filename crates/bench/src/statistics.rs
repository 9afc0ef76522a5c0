//! What many samples say together.

use crate::random::Random;

/// How many times the samples are drawn again for an interval.
const RESAMPLES: usize = 2000;

/// The interval holds so much of what was drawn, half of the rest on either side.
const CONFIDENCE: f64 = 0.95;

/// A summary of samples, in their unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// How many.
    pub count: usize,
    /// The smallest.
    pub min: f64,
    /// The median.
    pub p50: f64,
    /// 95 of 100 are not greater.
    pub p95: f64,
    /// 99 of 100 are not greater.
    pub p99: f64,
    /// The greatest.
    pub max: f64,
    /// Median of the distances from the median.
    pub mad: f64,
    /// Where the median is, with 95 % confidence.
    pub p50_interval: Interval,
}

/// From, to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How many times as much as the baseline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Of the medians.
    pub p50: f64,
    /// With 95 % confidence.
    pub interval: Interval,
    /// The difference of the medians, in the samples' unit.
    pub difference: f64,
}

/// Summarises samples; `None` of none.
#[must_use]
pub fn summary(samples: &[f64], random: &mut Random) -> Option<Summary> {
    let sorted = sorted(samples);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let median = quantile(&sorted, 0.5);
    let distances: Vec<f64> = sorted.iter().map(|value| (value - median).abs()).collect();
    Some(Summary {
        count: sorted.len(),
        min: first,
        p50: median,
        p95: quantile(&sorted, 0.95),
        p99: quantile(&sorted, 0.99),
        max: last,
        mad: median_of(&distances),
        p50_interval: interval(
            &(0..RESAMPLES).map(|_| median_of(&resample(samples, random))).collect::<Vec<_>>(),
        ),
    })
}

/// Compares samples with those of the baseline; `None` if either has none, or the baseline's median is nothing.
#[must_use]
pub fn ratio(samples: &[f64], baseline: &[f64], random: &mut Random) -> Option<Ratio> {
    if samples.is_empty() || baseline.is_empty() {
        return None;
    }
    let (ours, theirs) = (median_of(samples), median_of(baseline));
    if theirs <= 0.0 {
        return None;
    }
    let drawn = (0..RESAMPLES).map(|_| {
        median_of(&resample(samples, random)) / median_of(&resample(baseline, random)).max(f64::MIN_POSITIVE)
    });
    Some(Ratio {
        p50: ours / theirs,
        interval: interval(&drawn.collect::<Vec<_>>()),
        difference: ours - theirs,
    })
}

/// Their sum by their number; `None` of none. The median says more, but others tell this.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a list of some thousand items")]
pub fn mean(samples: &[f64]) -> Option<f64> {
    (!samples.is_empty()).then(|| samples.iter().sum::<f64>() / samples.len() as f64)
}

/// The one in the middle of at least one; of an even number the upper of the two.
pub fn middle(samples: &mut [u64]) -> u64 {
    samples.sort_unstable();
    samples.get(samples.len() / 2).copied().unwrap_or(0)
}

/// As many as there are, each drawn from all.
fn resample(samples: &[f64], random: &mut Random) -> Vec<f64> {
    samples.iter().map(|_| samples[random.below(samples.len())]).collect()
}

fn interval(drawn: &[f64]) -> Interval {
    let sorted = sorted(drawn);
    let beside = (1.0 - CONFIDENCE) / 2.0;
    Interval { low: quantile(&sorted, beside), high: quantile(&sorted, 1.0 - beside) }
}

fn sorted(samples: &[f64]) -> Vec<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

fn median_of(samples: &[f64]) -> f64 {
    quantile(&sorted(samples), 0.5)
}

/// Between the two nearest, in proportion: R's type 7, numpy's default.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a place in a list of some thousand items"
)]
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len().saturating_sub(1)) as f64;
    let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
    let below = at(place.floor() as usize);
    below + (at(place.ceil() as usize) - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u32) -> Vec<f64> {
        (1..=count).map(f64::from).collect()
    }

    fn near(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn the_summary_of_known_numbers_is_known() {
        // numpy.percentile([1..100], [50, 95, 99]); scipy.stats.median_abs_deviation.
        let summary = summary(&numbers(100), &mut Random::new(1)).expect("samples");
        assert_eq!(summary.count, 100);
        near(summary.min, 1.0);
        near(summary.p50, 50.5);
        near(summary.p95, 95.05);
        near(summary.p99, 99.01);
        near(summary.max, 100.0);
        near(summary.mad, 25.0);
    }

    #[test]
    fn order_does_not_matter_and_no_samples_have_no_summary() {
        let mut backwards = numbers(31);
        backwards.reverse();
        let of = |samples: &[f64]| summary(samples, &mut Random::new(1)).map(|summary| summary.p95);
        assert_eq!(of(&backwards), of(&numbers(31)));
        assert_eq!(of(&[]), None);
        assert_eq!(ratio(&[], &numbers(3), &mut Random::new(1)), None);
        assert_eq!(ratio(&numbers(3), &[0.0], &mut Random::new(1)), None);
    }

    #[test]
    fn the_interval_holds_the_median_and_shrinks_with_more_samples() {
        let width = |count| {
            let summary = summary(&numbers(count), &mut Random::new(9)).expect("samples");
            let Interval { low, high } = summary.p50_interval;
            assert!(low <= summary.p50 && summary.p50 <= high, "{summary:?}");
            (high - low) / f64::from(count)
        };
        assert!(width(400) < width(50) && width(50) < width(12));
        let same = summary(&[5.0; 20], &mut Random::new(9)).expect("samples");
        assert_eq!((same.p50_interval, same.mad), (Interval { low: 5.0, high: 5.0 }, 0.0));
    }

    #[test]
    fn a_ratio_is_of_medians_and_its_interval_reaches_around_it() {
        let twice: Vec<f64> = numbers(50).iter().map(|value| value * 2.0).collect();
        let ratio = ratio(&twice, &numbers(50), &mut Random::new(4)).expect("samples");
        near(ratio.p50, 2.0);
        near(ratio.difference, 25.5);
        assert!(ratio.interval.low < 2.0 && 2.0 < ratio.interval.high, "{ratio:?}");
    }
}
