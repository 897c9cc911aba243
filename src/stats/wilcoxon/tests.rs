//! Tests of the signed-rank test against SciPy and against counting.

use proptest::prelude::*;

use super::super::{assert_close, paired_test};
use super::*;

const UNTIED: [f64; 8] = [0.5, -0.1, 0.3, 0.2, 0.7, -0.4, 0.6, 0.9];
const TIED: [f64; 12] = [0.031, -0.012, 0.044, 0.02, 0.0, 0.055, 0.02, -0.031, 0.0, 0.012, 0.07, 0.001];

fn plain(differences: &[f64]) -> TestResult {
    paired_test("wilcoxon").unwrap().test(differences)
}

fn pratt(differences: &[f64]) -> TestResult {
    paired_test("wilcoxon_pratt").unwrap().test(differences)
}

#[test]
fn exact_vectors_of_the_methods_document() {
    let six = plain(&[1.0, -2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!((six.statistic, six.p), (Some(2.0), Some(0.09375)));
    let ranks = SignedRanks::of(&UNTIED, Zeros::Drop);
    assert_eq!((ranks.plus(), ranks.minus()), (31.0, 5.0));
    assert_eq!(plain(&UNTIED).p, Some(0.078125));
    assert_close(ranks.normal_p(Zeros::Drop, false), 0.06870357, 5e-9);
    assert_eq!(plain(&[1.0, 2.0, 3.0, 4.0, 5.0]).p, Some(0.0625));
}

#[test]
fn smallest_p_of_so_many_differences() {
    for (n, p) in [(5, 0.0625), (6, 0.03125), (8, 0.0078125)] {
        let differences: Vec<f64> = (1..=n).map(f64::from).collect();
        assert_eq!(plain(&differences).smallest_p, p);
        // Ties change nothing about it; pairs without a difference do not count.
        assert_eq!(plain(&vec![0.1; n as usize]).smallest_p, p);
        assert_eq!(pratt(&[&[0.0; 3][..], &differences].concat()).smallest_p, p);
    }
}

// scipy.stats.wilcoxon(d, zero_method=..., method=PermutationMethod(n_resamples=10**7))   (scipy 1.17.1)
#[test]
fn few_pairs_with_ties_and_zeros_are_exact() {
    let zeros_and_signs = [0.0, 0.0, 0.0, -1.0, 2.0, 2.0, 3.0, -3.0, 4.0, 5.0, 5.0, 6.0];
    let table: [(&[f64], f64, f64); 10] = [
        (&[1.0, 1.0, 2.0, 3.0, 4.0], 0.0625, 0.0625),
        (&[0.012, 0.012, 0.015, 0.009, 0.02], 0.0625, 0.0625),
        (&[0.001, 0.001, 0.002, 0.003, 0.004], 0.0625, 0.0625),
        (&[1.0; 5], 0.0625, 0.0625),
        (&[1.0; 6], 0.03125, 0.03125),
        (&[0.0, 1.0, 2.0, 3.0, 4.0], 0.125, 0.125),
        (&[0.0, 0.0, 1.0, 1.0, 1.0], 0.25, 0.25),
        (&[0.001, 0.001, 0.002, -0.001, 0.003], 0.25, 0.25),
        (&TIED, 0.0625, 0.056640625),
        (&zeros_and_signs, 0.04296875, 0.0546875),
    ];
    for (differences, dropped, ranked) in table {
        assert_eq!((plain(differences).p, pratt(differences).p), (Some(dropped), Some(ranked)), "{differences:?}");
        let continuity = paired_test("wilcoxon_continuity").unwrap().test(differences);
        assert_eq!(continuity, plain(differences));
        assert_eq!(plain(differences).note, None);
    }
    assert_eq!((plain(&TIED).statistic, pratt(&TIED).statistic), (Some(9.0), Some(13.0)));
}

// d = [(i * 7) % 11 - 4 for i in range(26)], 24 of them not 0; the patterns were counted with Python's integers over
// (2 * scipy.stats.rankdata(abs(d))).astype(int)
#[test]
fn exact_at_24_tied_differences() {
    let d: Vec<f64> = (0..26).map(|i| f64::from((i * 7) % 11 - 4)).collect();
    assert_eq!((plain(&d).statistic, plain(&d).p), (Some(99.0), Some(0.14786338806152344)));
    assert_eq!((pratt(&d).statistic, pratt(&d).p), (Some(119.0), Some(0.16647469997406006)));
}

#[test]
fn few_differences_among_many_pairs_are_exact() {
    let d = [vec![0.0; 5000], vec![0.1, 0.2, 0.2, 0.3, 0.4]].concat();
    assert_eq!((plain(&d).p, pratt(&d).p), (Some(0.0625), Some(0.0625)));
}

// scipy.stats.wilcoxon(d, zero_method=..., correction=..., method="approx")   (scipy 1.17.1)
#[test]
fn normal_approximation_with_ties_and_zeros() {
    let table = [
        (Zeros::Drop, false, 0.05884108838448915),
        (Zeros::Drop, true, 0.0660160732835097),
        (Zeros::Pratt, false, 0.053406364489858624),
        (Zeros::Pratt, true, 0.058464382710925585),
    ];
    for (zeros, continuity, p) in table {
        assert_close(SignedRanks::of(&TIED, zeros).normal_p(zeros, continuity), p, 1e-12);
    }
}

// scipy.stats.wilcoxon([1]*15 + [0]*40 + [-1]*15, zero_method=..., method="approx")
#[test]
fn balanced_signs_are_no_difference() {
    let d = [vec![1.0; 15], vec![0.0; 40], vec![-1.0; 15]].concat();
    assert_eq!((plain(&d).p, pratt(&d).p), (Some(1.0), Some(1.0)));
    let few = [vec![1.0; 7], vec![0.0; 40], vec![-1.0; 7]].concat();
    assert_eq!((plain(&few).p, pratt(&few).p), (Some(1.0), Some(1.0)));
}

// e = numpy.sin(numpy.arange(1, 41) * 1.7) + .25; wilcoxon(e, method="approx"), wilcoxon(e[:25], method="exact")
#[test]
fn both_sides_of_the_exact_limit() {
    let wave: Vec<f64> = (1..=40).map(|i| (f64::from(i) * 1.7).sin() + 0.25).collect();
    let normal = plain(&wave);
    assert_eq!((normal.statistic, normal.smallest_p), (Some(264.0), 0.0));
    assert_close(normal.p.unwrap(), 0.04971251185196612, 1e-12);
    let exact = plain(&wave[..25]);
    assert_eq!(exact.statistic, Some(104.0));
    assert_close(exact.p.unwrap(), 0.11993378400802612, 1e-12);
}

#[test]
fn nothing_to_rank() {
    assert_eq!(plain(&[0.0, 0.0]).p, Some(1.0));
    assert_eq!(plain(&[]).p, None);
    assert_eq!(plain(&[1.0]).p, Some(1.0));
}

/// Mid-ranks of the absolute values, by comparing each with all.
fn mid_ranks(values: &[i32]) -> Vec<f64> {
    let count = |fits: &dyn Fn(i32) -> bool| values.iter().filter(|value| fits(value.abs())).count() as f64;
    let rank = |value: &i32| count(&|other| other < value.abs()) + (count(&|other| other == value.abs()) + 1.0) / 2.0;
    values.iter().map(rank).collect()
}

/// The share of all `2^n` sign patterns whose rank sum lies at least as far from the middle as the one that was found.
fn enumerated(values: &[i32], zeros: Zeros) -> f64 {
    let values: Vec<i32> = values.iter().copied().filter(|&value| zeros == Zeros::Pratt || value != 0).collect();
    let ranked: Vec<(i32, f64)> = values.iter().copied().zip(mid_ranks(&values)).filter(|pair| pair.0 != 0).collect();
    let total: f64 = ranked.iter().map(|pair| pair.1).sum();
    let found: f64 = ranked.iter().filter(|pair| pair.0 > 0).map(|pair| pair.1).sum();
    let n = ranked.len();
    let far = (0..1u32 << n).filter(|pattern| {
        let sum: f64 = (0..n).filter(|bit| pattern >> bit & 1 == 1).map(|bit| ranked[bit].1).sum();
        (sum - total / 2.0).abs() >= (found - total / 2.0).abs()
    });
    far.count() as f64 / f64::from(1u32 << n)
}

proptest! {
    #[test]
    fn exact_p_is_that_of_all_sign_patterns(values in prop::collection::vec(-6i32..=6, 1..=12)) {
        let differences: Vec<f64> = values.iter().map(|&value| f64::from(value) * 0.001).collect();
        for (zeros, result) in [(Zeros::Drop, plain(&differences)), (Zeros::Pratt, pratt(&differences))] {
            let expected = enumerated(&values, zeros);
            prop_assert!((result.p.unwrap() - expected).abs() < 1e-12, "{:?}: {:?}, not {}", zeros, result, expected);
        }
    }
}
