//! Bootstrap percentile intervals of means.

use rand::Rng;
use rayon::prelude::*;

use super::Moments;
use crate::rng;

/// An interval of a mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MeanInterval {
    pub low: f64,
    pub high: f64,
}

/// The `level` percentile interval of the mean of every column, from `resamples` draws of as many observations as there
/// are, with replacement. One draw serves all columns (they are measures of the same observations), so that their
/// intervals are comparable.
///
/// `columns[c][n]` is the measure `c` of observation `n`; all of one length. Draw number `b` uses its own random
/// stream: the same bits for any number of threads. None without observations or draws.
pub fn bootstrap_means(columns: &[Vec<f64>], resamples: usize, level: f64, seed: u64) -> Option<Vec<MeanInterval>> {
    let n = columns.iter().map(Vec::len).min().unwrap_or(0);
    if n == 0 || resamples == 0 || u32::try_from(n).is_err() {
        return None;
    }
    // Observation by observation, so that one draw reads neighbouring numbers.
    let rows: Vec<f64> = (0..n).flat_map(|row| columns.iter().map(move |column| column[row])).collect();
    let width = columns.len();
    let means: Vec<Vec<f64>> = (0..resamples as u64)
        .into_par_iter()
        .map(|draw| {
            let mut random = rng::stream(seed, "bootstrap", draw);
            let mut sums = vec![0.0; width];
            for _ in 0..n {
                // Scaling 32 random bits favours no row by more than n / 2^32.
                let row = ((u64::from(random.next_u32()) * n as u64) >> 32) as usize;
                for (sum, value) in sums.iter_mut().zip(&rows[row * width..(row + 1) * width]) {
                    *sum += value;
                }
            }
            sums.iter().map(|sum| sum / n as f64).collect()
        })
        .collect();
    let tail = (1.0 - level) / 2.0;
    let interval = |column: usize| {
        // The mean of equal values is that value in every draw; sums of it would round.
        if let Moments { mean, sd: Some(0.0), .. } = Moments::of(&columns[column][..n]) {
            return MeanInterval { low: mean, high: mean };
        }
        let mut sorted: Vec<f64> = means.iter().map(|draw| draw[column]).collect();
        sorted.sort_by(f64::total_cmp);
        MeanInterval { low: quantile(&sorted, tail), high: quantile(&sorted, 1.0 - tail) }
    };
    Some((0..width).into_par_iter().map(interval).collect())
}

/// Quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let position = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + share * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::super::{assert_close, t_interval};
    use super::*;

    fn wave(n: u32) -> Vec<f64> {
        (1..=n).map(|i| (f64::from(i) * 1.7).sin() + 0.25).collect()
    }

    #[test]
    fn agrees_with_the_t_interval_on_many_observations() {
        let sample = wave(2_000);
        let (low, high) = t_interval(&sample, 0.95).unwrap();
        let ours = bootstrap_means(&[sample], 10_000, 0.95, 1).unwrap()[0];
        // The spread of a percentile of 10,000 draws is about 0.02 standard errors; the half width is 1.96 of them.
        let tolerance = 0.05 * (high - low) / 2.0;
        assert_close(ours.low, low, tolerance);
        assert_close(ours.high, high, tolerance);
    }

    #[test]
    fn the_same_for_any_number_of_threads() {
        let columns = [wave(300), wave(300).iter().map(|value| value * 2.0).collect()];
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| bootstrap_means(&columns, 200, 0.95, 7).unwrap())
        };
        let one = with(1);
        assert_eq!(one, with(3));
        assert_close(one[1].low, 2.0 * one[0].low, 1e-15);
        assert_ne!(one, bootstrap_means(&columns, 200, 0.95, 8).unwrap());
    }

    #[test]
    fn nothing_to_draw() {
        assert_eq!(bootstrap_means(&[vec![]], 10, 0.95, 1), None);
        assert_eq!(bootstrap_means(&[], 10, 0.95, 1), None);
        assert_eq!(bootstrap_means(&[vec![1.5; 3]], 10, 0.95, 1), Some(vec![MeanInterval { low: 1.5, high: 1.5 }]));
    }

    #[test]
    fn quantiles_between_neighbours() {
        assert_eq!(quantile(&[0.0, 1.0, 2.0, 3.0], 0.5), 1.5);
        assert_eq!(quantile(&[4.0], 0.975), 4.0);
    }
}
