//! Paired tests, effect sizes, intervals and corrections over plain slices: one file each, and the list of tests. An
//! observation is a difference of two numbers.

mod bootstrap;
mod comparison;
mod effect;
mod family;
mod holm;
mod moments;
mod paired_t;
mod wilcoxon;

pub use bootstrap::{MeanInterval, bootstrap_means};
pub use comparison::Comparison;
pub use effect::{cohen_dz, rank_biserial};
pub use family::{Tested, test_family};
pub use holm::holm;
pub use moments::{Moments, t_interval};
pub use paired_t::PairedT;
pub use wilcoxon::{Wilcoxon, Zeros};

/// A two-sided test of paired observations against "no difference".
pub trait PairedTest: Sync {
    /// As pipelines write it: `paired_t`.
    fn name(&self) -> &'static str;

    /// As captions spell it: `paired t-test`.
    fn title(&self) -> &'static str;

    /// One sentence on what it computes.
    fn doc(&self) -> &'static str;

    /// Tests the differences of the pairs (see [`differences`]).
    fn test(&self, differences: &[f64]) -> TestResult;
}

/// All tests, in documentation order. A new one is a file in this folder and a line here.
pub const TESTS: &[&dyn PairedTest] = &[
    &PairedT,
    &Wilcoxon { name: "wilcoxon", zeros: Zeros::Drop, continuity: false },
    &Wilcoxon { name: "wilcoxon_continuity", zeros: Zeros::Drop, continuity: true },
    &Wilcoxon { name: "wilcoxon_pratt", zeros: Zeros::Pratt, continuity: false },
];

/// The test called `name`.
pub fn paired_test(name: &str) -> Result<&'static dyn PairedTest, UnknownTest> {
    TESTS.iter().copied().find(|test| test.name() == name).ok_or_else(|| UnknownTest(name.to_owned()))
}

/// The text names no test.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("there is no test `{0}`; there are {list}", list = names())]
pub struct UnknownTest(String);

fn names() -> String {
    TESTS.iter().map(|test| format!("`{}`", test.name())).collect::<Vec<_>>().join(", ")
}

/// What a test found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TestResult {
    /// `t`, or `min(W+, W-)`. Absent where it is undefined.
    pub statistic: Option<f64>,
    /// Two-sided p-value. Absent where the test cannot be made.
    pub p: Option<f64>,
    /// The smallest p that so many pairs can ever give; 0 where there is no such bound.
    pub smallest_p: f64,
    /// What a reader should know: why there is no p, or which approximation was used.
    pub note: Option<String>,
}

impl TestResult {
    fn impossible(note: impl Into<String>) -> Self {
        Self { note: Some(note.into()), ..Self::default() }
    }
}

/// `a - b` of each pair, free of what is rounding alone. Pairs beyond the shorter slice are left out.
///
/// A difference of at most 4 ulp of its pair is exactly 0: equal means summed in another order are ties. Differences whose
/// standard deviation is at most 8 ulp of the largest value are exactly the same: a spread that only rounding made would
/// give a t, and an effect, of any size.
pub fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    let difference = |(&a, &b): (&f64, &f64)| unless_rounding(a - b, 4.0, a.abs().max(b.abs()));
    let differences: Vec<f64> = a.iter().zip(b).map(difference).collect();
    let largest = a.iter().zip(b).map(|(a, b)| a.abs().max(b.abs())).fold(0.0, f64::max);
    let moments = Moments::of(&differences);
    match moments.sd {
        Some(sd) if unless_rounding(sd, 8.0, largest) == 0.0 => {
            vec![unless_rounding(moments.mean, 4.0, largest); differences.len()]
        }
        _ => differences,
    }
}

/// 0 instead of what is at most so many units in the last place of values of this size.
fn unless_rounding(value: f64, ulps: f64, size: f64) -> f64 {
    if value.abs() <= ulps * f64::EPSILON * size { 0.0 } else { value }
}

