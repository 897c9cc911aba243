use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Loss, LossMethod, LossRows, LossTraits, Need};
use crate::kernel::{LANES, Lanes, Packed, math, tile, untile};
use crate::method::rows::Gathered;
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
        LossTraits { negatives: Need::Forbidden, ..LossTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Loss + 'a>, MethodError> {
        let pairs = setup.data.graph.n_edges() as f64;
        let log_q = |&count: &u32| libm::log(f64::from(count.max(1)) / pairs) as f32;
        let log_q = self.log_q.then(|| setup.data.popularity().iter().map(log_q).collect());
        Ok(Box::new(InBatch { inverse: 1.0 / self.temperature, log_q }))
    }
}

/// The loss at work, tile by tile: no matrix of all scores is made. First with the queries side by side, which gives their
/// gradients and the sums that their powers are divided by, then with the positives side by side.
struct InBatch {
    inverse: f64,
    /// Of each item.
    log_q: Option<Vec<f32>>,
}

impl Loss for InBatch {
    fn evaluate(
        &mut self,
        rows: &LossRows,
        gradient: &mut StepGradient,
    ) -> Result<Vec<(&'static str, f64)>, MethodError> {
        super::resize(gradient, rows);
        let (count, width) = (rows.len(), rows.width);
        let (inverse, mean) = (self.inverse as f32, 1.0 / count.max(1) as f64);
        let [queries, positives] = [rows.queries, rows.positives].map(Side::new);
        let log_q = |&item: &u32| self.log_q.as_ref().map_or(0.0, |log_q| log_q[item as usize]);
        let log_q: Vec<f32> = rows.items.iter().map(log_q).collect();
        let StepGradient { queries: to_queries, positives: to_positives, .. } = gradient;

        // Of each row the logarithm of the sum of its powers.
        let mut log_sums = vec![0.0f32; count];
        let tiles = to_queries.par_chunks_mut(LANES * width).zip(log_sums.par_chunks_mut(LANES)).enumerate();
        let losses: Vec<f64> = tiles
            .map(|(number, (to_queries, log_sums))| {
                let first = number * LANES;
                let mut powers: Vec<Lanes> = log_q.iter().map(|log_q| [-log_q; LANES]).collect();
                positives.add_scores(&queries, first, inverse, &mut powers);
                leave_out(rows, first, &mut powers);
                let own: Vec<f32> = (0..log_sums.len()).map(|lane| powers[first + lane][lane]).collect();
                let mut largest = [f32::NEG_INFINITY; LANES];
                for logits in &powers {
                    largest.iter_mut().zip(logits).for_each(|(largest, logit)| *largest = largest.max(*logit));
                }
                for logits in &mut powers {
                    logits.iter_mut().zip(&largest).for_each(|(logit, largest)| *logit -= largest);
                }
                math::exp_all(&mut powers);
                let mut sums = [0.0f64; LANES];
                for powers in &powers {
                    sums.iter_mut().zip(powers).for_each(|(sum, power)| *sum += f64::from(*power));
                }
                let mut loss = 0.0;
                for (lane, log_sum) in log_sums.iter_mut().enumerate() {
                    let exact = libm::log(sums[lane]) + f64::from(largest[lane]);
                    loss += exact - f64::from(own[lane]);
                    *log_sum = exact as f32;
                }
                let shares = sums.map(|sum| (mean * self.inverse / sum) as f32);
                positives.pull(&powers, &shares, (mean * self.inverse) as f32, first, to_queries);
                loss
            })
            .collect();

        let tiles = to_positives.par_chunks_mut(LANES * width).enumerate();
        tiles.for_each(|(number, to_positives)| {
            let first = number * LANES;
            let mut of_lanes = [0.0; LANES];
            of_lanes.iter_mut().zip(&log_q[first..]).for_each(|(lane, log_q)| *lane = *log_q);
            let mut powers: Vec<Lanes> =
                log_sums.iter().map(|log_sum| of_lanes.map(|log_q| -log_q - log_sum)).collect();
            queries.add_scores(&positives, first, inverse, &mut powers);
            leave_out(rows, first, &mut powers);
            math::exp_all(&mut powers);
            let share = (mean * self.inverse) as f32;
            queries.pull(&powers, &[share; LANES], share, first, to_positives);
        });
        Ok(vec![("in_batch_softmax", losses.iter().sum::<f64>() * mean)])
    }
}

