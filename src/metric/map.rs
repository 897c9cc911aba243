//! Average precision. Definitions differ in the denominator; here it is the best that a list of `K` can reach, so
//! that a perfect list is worth 1 for every user. RecBole does the same; ranx and pytrec_eval divide by `|R|`, which gives
//! less where `|R| > K`.

use super::{Direction, List, Measure};

pub struct Map;

impl Measure for Map {
    fn name(&self) -> &'static str {
        "map"
    }

    fn title(&self) -> &'static str {
        "MAP"
    }

    fn doc(&self) -> &'static str {
        "MAP@K = sum_{k<=K} hit_k * Precision@k / min(|R|, K), per user; the mean over users is the MAP."
    }

    fn direction(&self) -> Direction {
        Direction::HigherIsBetter
    }

    fn value(&self, list: &List, k: usize) -> f64 {
        let mut found = 0.0;
        let mut sum = 0.0;
        for (position, _) in list.hits.iter().enumerate().filter(|(_, hit)| **hit) {
            found += 1.0;
            sum += found / (position + 1) as f64;
        }
        sum / list.relevant.min(k) as f64
    }
}
