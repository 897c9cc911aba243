//! Ranking metrics: one file each, and their list. Everything works on plain slices: what a user was shown, best
//! first, what would have been right, and how popular items are. Knows nothing of scores, tensors, files or stages.
//!
//! Notation of the formulas: `R` the user's relevant items, `l_1..l_K` the list, `hit_k = 1[l_k in R]`.

mod arp;
mod direction;
mod evaluation;
mod groups;
mod hit_rate;
mod map;
mod micro_recall;
mod mrr;
mod ndcg;
mod precision;
mod recall;
mod relevance;

use std::fmt;
use std::str::FromStr;

pub use direction::Direction;
pub use evaluation::{Evaluation, evaluate};
pub use groups::{Group, quantile_groups};
pub use relevance::Relevance;

/// A family of metrics, one for every cut-off `K`.
pub trait Measure: Sync {
    /// As pipelines write it: `ndcg`.
    fn name(&self) -> &'static str;

    /// As tables show it: `NDCG`.
    fn title(&self) -> &'static str;

    /// One sentence with the formula.
    fn doc(&self) -> &'static str;

    /// Whether larger or smaller values are better.
    fn direction(&self) -> Direction;

    /// Whether values lie between 0 and 1, so that tables may show them in percent.
    fn is_fraction(&self) -> bool {
        true
    }

    /// Whether it looks at the popularity of items.
    fn needs_popularity(&self) -> bool {
        false
    }

    /// The value for one user, from the first `k > 0` ranks of the list at most: for what is right, a shorter list counts
    /// as if misses followed.
    fn value(&self, list: &List, k: usize) -> f64;

    /// The user's weight in the mean over users.
    fn weight(&self, _list: &List) -> f64 {
        1.0
    }
}

/// What a user was shown, rank by rank, best first.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    /// Whether the item is relevant.
    pub hits: &'a [bool],
    /// How popular the item is: its users in training. As long as `hits`.
    pub popularity: &'a [u32],
    /// `|R|`, how many relevant items the user has: more than 0.
    pub relevant: usize,
}

impl List<'_> {
    /// How many relevant items are listed.
    fn found(&self) -> f64 {
        self.hits.iter().filter(|&&hit| hit).count() as f64
    }
}

/// All measures, in documentation order. A new one is a file in this folder and a line here.
pub const MEASURES: &[&dyn Measure] = &[
    &recall::Recall,
    &precision::Precision,
    &ndcg::Ndcg,
    &hit_rate::HitRate,
    &mrr::Mrr,
    &map::Map,
    &micro_recall::MicroRecall,
    &arp::Arp,
];

/// The measure called `name`.
pub fn measure(name: &str) -> Result<&'static dyn Measure, MetricError> {
    MEASURES
        .iter()
        .copied()
        .find(|measure| measure.name() == name)
        .ok_or_else(|| MetricError::Unknown { name: name.to_owned() })
}

/// A measure at a cut-off, such as `ndcg@20`.
#[derive(Clone, Copy)]
pub struct Metric {
    measure: &'static dyn Measure,
    k: usize,
}

/// The text does not name a metric.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum MetricError {
    #[error("there is no metric `{name}`; there are {}", names())]
    Unknown { name: String },
    #[error("`{text}` is not a metric: write a measure and a cut-off of at least 1, such as `ndcg@20`")]
    Form { text: String },
}

fn names() -> String {
    MEASURES.iter().map(|measure| format!("`{}`", measure.name())).collect::<Vec<_>>().join(", ")
}

impl Metric {
    /// The measure `name` at cut-off `k`.
    pub fn new(name: &str, k: usize) -> Result<Self, MetricError> {
        if k == 0 {
            return Err(MetricError::Form { text: format!("{name}@{k}") });
        }
        Ok(Self { measure: measure(name)?, k })
    }

    /// From its written form, `ndcg@20`.
    pub fn parse(text: &str) -> Result<Self, MetricError> {
        let form = || MetricError::Form { text: text.to_owned() };
        let (name, k) = text.split_once('@').ok_or_else(form)?;
        Self::new(name, k.parse().map_err(|_| form())?)
    }

    pub fn measure(&self) -> &'static dyn Measure {
        self.measure
    }

    /// The cut-off `K`.
    pub fn k(&self) -> usize {
        self.k
    }

    /// As tables show it: `NDCG@20`.
    pub fn title(&self) -> String {
        format!("{}@{}", self.measure.title(), self.k)
    }

    /// Whether larger or smaller values are better.
    pub fn direction(&self) -> Direction {
        self.measure.direction()
    }

    /// The value for one user, and its weight in the mean over users; of `list` the first `K` ranks count. Both are 0 when
    /// nothing is relevant: such users belong in no mean.
    pub fn value_and_weight(&self, list: &List) -> (f64, f64) {
        if list.relevant == 0 {
            return (0.0, 0.0);
        }
        let length = list.hits.len().min(self.k);
        let list = List { hits: &list.hits[..length], popularity: &list.popularity[..length], ..*list };
        (self.measure.value(&list, self.k), self.measure.weight(&list))
    }
}

impl FromStr for Metric {
    type Err = MetricError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.measure.name(), self.k)
    }
}