/// The queries or the positives of a batch.
struct Side {
    width: usize,
    /// Row-major.
    rows: Vec<f32>,
    /// `[rows, width]` and `[width, rows]`.
    by_row: Packed,
    by_column: Packed,
}

impl Side {
    fn new(gathered: Gathered) -> Self {
        let (count, width, rows) = (gathered.len(), gathered.width, gathered.to_vec());
        let by_row = Packed::new(count, width, |row, column| rows[row * width + column]);
        let by_column = Packed::new(width, count, |column, row| rows[row * width + column]);
        Self { width, rows, by_row, by_column }
    }

    /// The rows from `first` on, up to [`LANES`].
    fn from(&self, first: usize) -> &[f32] {
        let rows = &self.rows[first * self.width..];
        &rows[..rows.len().min(LANES * self.width)]
    }

    /// Adds `factor` times the inner products of all rows with those of `other` from `first` on, side by side.
    fn add_scores(&self, other: &Self, first: usize, factor: f32, scores: &mut [Lanes]) {
        let mut lanes = tile(other.from(first), self.width);
        lanes.as_flattened_mut().iter_mut().for_each(|value| *value *= factor);
        self.by_row.accumulate_all(&lanes, scores);
    }

    /// The gradient with respect to the rows of the other side from `first` on: for each the sum of all rows here by their
    /// `powers`, times its share, without the row of its own, times `weight`.
    fn pull(&self, powers: &[Lanes], shares: &Lanes, weight: f32, first: usize, gradient: &mut [f32]) {
        let mut sums = vec![[0.0; LANES]; self.width];
        self.by_column.accumulate_all(powers, &mut sums);
        untile(&sums, gradient);
        let rows = gradient.chunks_exact_mut(self.width).zip(self.from(first).chunks_exact(self.width)).zip(shares);
        for ((gradient, own), share) in rows {
            gradient.iter_mut().zip(own).for_each(|(value, own)| *value = *value * share - own * weight);
        }
    }
}

