//! Losses of the scores of a row: one inner product with the positive, some with negatives.

use rayon::prelude::*;

use super::{Loss, LossRows};
use crate::kernel::{add_scaled, dot};
use crate::method::MethodError;
use crate::method::sampler::StepGradient;

/// Rows per parallel task: fixed, since losses are summed task by task.
pub const BLOCK: usize = 256;

/// A loss that is a mean over rows of a function of their scores.
pub trait ScoreLoss: Send + Sync {
    const NAME: &'static str;

    /// The loss of a row with these scores, its slope in the score of the positive, and in those of the negatives, which take
    /// the place of the scores.
    fn row(&self, positive: f64, negatives: &mut [f64], log_q: Option<&[f32]>) -> (f64, f64);
}

/// `-ln sigma(margin)` and its slope, in the form that neither overflows nor loses the slope.
#[inline(always)]
pub fn minus_log_sigmoid(margin: f64) -> (f64, f64) {
    let small = libm::exp(-margin.abs());
    let slope = if margin > 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) };
    ((-margin).max(0.0) + libm::log1p(small), -slope)
}

/// Makes room for the gradient of these rows.
pub fn resize(gradient: &mut StepGradient, rows: &LossRows) {
    let count = rows.len() * rows.width;
    gradient.queries.resize(count, 0.0);
    gradient.positives.resize(count, 0.0);
    gradient.negatives.resize(count * rows.per_row, 0.0);
}

/// Makes a loss of a function of scores.
pub struct Scored<L>(pub L);

impl<L: ScoreLoss> Loss for Scored<L> {
    fn evaluate(
        &mut self,
        rows: &LossRows,
        gradient: &mut StepGradient,
    ) -> Result<Vec<(&'static str, f64)>, MethodError> {
        resize(gradient, rows);
        let (width, per_row, weight) = (rows.width, rows.per_row, 1.0 / rows.len().max(1) as f64);
        let StepGradient { queries, positives, negatives } = gradient;
        let blocks = queries
            .par_chunks_mut(BLOCK * width)
            .zip(positives.par_chunks_mut(BLOCK * width))
            .zip(negatives.par_chunks_mut(BLOCK * width * per_row));
        let losses: Vec<f64> = blocks
            .enumerate()
            .map(|(block, ((queries, positives), negatives))| {
                let gradients = queries.chunks_exact_mut(width).zip(positives.chunks_exact_mut(width));
                let gradients = gradients.zip(negatives.chunks_exact_mut(width * per_row));
                let mut scores = vec![0.0; per_row];
                let losses = (block * BLOCK..).zip(gradients).map(|(row, ((to_query, to_positive), to_negatives))| {
                    let (query, positive) = (rows.queries.row(row), rows.positives.row(row));
                    let negative = |number: usize| rows.negatives.row(row * per_row + number);
                    let score = f64::from(dot(query, positive));
                    scores.iter_mut().enumerate().for_each(|(number, score)| {
                        *score = f64::from(dot(query, negative(number)));
                    });
                    let log_q = rows.log_q.map(|log_q| &log_q[row * per_row..][..per_row]);
                    let (loss, slope) = self.0.row(score, &mut scores, log_q);
                    let slope = (weight * slope) as f32;
                    for ((to_query, to_positive), (query, positive)) in
                        to_query.iter_mut().zip(to_positive).zip(query.iter().zip(positive))
                    {
                        *to_query = slope * positive;
                        *to_positive = slope * query;
                    }
                    for (number, to_negative) in to_negatives.chunks_exact_mut(width).enumerate() {
                        let slope = (weight * scores[number]) as f32;
                        to_negative.iter_mut().zip(query).for_each(|(value, query)| *value = slope * query);
                        add_scaled(to_query, negative(number), slope);
                    }
                    loss
                });
                losses.sum()
            })
            .collect();
        Ok(vec![(L::NAME, losses.iter().sum::<f64>() * weight)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_at_known_margins() {
        for (margin, expected) in
            [(0.0, std::f64::consts::LN_2), (1.0, 0.313_261_69), (-1.0, 1.313_261_69), (-200.0, 200.0), (800.0, 0.0)]
        {
            let (loss, slope) = minus_log_sigmoid(margin);
            assert!((loss - expected).abs() < 1e-8 * expected.max(1.0), "{loss} at {margin}");
            assert!((slope + 1.0 / (1.0 + margin.exp())).abs() < 1e-15, "{slope} at {margin}");
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        let (loss, slope) = minus_log_sigmoid(f64::NAN);
        assert!(loss.is_nan() && slope.is_nan());
    }
}
