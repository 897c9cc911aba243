//! Reciprocal rank of the first right item.

use super::{Direction, List, Measure};

pub struct Mrr;

impl Measure for Mrr {
    fn name(&self) -> &'static str {
        "mrr"
    }

    fn title(&self) -> &'static str {
        "MRR"
    }

    fn doc(&self) -> &'static str {
        "MRR@K = 1 / (rank of the first hit), 0 without a hit in the first K."
    }

    fn direction(&self) -> Direction {
        Direction::HigherIsBetter
    }

    fn value(&self, list: &List, _k: usize) -> f64 {
        list.hits.iter().position(|&hit| hit).map_or(0.0, |position| 1.0 / (position + 1) as f64)
    }
}
