//! Holm's step-down correction for several tests (Holm 1979): controls the chance of any false finding in a family.

/// Adjusted p-values in the order given: the `k`-th smallest of `m` is multiplied by `m - k + 1`, never smaller than
/// the one before it, never above 1.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]).then(a.cmp(&b)));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0.0f64;
    for (position, &index) in order.iter().enumerate() {
        largest = largest.max((p[index] * (p.len() - position) as f64).min(1.0));
        adjusted[index] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::super::assert_close;
    use super::*;

    #[test]
    fn vector_of_the_methods_document() {
        for (ours, expected) in holm(&[0.01, 0.04, 0.03]).into_iter().zip([0.03, 0.06, 0.06]) {
            assert_close(ours, expected, 1e-15);
        }
    }

    // statsmodels.stats.multitest.multipletests(p, method="holm")[1]   (statsmodels 0.15.0)
    #[test]
    fn vectors_of_statsmodels() {
        let table: [(&[f64], &[f64]); 3] = [
            (&[0.01, 0.011], &[0.02, 0.02]),
            (&[0.02, 0.035, 0.036, 0.04], &[0.08, 0.105, 0.105, 0.105]),
            (&[0.6, 0.7, 0.9], &[1.0, 1.0, 1.0]),
        ];
        for (p, expected) in table {
            holm(p).iter().zip(expected).for_each(|(&ours, &theirs)| assert_close(ours, theirs, 1e-15));
        }
    }

    #[test]
    fn one_test_stays_and_none_exceeds_one() {
        assert_eq!(holm(&[0.2]), [0.2]);
        assert_eq!(holm(&[0.9, 0.8, 0.6]), [1.0, 1.0, 1.0]);
        assert_eq!(holm(&[]), [] as [f64; 0]);
    }
}
