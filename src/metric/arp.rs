//! Average recommendation popularity: how popular in training what is recommended was. Yin et al., Challenging the Long
//! Tail Recommendation, PVLDB 5(9), 2012; the name and the mean over users are those of Abdollahpouri et al., Managing
//! Popularity Bias in Recommender Systems with Personalized Re-ranking, FLAIRS 2019. The denominator is the length of
//! the list, as there, so that a short one is not less popular for being short.

use super::{Direction, List, Measure};

pub struct Arp;

impl Measure for Arp {
    fn name(&self) -> &'static str {
        "arp"
    }

    fn title(&self) -> &'static str {
        "ARP"
    }

    fn doc(&self) -> &'static str {
        "ARP@K = sum_{k<=K} popularity(l_k) / (number of items listed, at most K), where popularity is the number of \
         training users of an item; users without a list are in no mean."
    }

    fn direction(&self) -> Direction {
        Direction::LowerIsBetter
    }

    fn is_fraction(&self) -> bool {
        false
    }

    fn needs_popularity(&self) -> bool {
        true
    }

    fn value(&self, list: &List, _k: usize) -> f64 {
        let sum: u64 = list.popularity.iter().map(|&users| u64::from(users)).sum();
        if list.popularity.is_empty() { 0.0 } else { sum as f64 / list.popularity.len() as f64 }
    }

    fn weight(&self, list: &List) -> f64 {
        if list.popularity.is_empty() { 0.0 } else { 1.0 }
    }
}
