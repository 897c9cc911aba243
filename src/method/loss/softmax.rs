use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::scored::{ScoreLoss, Scored};
use super::{Loss, LossMethod, LossTraits};
use crate::method::{Method, MethodError, Mistake, Setup};

/// Sampled softmax: `mean -ln(e^(s_ui/tau) / (e^(s_ui/tau) + sum_k e^(s_uj_k/tau)))`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Softmax {
    /// The temperature `tau`.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub temperature: f64,
    /// Take `ln q_j` from the logit of each negative, drawn with probability `q_j`, which makes the sum that over all items in
    /// expectation. With one `q` for all items it changes nothing but the weight of the positive.
    pub log_q: bool,
}

impl Default for Softmax {
    fn default() -> Self {
        Self { temperature: 1.0, log_q: false }
    }
}

impl Method for Softmax {
    const NAME: &'static str = "softmax";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Sampled softmax: `mean -ln(e^(s_ui/tau) / (e^(s_ui/tau) + sum_k e^(s_uj_k/tau)))`.";
    const SOURCE: &'static str = "Bengio & Senécal, IEEE TNN 2008, for the correction by `ln q`; Wu et al., TOIS 2024, for \
                                  recommendation. With temperature 1 and no correction it is the pairwise loss over several \
                                  negatives of MixGCF, DENS and AHNS.";

    fn check(&self) -> Result<(), Mistake> {
        let holds = self.temperature.is_finite() && self.temperature > 0.0;
        Mistake::unless(holds, &["temperature"], "must be positive")
    }
}

impl LossMethod for Softmax {
    fn traits(&self) -> LossTraits {
        LossTraits { log_q: self.log_q, ..LossTraits::default() }
    }

    fn start<'a>(self, _: &Setup<'a>) -> Result<Box<dyn Loss + 'a>, MethodError> {
        Ok(Box::new(Scored(LogSumExp { inverse: 1.0 / self.temperature, log_q: self.log_q })))
    }
}

struct LogSumExp {
    inverse: f64,
    log_q: bool,
}

impl ScoreLoss for LogSumExp {
    const NAME: &'static str = "softmax";

    fn row(&self, positive: f64, negatives: &mut [f64], log_q: Option<&[f32]>) -> (f64, f64) {
        let log_q = log_q.filter(|_| self.log_q);
        let positive = positive * self.inverse;
        for (number, negative) in negatives.iter_mut().enumerate() {
            *negative = *negative * self.inverse - log_q.map_or(0.0, |log_q| f64::from(log_q[number]));
        }
        let largest = negatives.iter().fold(positive, |largest, &logit| largest.max(logit));
        let own = libm::exp(positive - largest);
        negatives.iter_mut().for_each(|logit| *logit = libm::exp(*logit - largest));
        let sum = own + negatives.iter().sum::<f64>();
        negatives.iter_mut().for_each(|power| *power *= self.inverse / sum);
        (libm::log(sum) + largest - positive, self.inverse * (own / sum - 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_scores_count_the_items() {
        for (negatives, expected) in [(2, 1.098_612_29), (3, 4f64.ln())] {
            for temperature in [0.05, 1.0, 3.0] {
                let loss = LogSumExp { inverse: 1.0 / temperature, log_q: false };
                let (value, slope) = loss.row(0.7, &mut vec![0.7; negatives], None);
                assert!((value - expected).abs() < 1e-8 && slope < 0.0);
            }
        }
    }

    /// Large logits do not overflow, and the slopes sum to nothing.
    #[test]
    fn slopes_of_large_scores() {
        let loss = LogSumExp { inverse: 1.0 / 0.01, log_q: true };
        let mut negatives = [30.0, 10.0];
        let (value, slope) = loss.row(20.0, &mut negatives, Some(&[-1.0, -2.0]));
        assert!((value - 1001.0).abs() < 1e-9, "{value}");
        assert!((slope + negatives.iter().sum::<f64>()).abs() < 1e-9 && (slope + 100.0).abs() < 1e-9);
    }

    /// With `q = 1 / n` for all of `n` items drawn once each, the sum is that over all items, `n` times.
    #[test]
    fn the_correction_adds_the_logarithm_of_the_number_of_items() {
        let loss = LogSumExp { inverse: 1.0, log_q: true };
        let n = 4.0f64;
        let (value, _) = loss.row(0.0, &mut [0.0; 4], Some(&[-n.ln() as f32; 4]));
        assert!((value - (1.0 + n * n).ln()).abs() < 1e-6);
    }
}
