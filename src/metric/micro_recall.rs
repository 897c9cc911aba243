//! Recall over all users' relevant items at once: what SELFRec prints as "Hit Ratio". Active users dominate it.

use super::{Measure, count};

pub struct MicroRecall;

impl Measure for MicroRecall {
    fn name(&self) -> &'static str {
        "micro_recall"
    }

    fn title(&self) -> &'static str {
        "Micro recall"
    }

    fn doc(&self) -> &'static str {
        "MicroRecall@K = (sum of hits over all users) / (sum of |R| over all users): the mean of Recall@K weighted by |R|."
    }

    fn value(&self, hits: &[bool], relevant: usize, _k: usize) -> f64 {
        count(hits) / relevant as f64
    }

    fn weight(&self, relevant: usize) -> f64 {
        relevant as f64
    }
}
