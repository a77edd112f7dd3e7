//! The middle of some ratios, and how sure it is.

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Resamples of the bootstrap.
const RESAMPLES: usize = 10_000;

/// A median and its 95 % interval.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Middle {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Middle {
    /// Of at least one value: the median, and the percentile bootstrap of it, from a fixed seed.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut rng = StdRng::seed_from_u64(0);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .map(|_| {
                let resample: Vec<f64> =
                    (0..values.len()).map(|_| values[rng.random_range(0..values.len())]).collect();
                median(resample)
            })
            .collect();
        medians.sort_by(f64::total_cmp);
        let at = |share: f64| medians[((RESAMPLES - 1) as f64 * share).round() as usize];
        Self { median: median(values.to_vec()), low: at(0.025), high: at(0.975) }
    }
}

/// The middle value, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len() % 2 == 1 { values[half] } else { (values[half - 1] + values[half]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_lies_in_its_interval() {
        let middle = Middle::of(&[0.8, 0.9, 0.85, 0.7, 0.95]);
        assert!((middle.median - 0.85).abs() < 1e-9);
        assert!(middle.low <= middle.median && middle.median <= middle.high && middle.low >= 0.7);
    }
}
