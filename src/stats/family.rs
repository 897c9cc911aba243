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
    /// The smallest p, corrected alike, that so many pairs can ever give; 0 where there is no such bound.
    pub smallest_p: f64,
}

/// Makes `test` of every comparison, and corrects the p-values as one family if `correct`.
pub fn test_family(test: &dyn PairedTest, comparisons: &[Comparison], correct: bool) -> Vec<Tested> {
    let results: Vec<TestResult> = comparisons.iter().map(|comparison| test.test(&comparison.differences)).collect();
    let possible = || results.iter().filter(|result| result.p.is_some());
    let corrected = |p: Vec<f64>| if correct { holm(&p) } else { p }.into_iter();
    let family = possible().count();
    let mut adjusted = corrected(possible().filter_map(|result| result.p).collect());
    // Larger p-values make no corrected one smaller: the bounds, corrected, are bounds of the corrected.
    let mut smallest = corrected(possible().map(|result| result.smallest_p).collect());
    let tested = |result: TestResult| {
        let possible = result.p.is_some();
        let p_adjusted = possible.then(|| adjusted.next()).flatten();
        let smallest_p = possible.then(|| smallest.next()).flatten().unwrap_or(0.0);
        Tested { p_adjusted, family, smallest_p, result }
    };
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

    #[test]
    fn the_smallest_p_is_corrected_too() {
        let zeros = [0.0; 6];
        let mixed = Comparison::of(&[1.0, -2.0, 3.0, 4.0, 5.0, 6.0], &zeros);
        let fewer = Comparison::of(&[1.0, 2.0, 3.0, 4.0, 5.0], &zeros[..5]);
        let comparisons = [mixed.clone(), mixed, fewer, Comparison::of(&[], &[])];
        let smallest = |correct| -> Vec<f64> {
            let tested = test_family(paired_test("wilcoxon").unwrap(), &comparisons, correct);
            tested.iter().map(|tested| tested.smallest_p).collect()
        };
        assert_eq!(smallest(false), [0.03125, 0.03125, 0.0625, 0.0]);
        assert_eq!(smallest(true), [0.09375, 0.09375, 0.09375, 0.0]);
    }
}