/// Leaves out, in the lanes of the rows from `first` on, what is no negative of them: other rows of the same item, or of the
/// same user.
fn leave_out(rows: &LossRows, first: usize, logits: &mut [Lanes]) {
    let of_lanes = |ids: &[u32]| {
        let mut lanes = [0; LANES];
        lanes.iter_mut().zip(&ids[first..]).for_each(|(lane, id)| *lane = *id);
        lanes
    };
    let (users, items) = (of_lanes(rows.users), of_lanes(rows.items));
    for (other, (logits, (user, item))) in logits.iter_mut().zip(rows.users.iter().zip(rows.items)).enumerate() {
        let own = logits.get(other.wrapping_sub(first)).copied();
        for (logit, (of_user, of_item)) in logits.iter_mut().zip(users.iter().zip(&items)) {
            *logit = if user == of_user || item == of_item { f32::NEG_INFINITY } else { *logit };
        }
        if let Some(own) = own {
            logits[other - first] = own;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss of these rows of width 2 and what they add to the gradient of the positives.
    fn evaluate(
        loss: &mut InBatch,
        users: &[u32],
        items: &[u32],
        queries: &[f32],
        positives: &[f32],
    ) -> (f64, Vec<f32>) {
        let rows = LossRows {
            width: 2,
            per_row: 0,
            queries: Gathered::all(queries, 2),
            positives: Gathered::all(positives, 2),
            negatives: Gathered::all(&[], 2),
            log_q: None,
            users,
            items,
        };
        let mut gradient = StepGradient::default();
        let values = loss.evaluate(&rows, &mut gradient).unwrap();
        assert!(values.len() == 1 && values[0].0 == "in_batch_softmax");
        (values[0].1, gradient.positives)
    }

    fn plain(temperature: f64) -> InBatch {
        InBatch { inverse: 1.0 / temperature, log_q: None }
    }

    #[test]
    fn equal_scores_count_the_items() {
        for count in [1, 3, 32, 33, 70] {
            let ids: Vec<u32> = (0..count).collect();
            let rows: Vec<f32> = ids.iter().flat_map(|_| [0.3, -2.0]).collect();
            for temperature in [0.05, 1.0, 3.0] {
                let (loss, _) = evaluate(&mut plain(temperature), &ids, &ids, &rows, &rows);
                assert!((loss - f64::from(count).ln()).abs() < 1e-6, "{loss} of {count} rows");
            }
        }
    }

    /// Rows 0 and 1 have one item, rows 1 and 2 one user: of four items row 1 is compared with its own and that of row 3, rows 0
    /// and 2 with one more.
    #[test]
    fn the_same_item_and_other_positives_of_the_user_are_no_negatives() {
        let ones = [1.0; 8];
        let (loss, _) = evaluate(&mut plain(1.0), &[4, 5, 5, 6], &[7, 7, 8, 9], &ones, &ones);
        let expected = [3f64, 2.0, 3.0, 4.0].map(f64::ln).iter().sum::<f64>() / 4.0;
        assert!((loss - expected).abs() < 1e-6, "{loss} is not {expected}");
        // Whatever they score: rows 0 and 1 have no negatives but each other, which do not count.
        let scores = [9.0, 0.0, -9.0, 0.0];
        for (users, items) in [([1, 1], [2, 3]), ([1, 2], [3, 3]), ([1, 1], [2, 2])] {
            let (loss, gradient) = evaluate(&mut plain(1.0), &users, &items, &scores, &[1.0, 0.0, 5.0, 0.0]);
            assert!(loss.abs() < 1e-6 && gradient.iter().all(|value| value.abs() < 1e-6), "{loss}, {gradient:?}");
        }
    }

    #[test]
    fn log_q_is_taken_from_each_logit() {
        let (scores, log_q) = ([0.5f32, -1.0], [0.7f32.ln(), 0.3f32.ln()]);
        let mut loss = InBatch { inverse: 2.0, log_q: Some(log_q.to_vec()) };
        let (found, _) =
            evaluate(&mut loss, &[0, 1], &[0, 1], &[1.0, 0.0, 1.0, 0.0], &[scores[0], 0.0, scores[1], 0.0]);
        let logits = [0, 1].map(|item| f64::from(2.0 * scores[item] - log_q[item]));
        let expected = (logits[0].exp() + logits[1].exp()).ln() - (logits[0] + logits[1]) / 2.0;
        assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
    }

    /// Of one popularity for all items, the correction changes nothing.
    #[test]
    fn one_q_for_all_shifts_nothing() {
        let rows: Vec<f32> = (0..80).map(|value| (value % 7) as f32 * 0.3 - 0.9).collect();
        let ids: Vec<u32> = (0..40).collect();
        let corrected = &mut InBatch { inverse: 1.0, log_q: Some(vec![-3.0; 40]) };
        let [(with, to_with), (without, to_without)] =
            [corrected, &mut plain(1.0)].map(|loss| evaluate(loss, &ids, &ids, &rows, &rows));
        assert!((with - without).abs() < 1e-6);
        assert!(to_with.iter().zip(&to_without).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let (loss, gradient) =
            evaluate(&mut plain(0.01), &[0, 1], &[0, 1], &[30.0, 0.0, 30.0, 0.0], &[1.0, 0.0, -1.0, 0.0]);
        assert!((loss - 3000.0).abs() < 1e-3, "{loss}");
        // Row 1 takes 30 / (2 tau) from its own item and gives it to the other.
        assert!((gradient[0] - 1500.0).abs() < 1e-2 && (gradient[2] + 1500.0).abs() < 1e-2, "{gradient:?}");
    }
}