impl fmt::Debug for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl PartialEq for Metric {
    fn eq(&self, other: &Self) -> bool {
        (self.measure.name(), self.k) == (other.measure.name(), other.k)
    }
}

impl Eq for Metric {}

/// For each listed item whether it is among the `relevant` ones, which are sorted.
pub fn hits(list: &[u32], relevant: &[u32]) -> Vec<bool> {
    list.iter().map(|item| relevant.binary_search(item).is_ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn value(metric: &str, ranks: &[usize], length: usize, relevant: usize) -> f64 {
        let hits: Vec<bool> = (1..=length).map(|rank| ranks.contains(&rank)).collect();
        of(Metric::parse(metric).unwrap(), &hits, relevant)
    }

    /// Of a list of items that nobody has.
    fn of(metric: Metric, hits: &[bool], relevant: usize) -> f64 {
        metric.value_and_weight(&List { hits, popularity: &vec![0; hits.len()], relevant }).0
    }

    /// The value and the weight of a list of items of this popularity.
    fn arp(metric: &str, popularity: &[u32]) -> (f64, f64) {
        let hits = vec![false; popularity.len()];
        Metric::parse(metric).unwrap().value_and_weight(&List { hits: &hits, popularity, relevant: 1 })
    }

    fn assert_close(left: f64, right: f64, tolerance: f64) {
        assert!((left - right).abs() <= tolerance, "{left} against {right}");
    }

    #[test]
    fn names_are_unique_and_described() {
        let names: BTreeSet<_> = MEASURES.iter().map(|measure| measure.name()).collect();
        assert_eq!(names.len(), MEASURES.len());
        for measure in MEASURES {
            assert!(measure.doc().contains('='), "{} states its formula", measure.name());
            assert!(!measure.title().is_empty());
        }
    }

    #[test]
    fn two_hits_of_three_relevant_items() {
        assert_close(value("recall@5", &[1, 3], 5, 3), 2.0 / 3.0, 1e-15);
        assert_close(value("ndcg@5", &[1, 3], 5, 3), 0.70391809, 5e-9);
        assert_close(value("precision@5", &[1, 3], 5, 3), 0.4, 1e-15);
        assert_close(value("hit_rate@5", &[1, 3], 5, 3), 1.0, 0.0);
        assert_close(value("mrr@5", &[2, 3], 5, 3), 0.5, 0.0);
        assert_close(value("map@5", &[1, 3], 5, 3), (1.0 + 2.0 / 3.0) / 3.0, 1e-15);
    }

    #[test]
    fn one_relevant_item_at_the_last_rank() {
        assert_close(value("ndcg@10", &[10], 10, 1), 0.28906483, 5e-9);
        assert_close(value("ndcg@10", &[11], 20, 1), 0.0, 0.0);
    }

    #[test]
    fn a_perfect_list_is_worth_one_and_an_empty_one_nothing() {
        for measure in MEASURES.iter().filter(|measure| measure.is_fraction()) {
            let metric = Metric::new(measure.name(), 3).unwrap();
            assert_close(of(metric, &[true; 5], 3), 1.0, 1e-15);
            assert_eq!(of(metric, &[], 3), 0.0);
            assert_eq!(of(metric, &[false; 3], 3), 0.0);
            assert_eq!(metric.direction(), Direction::HigherIsBetter);
        }
    }

    #[test]
    fn popularity_is_the_mean_over_what_is_listed() {
        assert_eq!(arp("arp@3", &[10, 2, 3, 100]), (5.0, 1.0));
        assert_eq!(arp("arp@1", &[10, 2, 3, 100]), (10.0, 1.0));
        // A short list is no less popular than a long one of the same items.
        assert_eq!(arp("arp@20", &[10, 2]), (6.0, 1.0));
        assert_eq!(arp("arp@20", &[]), (0.0, 0.0));
        assert_eq!(arp("arp@2", &[u32::MAX, u32::MAX]), (f64::from(u32::MAX), 1.0));
        assert_eq!(Metric::parse("arp@3").unwrap().direction(), Direction::LowerIsBetter);
    }

    #[test]
    fn recall_is_not_capped_by_the_cutoff_but_the_ideal_is() {
        assert_close(value("recall@2", &[1, 2], 2, 4), 0.5, 0.0);
        assert_close(value("ndcg@2", &[1, 2], 2, 4), 1.0, 1e-15);
        assert_close(value("map@2", &[1, 2], 2, 4), 1.0, 0.0);
    }

    #[test]
    fn a_short_list_counts_as_if_misses_followed() {
        assert_close(value("precision@10", &[1], 2, 3), 0.1, 0.0);
    }

    #[test]
    fn texts_that_name_no_metric() {
        let message = Metric::parse("ndgc@20").unwrap_err().to_string();
        assert!(message.contains("`ndgc`") && message.contains("`ndcg`"), "{message}");
        for text in ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@x"] {
            assert!(matches!(Metric::parse(text), Err(MetricError::Form { .. })), "{text}");
        }
        assert_eq!(Metric::parse("ndcg@20").unwrap().to_string(), "ndcg@20");
    }
}
