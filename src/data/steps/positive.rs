//! The positive rule: from which weight on an interaction counts as a liking (`rating >= 4`, `watch_ratio >= 2`).

use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Lack, Parts, StepRule};

/// Bounds of the weight, compared in single precision, as weights are kept; rows outside are left out. At least one
/// bound is needed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Positive {
    /// The least weight that counts.
    #[serde(default)]
    #[schemars(range(min = -1e15, max = 1e15))]
    pub min: Option<f64>,
    /// The weight must be greater than this.
    #[serde(default)]
    #[schemars(range(min = -1e15, max = 1e15))]
    pub above: Option<f64>,
}

impl StepRule for Positive {
    fn text(&self) -> String {
        let min = self.min.map(|min| format!("weight >= {min}"));
        let above = self.above.map(|above| format!("weight > {above}"));
        min.into_iter().chain(above).collect::<Vec<_>>().join(" and ")
    }

    fn mistake(&self) -> Option<String> {
        match [self.min, self.above] {
            [None, None] => Some("a bound is needed: `min` (inclusive) or `above` (exclusive)".to_owned()),
            bounds if bounds.into_iter().flatten().any(|bound| !bound.is_finite()) => {
                Some("`min` and `above` are finite numbers".to_owned())
            }
            _ => None,
        }
    }

    fn keep(&self, parts: &mut Parts) -> Result<Vec<bool>, Lack> {
        // Otherwise a written 0.7 would be below a bound of 0.7.
        let [min, above] = [self.min, self.above].map(|bound| bound.map(|bound| bound as f32));
        let weight = parts.rows.weight.as_ref().ok_or(Lack::Weights)?;
        let stays = |&weight: &f32| min.is_none_or(|min| weight >= min) && above.is_none_or(|above| weight > above);
        Ok(weight.par_iter().map(stays).collect())
    }
}
