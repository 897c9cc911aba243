//! The choice of the epoch whose tables are used.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::metric::{Metric, MetricError};

/// Which epoch's tables are used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Select {
    /// The best on the validation part, which comes from the training distribution.
    ValidIid {
        /// A metric such as `ndcg@20`, or `all_four` (see below).
        #[serde(default = "ndcg")]
        measure: String,
        /// Evaluations without a new best after which training ends; 0 never ends early.
        #[serde(default = "patience")]
        #[schemars(range(min = 0, max = 1_000_000))]
        patience: usize,
        /// Epochs between evaluations.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 1_000_000))]
        every: usize,
    },
    /// The best on a test set: an upper bound, never a result. For comparison with code that selects so.
    TestOracle {
        /// Which part of the test set.
        #[serde(default = "ood")]
        set: String,
        /// `all_four`: an epoch is a new best only if Recall@10, NDCG@10, Recall@20 and NDCG@20, rounded to five
        /// decimals, are all at least those of the best, as in the released CNSDiff. Or a metric such as `ndcg@20`.
        #[serde(default = "all_four")]
        measure: String,
        /// Evaluations without a new best after which training ends; 0 never ends early.
        #[serde(default)]
        #[schemars(range(min = 0, max = 1_000_000))]
        patience: usize,
        /// Epochs between evaluations.
        #[serde(default = "one")]
        #[schemars(range(min = 1, max = 1_000_000))]
        every: usize,
    },
    /// The last: no evaluation during training.
    Last {},
}

fn ndcg() -> String {
    "ndcg@20".into()
}

fn all_four() -> String {
    "all_four".into()
}

fn ood() -> String {
    "ood".into()
}

fn patience() -> usize {
    20
}

fn one() -> usize {
    1
}

impl Default for Select {
    fn default() -> Self {
        Self::ValidIid { measure: ndcg(), patience: patience(), every: one() }
    }
}

impl Select {
    /// Name of the rule, measure and epochs between evaluations, where there are any.
    pub fn evaluation(&self) -> Option<(&'static str, &str, usize)> {
        match self {
            Self::ValidIid { measure, every, .. } => Some(("valid_iid", measure, *every)),
            Self::TestOracle { measure, every, .. } => Some(("test_oracle", measure, *every)),
            Self::Last {} => None,
        }
    }

    /// Evaluations without a new best after which training ends.
    pub fn patience(&self) -> Option<usize> {
        match self {
            Self::ValidIid { patience, .. } | Self::TestOracle { patience, .. } => Some(*patience).filter(|&n| n > 0),
            Self::Last {} => None,
        }
    }
}

/// The metrics of every evaluation during training; the first four decide in `all_four`.
const FOUR: [(&str, usize); 4] = [("recall", 10), ("ndcg", 10), ("recall", 20), ("ndcg", 20)];

/// What makes an epoch the best so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Criterion {
    metrics: Vec<Metric>,
    /// Position of the deciding metric; none: all four.
    decides: Option<usize>,
}

impl Criterion {
    /// From its written form: a metric, or `all_four`.
    pub fn parse(text: &str) -> Result<Self, MetricError> {
        let mut metrics = FOUR.iter().map(|(name, k)| Metric::new(name, *k)).collect::<Result<Vec<_>, _>>()?;
        if text == "all_four" {
            return Ok(Self { metrics, decides: None });
        }
        let metric = Metric::parse(text)?;
        let decides = metrics.iter().position(|known| *known == metric).unwrap_or_else(|| {
            metrics.push(metric);
            metrics.len() - 1
        });
        Ok(Self { metrics, decides: Some(decides) })
    }

    /// What to measure.
    pub fn metrics(&self) -> &[Metric] {
        &self.metrics
    }

    /// Whether `values`, in the order of [`Self::metrics`], beat `best`. On a tie the earlier epoch stays, except in
    /// `all_four`.
    pub fn better(&self, values: &[f64], best: &[f64]) -> bool {
        let rounded = |value: f64| (value * 1e5).round();
        let mut all = self.metrics.iter().map(Metric::direction).zip(values.iter().zip(best));
        match self.decides {
            Some(position) => self.metrics[position].direction().is_better(values[position], best[position]),
            None => all.all(|(direction, (&value, &best))| !direction.is_better(rounded(best), rounded(value))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_decides_strictly() {
        let criterion = Criterion::parse("map@5").unwrap();
        assert_eq!(criterion.metrics().len(), 5);
        assert!(criterion.better(&[0.0, 0.0, 0.0, 0.0, 0.2], &[1.0, 1.0, 1.0, 1.0, 0.1]));
        assert!(!criterion.better(&[1.0, 1.0, 1.0, 1.0, 0.1], &[0.0, 0.0, 0.0, 0.0, 0.1]));
        assert_eq!(Criterion::parse("ndcg@20").unwrap().metrics().len(), 4);
    }

    #[test]
    fn a_metric_whose_smaller_values_are_better_decides_by_them() {
        let criterion = Criterion::parse("arp@20").unwrap();
        let values = |arp: f64| [0.5, 0.5, 0.5, 0.5, arp];
        assert!(criterion.better(&values(3.0), &values(4.0)));
        assert!(!criterion.better(&values(4.0), &values(3.0)) && !criterion.better(&values(3.0), &values(3.0)));
    }

    #[test]
    fn all_four_must_hold_to_five_decimals() {
        let criterion = Criterion::parse("all_four").unwrap();
        let best = [0.028_51, 0.020_92, 0.046_41, 0.027_23];
        assert!(criterion.better(&[0.028_507, 0.020_92, 0.046_41, 0.027_23], &best));
        assert!(!criterion.better(&[0.9, 0.9, 0.9, 0.027_22], &best));
    }
}
