//! What the tests of samplers are made of.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::data::{Graph, Interactions};
use crate::method::{Setup, TrainingData};

/// The training data of these pairs.
pub fn graph(users: usize, items: usize, pairs: &[(u32, u32)]) -> TrainingData {
    let interactions = Interactions {
        user: pairs.iter().map(|pair| pair.0).collect(),
        item: pairs.iter().map(|pair| pair.1).collect(),
        ..Interactions::default()
    };
    TrainingData::over(Graph::with_size(users, items, &interactions), interactions)
}

/// Of a backbone of one hop and width 2, with one negative per positive.
pub fn setup(data: &TrainingData) -> Setup<'_> {
    Setup::new(data, 1, 2)
}

/// How probable it is that frequencies lie this far from these weights, or farther, if they follow them. What has no weight
/// must not occur.
pub fn chi_square(found: &[usize], weights: &[f64]) -> f64 {
    let (drawn, total) = (found.iter().sum::<usize>() as f64, weights.iter().sum::<f64>());
    let (mut statistic, mut kinds) = (0.0, 0);
    for (&found, &weight) in found.iter().zip(weights) {
        let expected = drawn * weight / total;
        if weight > 0.0 {
            statistic += (found as f64 - expected).powi(2) / expected;
            kinds += 1;
        } else if found > 0 {
            return 0.0;
        }
    }
    ChiSquared::new(f64::from(kinds - 1)).map_or(f64::NAN, |law| 1.0 - law.cdf(statistic))
}
