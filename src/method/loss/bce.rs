use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scored::{ScoreLoss, Scored, minus_log_sigmoid};
use super::{Loss, LossMethod, LossTraits};
use crate::method::{Method, MethodError, Setup};

/// Binary cross-entropy: `mean(-ln sigma(s_ui) - (1/K) sum_k ln sigma(-s_uj_k))`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bce {}

impl Method for Bce {
    const NAME: &'static str = "bce";
    const VERSION: u32 = 1;
    const DOC: &'static str = "`mean(-ln sigma(s_ui) - (1/K) sum_k ln sigma(-s_uj_k))`.";
    const SOURCE: &'static str = "As in the code of SASRec (K = 1) and of RealHNS (K = 20).";
}

impl LossMethod for Bce {
    fn traits(&self) -> LossTraits {
        LossTraits::default()
    }

    fn start<'a>(self, _: &Setup<'a>) -> Result<Box<dyn Loss + 'a>, MethodError> {
        Ok(Box::new(Scored(CrossEntropy)))
    }
}

struct CrossEntropy;

impl ScoreLoss for CrossEntropy {
    const NAME: &'static str = "bce";

    fn row(&self, positive: f64, negatives: &mut [f64], _: Option<&[f32]>) -> (f64, f64) {
        let share = 1.0 / negatives.len().max(1) as f64;
        let (mut total, slope) = minus_log_sigmoid(positive);
        for negative in negatives {
            let (loss, slope) = minus_log_sigmoid(-*negative);
            total += share * loss;
            *negative = -share * slope;
        }
        (total, slope)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_logarithms_of_two_at_scores_of_zero() {
        for count in [1, 20] {
            let mut negatives = vec![0.0; count];
            let (loss, slope) = CrossEntropy.row(0.0, &mut negatives, None);
            assert!((loss - 1.386_294_361).abs() < 1e-9 && slope == -0.5);
            assert!(negatives.iter().all(|&slope| (slope - 0.5 / count as f64).abs() < 1e-15));
        }
    }
}
