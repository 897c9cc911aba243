//! Precision: the share of the list that was right.

use super::{Measure, count};

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

    fn value(&self, hits: &[bool], _relevant: usize, k: usize) -> f64 {
        count(hits) / k as f64
    }
}
