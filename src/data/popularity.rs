//! Statistics of popularity: how unequally interactions fall on items, and how far two distributions of them lie apart.
//! Everything is computed from counts, one per item.

/// How often each of `n_items` ids occurs.
pub fn counts(items: impl IntoIterator<Item = u32>, n_items: usize) -> Vec<u32> {
    let mut counts = vec![0; n_items];
    items.into_iter().for_each(|item| counts[item as usize] += 1);
    counts
}

fn total(counts: &[u32]) -> u64 {
    counts.iter().map(|&count| u64::from(count)).sum()
}

/// The Gini coefficient, from 0 (all items alike) to below 1: `2 sum k c_(k) / (n sum c) - (n + 1) / n` with ascending
/// counts. None without interactions.
pub fn gini(counts: &[u32]) -> Option<f64> {
    let (n, total) = (counts.len() as f64, total(counts) as f64);
    let mut sorted = counts.to_vec();
    sorted.sort_unstable();
    let weighted: f64 = sorted.iter().zip(1u64..).map(|(&count, k)| k as f64 * f64::from(count)).sum();
    (total > 0.0).then(|| 2.0 * weighted / (n * total) - (n + 1.0) / n)
}

/// The Gini coefficient over the items that occur.
pub fn gini_of_present(counts: &[u32]) -> Option<f64> {
    let present: Vec<u32> = counts.iter().copied().filter(|&count| count > 0).collect();
    gini(&present)
}

/// The `ceil(share n)` items with the highest counts, of equal counts the lower ids.
pub fn top(counts: &[u32], share: f64) -> Vec<u32> {
    let mut items: Vec<u32> = (0..counts.len() as u32).collect();
    items.sort_by_key(|&item| std::cmp::Reverse(counts[item as usize]));
    items.truncate((counts.len() as f64 * share - 1e-9).ceil() as usize);
    items
}

/// The share of all interactions that falls on `items`. None without interactions.
pub fn share_on(counts: &[u32], items: &[u32]) -> Option<f64> {
    let on: u64 = items.iter().map(|&item| u64::from(counts[item as usize])).sum();
    let total = total(counts);
    (total > 0).then(|| on as f64 / total as f64)
}

/// How popular the item of an interaction is elsewhere, on average: the mean of `other` weighted by `counts`. None without
/// interactions.
pub fn mean_count_elsewhere(counts: &[u32], other: &[u32]) -> Option<f64> {
    let sum: f64 = counts.iter().zip(other).map(|(&own, &other)| f64::from(own) * f64::from(other)).sum();
    let total = total(counts);
    (total > 0).then(|| sum / total as f64)
}

/// The Jensen-Shannon divergence of two distributions over the same items, in bits, from 0 to 1. Counts are smoothed by
/// adding 1.
pub fn jensen_shannon(a: &[u32], b: &[u32]) -> f64 {
    let (total_a, total_b) = ((total(a) + a.len() as u64) as f64, (total(b) + b.len() as u64) as f64);
    let terms = a.iter().zip(b).map(|(&a, &b)| {
        let (p, q) = ((f64::from(a) + 1.0) / total_a, (f64::from(b) + 1.0) / total_b);
        let middle = (p + q) / 2.0;
        (p * (p / middle).log2() + q * (q / middle).log2()) / 2.0
    });
    terms.sum::<f64>().max(0.0)
}

/// Pearson's correlation of `log(1 + count)` over the items. None where one side is constant.
pub fn correlation_of_logs(a: &[u32], b: &[u32]) -> Option<f64> {
    let n = a.len() as f64;
    let log = |&count: &u32| f64::from(count).ln_1p();
    let mean = |counts: &[u32]| counts.iter().map(log).sum::<f64>() / n;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let (mut covariance, mut variance_a, mut variance_b) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (log(a) - mean_a, log(b) - mean_b);
        covariance += a * b;
        variance_a += a * a;
        variance_b += b * b;
    }
    let constant = |counts: &[u32]| counts.windows(2).all(|pair| pair[0] == pair[1]);
    (!constant(a) && !constant(b)).then(|| covariance / (variance_a * variance_b).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gini_of_known_counts() {
        assert_eq!([gini(&[3, 3, 3]), gini(&[0, 4, 0, 0]), gini(&[4, 2, 1, 3])], [Some(0.0), Some(0.75), Some(0.25)]);
        assert_eq!([gini_of_present(&[0, 4, 0, 0]), gini(&[0, 0]), gini(&[])], [Some(0.0), None, None]);
    }

    #[test]
    fn the_most_popular_and_their_share() {
        let counts = [1, 5, 2, 5, 0, 0, 0, 0, 0, 7];
        assert_eq!((top(&counts, 0.2), top(&counts, 0.1)), (vec![9, 1], vec![9]));
        assert_eq!((share_on(&counts, &[9, 1]), share_on(&[0], &[0])), (Some(0.6), None));
        assert_eq!(mean_count_elsewhere(&[1, 3], &[2, 6]), Some(5.0));
    }

    #[test]
    fn the_divergence_is_none_for_equal_and_bounded_for_disjoint_distributions() {
        assert_eq!(jensen_shannon(&[1, 2, 3], &[1, 2, 3]), 0.0);
        let apart = jensen_shannon(&[1_000_000, 0], &[0, 1_000_000]);
        assert!((0.999..1.0).contains(&apart), "{apart}");
        // By hand: p = (3/4, 1/4), q = (1/4, 3/4); 1 - H(1/4).
        assert!((jensen_shannon(&[2, 0], &[0, 2]) - 0.188_721_875_540_867_1).abs() < 1e-12);
    }

    #[test]
    fn logs_of_counts_correlate() {
        assert!((correlation_of_logs(&[1, 2, 3], &[1, 2, 3]).unwrap() - 1.0).abs() < 1e-12);
        assert!((correlation_of_logs(&[0, 3], &[3, 0]).unwrap() + 1.0).abs() < 1e-12);
        assert_eq!(correlation_of_logs(&[2, 2], &[0, 3]), None);
    }
}
