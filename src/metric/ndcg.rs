//! Normalised discounted cumulative gain with binary gains. The ideal list holds `min(|R|, K)` relevant items; an
//! ideal made of the retrieved hits alone, as some public code has it, would inflate the value.

use super::{Direction, List, Measure};

pub struct Ndcg;

impl Measure for Ndcg {
    fn name(&self) -> &'static str {
        "ndcg"
    }

    fn title(&self) -> &'static str {
        "NDCG"
    }

    fn doc(&self) -> &'static str {
        "NDCG@K = sum_{k<=K} hit_k / log2(k+1), divided by sum_{k<=min(|R|,K)} 1 / log2(k+1)."
    }

    fn direction(&self) -> Direction {
        Direction::HigherIsBetter
    }

    fn value(&self, list: &List, k: usize) -> f64 {
        let gained: f64 =
            list.hits.iter().enumerate().filter(|(_, hit)| **hit).map(|(position, _)| discount(position)).sum();
        gained / ideal(list.relevant.min(k))
    }
}

/// The gain of a hit after `position` other items.
fn discount(position: usize) -> f64 {
    1.0 / libm::log2((position + 2) as f64)
}

fn ideal(length: usize) -> f64 {
    (0..length).map(discount).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ideal_gains() {
        assert!((ideal(10) - 4.54355934).abs() < 5e-9);
        assert!((ideal(20) - 7.04026838).abs() < 5e-9);
    }
}
