//! Hit rate: whether anything right was listed at all. Not SELFRec's "Hit Ratio", which is `micro_recall`.

use super::{Direction, List, Measure};

pub struct HitRate;

impl Measure for HitRate {
    fn name(&self) -> &'static str {
        "hit_rate"
    }

    fn title(&self) -> &'static str {
        "HR"
    }

    fn doc(&self) -> &'static str {
        "HR@K = 1[sum_{k<=K} hit_k > 0], per user."
    }

    fn direction(&self) -> Direction {
        Direction::HigherIsBetter
    }

    fn value(&self, list: &List, _k: usize) -> f64 {
        f64::from(u8::from(list.hits.contains(&true)))
    }
}
