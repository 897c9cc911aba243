//! Everything about a pair of samples that is not a test.

use super::{Moments, cohen_dz, differences, rank_biserial, zero_share};

/// A reference against a baseline, pair by pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// Reference minus baseline.
    pub differences: Vec<f64>,
    pub mean_reference: f64,
    pub mean_baseline: f64,
    pub difference: f64,
    /// `difference / mean_baseline`; absent where that mean is 0.
    pub improvement: Option<f64>,
    pub cohen_dz: Option<f64>,
    pub rank_biserial: Option<f64>,
    /// Share of pairs without a difference.
    pub zero_share: f64,
}

impl Comparison {
    /// Of two samples of equal length, pairs in the same order.
    pub fn of(reference: &[f64], baseline: &[f64]) -> Self {
        let differences = differences(reference, baseline);
        let (mean_reference, mean_baseline) = (Moments::of(reference).mean, Moments::of(baseline).mean);
        let difference = Moments::of(&differences).mean;
        Self {
            mean_reference,
            mean_baseline,
            difference,
            improvement: (mean_baseline != 0.0).then(|| difference / mean_baseline),
            cohen_dz: cohen_dz(&differences),
            rank_biserial: rank_biserial(&differences),
            zero_share: zero_share(&differences),
            differences,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::assert_close;
    use super::*;

    #[test]
    fn gain_over_the_baseline() {
        let comparison = Comparison::of(&[0.3, 0.2, 0.1], &[0.2, 0.2, 0.0]);
        assert_close(comparison.difference, 0.2 / 3.0, 1e-15);
        assert_close(comparison.improvement.unwrap(), 0.5, 1e-15);
        assert_close(comparison.zero_share, 1.0 / 3.0, 1e-15);
        assert_eq!(Comparison::of(&[1.0], &[0.0]).improvement, None);
    }
}
