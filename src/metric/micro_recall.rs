//! Recall over all users' relevant items at once: what SELFRec prints as "Hit Ratio". Active users dominate it.

use super::{Direction, List, Measure};

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

    fn direction(&self) -> Direction {
        Direction::HigherIsBetter
    }

    fn value(&self, list: &List, _k: usize) -> f64 {
        list.found() / list.relevant as f64
    }

    fn weight(&self, list: &List) -> f64 {
        list.relevant as f64
    }
}
