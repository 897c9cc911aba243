//! Precision: the share of the list that was right.

use super::{Direction, List, Measure};

pub struct Precision;

impl Measure for Precision {
    fn name(&self) -> &'static str {
        "precision"
    }

    fn title(&self) -> &'static str {
        "Precision"
    }

    fn doc(&self) -> &'static str {
        "Precision@K = sum_{k<=K} hit_k / K."
    }

    fn direction(&self) -> Direction {
        Direction::HigherIsBetter
    }

    fn value(&self, list: &List, k: usize) -> f64 {
        list.found() / k as f64
    }
}
