//! Tests that are made, and corrected, together.

use super::{Comparison, PairedTest, TestResult, holm};

/// A test within a family.
#[derive(Clone, Debug, PartialEq)]
pub struct Tested {
    pub result: TestResult,
    /// After Holm's correction, or p itself without it.
    pub p_adjusted: Option<f64>,
    /// How many p-values were corrected together: tests that could not be made do not count.
    pub family: usize,
}

/// Makes `test` of every comparison, and corrects the p-values as one family if `correct`.
pub fn test_family(test: &dyn PairedTest, comparisons: &[Comparison], correct: bool) -> Vec<Tested> {
    let results: Vec<TestResult> = comparisons.iter().map(|comparison| test.test(&comparison.differences)).collect();
    let p: Vec<f64> = results.iter().filter_map(|result| result.p).collect();
    let family = p.len();
    let mut adjusted = if correct { holm(&p) } else { p }.into_iter();
    let tested = |result: TestResult| Tested { p_adjusted: result.p.and_then(|_| adjusted.next()), family, result };
    results.into_iter().map(tested).collect()
}

#[cfg(test)]
mod tests {
    use super::super::paired_test;
    use super::*;

    #[test]
    fn impossible_tests_are_no_part_of_the_family() {
        let zeros = [0.0; 6];
        let wins = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let comparisons = [Comparison::of(&wins, &zeros), Comparison::of(&[], &[]), Comparison::of(&zeros, &wins)];
        let wilcoxon = paired_test("wilcoxon").unwrap();
        let corrected: Vec<_> =
            test_family(wilcoxon, &comparisons, true).iter().map(|t| (t.p_adjusted, t.family)).collect();
        assert_eq!(corrected, [(Some(0.0625), 2), (None, 2), (Some(0.0625), 2)]);
        assert_eq!(test_family(wilcoxon, &comparisons, false)[0].p_adjusted, Some(0.03125));
    }
}
