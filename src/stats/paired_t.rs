//! The paired t-test.

use statrs::function::beta::checked_beta_reg;

use super::{Moments, PairedTest, TestResult};

/// `t = mean(D) / (sd(D) / sqrt(n))` with `n - 1` degrees of freedom.
pub struct PairedT;

impl PairedTest for PairedT {
    fn name(&self) -> &'static str {
        "paired_t"
    }

    fn title(&self) -> &'static str {
        "paired t-test"
    }

    fn doc(&self) -> &'static str {
        "t = mean(D) / (sd(D, n-1) / sqrt(n)), n-1 degrees of freedom, two-sided."
    }

    fn test(&self, differences: &[f64]) -> TestResult {
        let moments = Moments::of(differences);
        let Some(error) = moments.standard_error() else {
            return TestResult::impossible(format!("needs at least 2 pairs, has {}", moments.n));
        };
        if error == 0.0 {
            return if moments.mean == 0.0 {
                TestResult { p: Some(1.0), note: Some("all differences are 0".into()), ..Default::default() }
            } else {
                TestResult::impossible("all differences are the same")
            };
        }
        let t = moments.mean / error;
        // The tail directly: 1 - cdf would lose every p below 1e-16.
        let freedom = (moments.n - 1) as f64;
        match checked_beta_reg(freedom / 2.0, 0.5, freedom / (freedom + t * t)) {
            Ok(p) if p.is_finite() => TestResult { statistic: Some(t), p: Some(p), ..Default::default() },
            _ => TestResult::impossible("the differences are not finite"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, differences};
    use super::*;

    fn check(sample: &[f64], t: f64, p: f64, tolerance: f64) {
        let result = PairedT.test(sample);
        assert_close(result.statistic.unwrap(), t, tolerance * t.abs());
        assert_close(result.p.unwrap(), p, tolerance * p);
    }

    #[test]
    fn vectors_of_the_methods_document() {
        let a = differences(&[0.10, 0.12, 0.11, 0.13, 0.12], &[0.09, 0.10, 0.10, 0.11, 0.12]);
        check(&a, 3.20713490, 0.03267792, 2e-7);
        let b = differences(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.1, 1.9, 3.2, 4.1, 5.3]);
        check(&b, -1.80906807, 0.14470400, 1e-7);
    }

    // scipy.stats.ttest_1samp(d, 0)   (scipy 1.17.1), with
    // d = [.031,-.012,.044,.02,.0,.055,.02,-.031,.0,.012,.07,.001] and numpy.sin(arange(1, n+1) * 1.7) + .25
    #[test]
    fn vectors_of_scipy() {
        let d = [0.031, -0.012, 0.044, 0.02, 0.0, 0.055, 0.02, -0.031, 0.0, 0.012, 0.07, 0.001];
        check(&d, 2.096534054025084, 0.059958974134813596, 1e-11);
        let wave = |n: u32| (1..=n).map(|i| (f64::from(i) * 1.7).sin() + 0.25).collect::<Vec<_>>();
        check(&wave(40), 2.1430337303720615, 0.03840682393461061, 1e-11);
        check(&wave(10_000), 35.35754527267494, 3.867290620757087e-258, 1e-9);
    }

    #[test]
    fn no_spread() {
        assert_eq!(PairedT.test(&[0.0, 0.0, 0.0]).p, Some(1.0));
        let same = PairedT.test(&[0.1, 0.1, 0.1]);
        assert_eq!(same.p, None);
        assert_eq!(same.note.unwrap(), "all differences are the same");
        assert_eq!(PairedT.test(&[0.1]).p, None);
    }
}