/// The share of zeros among `differences`; 0 for none at all.
pub fn zero_share(differences: &[f64]) -> f64 {
    let zeros = differences.iter().filter(|&&difference| difference == 0.0).count();
    if differences.is_empty() { 0.0 } else { zeros as f64 / differences.len() as f64 }
}

#[cfg(test)]
fn assert_close(left: f64, right: f64, tolerance: f64) {
    assert!((left - right).abs() <= tolerance, "{left} against {right}");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_described() {
        let names: BTreeSet<_> = TESTS.iter().map(|test| test.name()).collect();
        assert_eq!(names.len(), TESTS.len());
        assert!(TESTS.iter().all(|test| !test.title().is_empty() && !test.doc().is_empty()));
        let message = paired_test("t-test").err().unwrap().to_string();
        assert!(message.contains("`t-test`") && message.contains("`paired_t`"), "{message}");
    }

    #[test]
    fn no_test_panics_on_degenerate_samples() {
        for test in TESTS {
            for sample in [&[][..], &[0.0], &[1.0], &[0.0, 0.0], &[1.0, 1.0], &[f64::NAN, 1.0], &[1e308, -1e308]] {
                let p = test.test(sample).p;
                assert!(p.is_none_or(|p| (0.0..=1.0).contains(&p)), "{} of {sample:?}: {p:?}", test.name());
            }
        }
    }

    // a = baseline + 0.01, and numbers as far apart in decimals: scipy.stats.ttest_rel gives t = 2.9e15, p = 8e-62 (scipy 1.17.1)
    #[test]
    fn rounding_is_no_spread() {
        let ours = [0.06, 0.07, 0.08, 0.09, 0.10];
        let theirs = [0.05, 0.06, 0.07, 0.08, 0.09];
        for (ours, theirs) in
            [(&ours[..], &theirs[..]), (&[4.33, 4.39], &[4.28, 4.34]), (&[0.3, 0.8, 1.1], &[0.2, 0.7, 1.0])]
        {
            let comparison = Comparison::of(ours, theirs);
            assert_eq!(comparison.cohen_dz, None);
            let (low, high) = t_interval(&comparison.differences, 0.95).unwrap();
            assert_eq!((low, high), (comparison.difference, comparison.difference));
            let bootstrap = bootstrap_means(std::slice::from_ref(&comparison.differences), 200, 0.95, 0).unwrap()[0];
            assert_eq!(bootstrap, MeanInterval { low, high });
            let result = PairedT.test(&comparison.differences);
            assert_eq!((result.p, result.statistic), (None, None));
            assert_eq!(result.note.as_deref(), Some("all differences are the same"));
        }
    }

    // scipy.stats.ttest_rel((4.43, 4.45), (4.28, 4.34)); two pairs whose differences do differ
    #[test]
    fn a_small_spread_is_a_spread() {
        let result = PairedT.test(&differences(&[4.43, 4.45], &[4.28, 4.34]));
        assert_close(result.statistic.unwrap(), 6.5, 1e-12);
        assert_close(result.p.unwrap(), 0.09717958069505592, 1e-13);
        // 32 ulp of 1, far below any digit that is shown.
        let step = 32.0 * f64::EPSILON;
        let wide = Comparison::of(&[1.0 + step, 1.0 + 3.0 * step, 1.0 + 5.0 * step], &[1.0; 3]);
        assert_close(wide.cohen_dz.unwrap(), 1.5, 1e-12);
    }

    #[test]
    fn rounding_is_no_difference() {
        assert_eq!(differences(&[0.1 + 0.2, 0.3, 1.0], &[0.3, 0.2, 1.0, 5.0])[..1], [0.0]);
        assert_eq!(differences(&[1e-9], &[2e-9]), [-1e-9]);
        // Of each other's size all of them are rounding, though the second pair alone would not be.
        assert_eq!(differences(&[0.7, 1e-17], &[0.7, 0.0]), [0.0, 0.0]);
        assert_eq!(zero_share(&[0.0, 1.0, 0.0, 2.0]), 0.5);
        assert_eq!(zero_share(&[]), 0.0);
    }
}
