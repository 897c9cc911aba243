use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scored::{ScoreLoss, Scored, minus_log_sigmoid};
use super::{Loss, LossMethod, LossRows, LossTraits};
use crate::method::backend::fast::bpr;
use crate::method::sampler::StepGradient;
use crate::method::{Method, MethodError, Setup};

/// Bayesian personalised ranking: `mean -ln sigma(s_ui - s_uj)`, over all negatives of all rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bpr {}

impl Method for Bpr {
    const NAME: &'static str = "bpr";
    const VERSION: u32 = 1;
    const DOC: &'static str = "`mean -ln sigma(s_ui - s_uj)`, over all negatives of all rows.";
    const SOURCE: &'static str =
        "Rendle et al., BPR, UAI 2009, without the constant that SELFRec adds within the logarithm.";
}

impl LossMethod for Bpr {
    fn traits(&self) -> LossTraits {
        LossTraits::default()
    }

    fn start<'a>(self, _: &Setup<'a>) -> Result<Box<dyn Loss + 'a>, MethodError> {
        Ok(Box::new(Pairwise(Scored(Margins))))
    }
}

/// One negative per row goes through the kernel, several through their scores.
struct Pairwise(Scored<Margins>);

impl Loss for Pairwise {
    fn evaluate(
        &mut self,
        rows: &LossRows,
        gradient: &mut StepGradient,
    ) -> Result<Vec<(&'static str, f64)>, MethodError> {
        if rows.per_row == 1 {
            return Ok(vec![(Margins::NAME, bpr::evaluate(rows, gradient))]);
        }
        self.0.evaluate(rows, gradient)
    }
}

/// As a function of scores.
struct Margins;

impl ScoreLoss for Margins {
    const NAME: &'static str = "bpr";

    fn row(&self, positive: f64, negatives: &mut [f64], _: Option<&[f32]>) -> (f64, f64) {
        let share = 1.0 / negatives.len().max(1) as f64;
        let (mut total, mut slopes) = (0.0, 0.0);
        for negative in negatives {
            let (loss, slope) = minus_log_sigmoid(positive - *negative);
            total += share * loss;
            slopes += share * slope;
            *negative = -share * slope;
        }
        (total, slopes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_over_the_negatives() {
        let mut negatives = [0.0, -1.0, 1.0];
        let (loss, slope) = Margins.row(0.0, &mut negatives, None);
        assert!((loss - (std::f64::consts::LN_2 + 0.313_261_69 + 1.313_261_69) / 3.0).abs() < 1e-8);
        assert!((slope + negatives.iter().sum::<f64>()).abs() < 1e-15);
    }
}
