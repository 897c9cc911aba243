//! Paired tests, effect sizes, intervals and corrections over plain slices: one file each, and the list of tests.
//! Knows nothing of metrics, users, seeds, files or stages: an observation is a difference of two numbers.

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

/// `a - b` of each pair; exactly 0 where they differ by rounding alone (4 ulp), so that equal means summed in
/// another order count as ties. Pairs beyond the shorter slice are left out.
pub fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| if (a - b).abs() <= 4.0 * f64::EPSILON * a.abs().max(b.abs()) { 0.0 } else { a - b })
        .collect()
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

    #[test]
    fn rounding_is_no_difference() {
        assert_eq!(differences(&[0.1 + 0.2, 0.3, 1.0], &[0.3, 0.2, 1.0, 5.0])[..1], [0.0]);
        assert_eq!(differences(&[1e-9], &[2e-9]), [-1e-9]);
        assert_eq!(zero_share(&[0.0, 1.0, 0.0, 2.0]), 0.5);
        assert_eq!(zero_share(&[]), 0.0);
    }
}
