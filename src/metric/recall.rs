//! Recall: the share of the relevant items that were found. The denominator is not capped by the cut-off.

use super::{Direction, List, Measure};

pub struct Recall;

impl Measure for Recall {
    fn name(&self) -> &'static str {
        "recall"
    }

    fn title(&self) -> &'static str {
        "Recall"
    }

    fn doc(&self) -> &'static str {
        "Recall@K = sum_{k<=K} hit_k / |R|; the denominator is not capped by K."
    }

    fn direction(&self) -> Direction {
        Direction::HigherIsBetter
    }

    fn value(&self, list: &List, _k: usize) -> f64 {
        list.found() / list.relevant as f64
    }
}
