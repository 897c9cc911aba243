use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Loss, LossMethod, LossRows, LossTraits, Need};
use crate::kernel::dot;
use crate::method::sampler::StepGradient;
use crate::method::{Method, MethodError, Mistake, Setup};

/// Softmax over the positives of the batch: `mean_a -ln(e^(s_aa/tau - ln q_a) / sum_b e^(s_ab/tau - ln q_b))`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct InBatchSoftmax {
    /// The temperature `tau`.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub temperature: f64,
    /// Take `ln q_i` from each logit, `q_i` the share of item `i` among the training pairs: frequent items come by more often.
    pub log_q: bool,
}

impl Default for InBatchSoftmax {
    fn default() -> Self {
        Self { temperature: 1.0, log_q: false }
    }
}

impl Method for InBatchSoftmax {
    const NAME: &'static str = "in_batch_softmax";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Softmax over the positives of the batch, which serve each other as negatives.";
    const SOURCE: &'static str = "Yi et al., Sampling-bias-corrected neural modeling, RecSys 2019. Rows whose positive is the row's own \
                                  item, and other positives of the same user in the batch, are left out as negatives [our \
                                  decision].";

    fn check(&self) -> Result<(), Mistake> {
        let holds = self.temperature.is_finite() && self.temperature > 0.0;
        Mistake::unless(holds, &["temperature"], "must be positive")
    }
}

impl LossMethod for InBatchSoftmax {
    fn traits(&self) -> LossTraits {
        LossTraits { negatives: Need::Forbidden, pairs_of_rows: true, ..LossTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Loss + 'a>, MethodError> {
        let pairs = setup.data.graph.n_edges() as f64;
        let log_q = |&count: &u32| libm::log(f64::from(count.max(1)) / pairs);
        let log_q = self.log_q.then(|| setup.data.popularity().iter().map(log_q).collect());
        Ok(Box::new(InBatch { inverse: 1.0 / self.temperature, log_q }))
    }
}

/// The loss at work.
struct InBatch {
    inverse: f64,
    /// Of each item.
    log_q: Option<Vec<f64>>,
}

impl Loss for InBatch {
    fn evaluate(
        &mut self,
        rows: &LossRows,
        gradient: &mut StepGradient,
    ) -> Result<Vec<(&'static str, f64)>, MethodError> {
        super::scored::resize(gradient, rows);
        let (count, width, weight) = (rows.len(), rows.width, 1.0 / rows.len().max(1) as f64);
        // Slopes of the loss in the scores [rows, rows], and with them the gradient of the queries.
        let mut slopes = vec![0.0f32; count * count];
        let by_query = slopes.par_chunks_mut(count.max(1)).zip(gradient.queries.par_chunks_mut(width));
        let losses: Vec<f64> = by_query
            .enumerate()
            .map(|(row, (slopes, to_query))| {
                let query = rows.queries.row(row);
                let logits: Vec<f64> = (0..count)
                    .map(|other| {
                        let apart = rows.items[other] != rows.items[row] && rows.users[other] != rows.users[row];
                        if !apart && other != row {
                            return f64::NEG_INFINITY;
                        }
                        let score = f64::from(dot(query, rows.positives.row(other)));
                        score * self.inverse - self.log_q.as_ref().map_or(0.0, |q| q[rows.items[other] as usize])
                    })
                    .collect();
                let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let powers: Vec<f64> = logits.iter().map(|logit| libm::exp(logit - largest)).collect();
                let sum: f64 = powers.iter().sum();
                to_query.fill(0.0);
                for (other, (slope, power)) in slopes.iter_mut().zip(&powers).enumerate() {
                    let own = if other == row { 1.0 } else { 0.0 };
                    *slope = (weight * self.inverse * (power / sum - own)) as f32;
                    let values = to_query.iter_mut().zip(rows.positives.row(other));
                    values.for_each(|(sum, value)| *sum = slope.mul_add(*value, *sum));
                }
                libm::log(sum) + largest - logits[row]
            })
            .collect();
        gradient.positives.par_chunks_mut(width).enumerate().for_each(|(item, to_positive)| {
            to_positive.fill(0.0);
            for row in 0..count {
                let slope = slopes[row * count + item];
                let values = to_positive.iter_mut().zip(rows.queries.row(row));
                values.for_each(|(sum, value)| *sum = slope.mul_add(*value, *sum));
            }
        });
        Ok(vec![("in_batch_softmax", losses.iter().sum::<f64>() * weight)])
    }
}
