//! The plain sampler: BPR against the uniform negatives of the step.
//!
//! The gradient is written down, not derived by libtorch: for a margin `s = <u, i - j>`, the loss `-ln sigma(s)` has the
//! slope `-sigma(-s)` in `s`. Rows are few and short, so the processor computes them whatever the device.

use multiversion::multiversion;
use rayon::prelude::*;

use super::{Outcome, Sampler, SamplerError, Step};

/// Rows per parallel task: fixed, since losses are summed task by task.
const BLOCK: usize = 256;
/// Running sums of an inner product: fixed, so that its bits do not depend on the width of the processor's vectors.
const LANES: usize = 16;

#[derive(Default)]
pub struct Rns {
    /// The outcome of the step before.
    last: Outcome,
}

impl Sampler for Rns {
    fn step(&mut self, step: &Step) -> Result<Outcome, SamplerError> {
        let (rows, dim) = (step.users.len(), step.dim);
        let mut outcome = std::mem::take(&mut self.last);
        let Outcome { user, positive, negative, .. } = &mut outcome;
        for gradient in [&mut *user, positive, negative] {
            gradient.resize(rows * dim, 0.0);
        }
        let losses: Vec<f64> = user
            .par_chunks_mut(BLOCK * dim)
            .zip(positive.par_chunks_mut(BLOCK * dim))
            .zip(negative.par_chunks_mut(BLOCK * dim))
            .enumerate()
            .map(|(block, ((user, positive), negative))| {
                bpr(step, block * BLOCK, 1.0 / rows as f64, user, positive, negative)
            })
            .collect();
        outcome.parts.clear();
        outcome.parts.push(("bpr", losses.iter().sum::<f64>() / rows as f64));
        Ok(outcome)
    }

    fn recycle(&mut self, outcome: Outcome) {
        self.last = outcome;
    }
}

/// The sum of the losses of the rows from `first` on, and the gradients of `weight` times it.
#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn bpr(step: &Step, first: usize, weight: f64, user: &mut [f32], positive: &mut [f32], negative: &mut [f32]) -> f64 {
    let dim = step.dim;
    let gradients = user.chunks_exact_mut(dim).zip(positive.chunks_exact_mut(dim)).zip(negative.chunks_exact_mut(dim));
    let mut total = 0.0;
    for (row, ((du, di), dj)) in (first..).zip(gradients) {
        let u = step.user(step.users[row]);
        let i = step.item(step.positives[row]);
        let j = step.item(step.negatives[row]);
        let (loss, slope) = minus_log_sigmoid(margin(u, i, j));
        total += loss;
        let slope = (weight * slope) as f32;
        for (((((du, di), dj), u), i), j) in du.iter_mut().zip(di).zip(dj).zip(u).zip(i).zip(j) {
            *du = slope * (i - j);
            *di = slope * u;
            *dj = -*di;
        }
    }
    total
}

/// `<u, i - j>`.
#[inline(always)]
fn margin(u: &[f32], i: &[f32], j: &[f32]) -> f64 {
    let (u_blocks, u_rest) = u.as_chunks::<LANES>();
    let (i_blocks, i_rest) = i.as_chunks::<LANES>();
    let (j_blocks, j_rest) = j.as_chunks::<LANES>();
    let mut sums = [0.0f32; LANES];
    for ((u, i), j) in u_blocks.iter().zip(i_blocks).zip(j_blocks) {
        for (((sum, u), i), j) in sums.iter_mut().zip(u).zip(i).zip(j) {
            *sum = u.mul_add(i - j, *sum);
        }
    }
    for (((sum, u), i), j) in sums.iter_mut().zip(u_rest).zip(i_rest).zip(j_rest) {
        *sum = u.mul_add(i - j, *sum);
    }
    sums.into_iter().map(f64::from).sum()
}

/// `-ln sigma(margin)` and its slope, in the form that neither overflows nor loses the slope.
#[inline(always)]
fn minus_log_sigmoid(margin: f64) -> (f64, f64) {
    let small = (-margin.abs()).exp();
    let slope = if margin > 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) };
    ((-margin).max(0.0) + small.ln_1p(), -slope)
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use tch::Tensor;

    use super::*;
    use crate::rng;
    use crate::sampler::{loss, tensor};

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

    /// Loss and gradients against libtorch's, over more rows than a block and widths with and without a rest.
    #[test]
    fn agrees_with_autograd() {
        for dim in [5, 16, 64, 75] {
            let (users, items, rows) = (40, 60, 600);
            let mut rng = rng::stream(1, "test", dim as u64);
            let encoded: Vec<f32> = (0..(users + items) * dim).map(|_| rng.random_range(-1.0..1.0)).collect();
            let mut ids = |n: usize| -> Vec<u32> { (0..rows).map(|_| rng.random_range(0..n as u32)).collect() };
            let (users_of, positives, negatives) = (ids(users), ids(items), ids(items));
            let step = Step {
                seed: 1,
                epoch: 0,
                epochs: 1,
                index: 0,
                users: &users_of,
                positives: &positives,
                negatives: &negatives,
                encoded: &encoded,
                n_users: users,
                dim,
            };
            let found = Rns::default().step(&step).unwrap();

            let matrix = |rows: Vec<&[f32]>| tensor::leaf(&Tensor::from_slice(&rows.concat()).view([-1, dim as i64]));
            let user = matrix(users_of.iter().map(|&user| step.user(user)).collect());
            let [positive, negative] =
                [&positives, &negatives].map(|ids| matrix(ids.iter().map(|&item| step.item(item)).collect()));
            let expected = loss::bpr(&user, &positive, &negative) / rows as f64;
            expected.backward();
            assert!((found.parts[0].1 - expected.double_value(&[])).abs() < 1e-6);
            for (found, leaf) in [(&found.user, &user), (&found.positive, &positive), (&found.negative, &negative)] {
                let expected = tensor::gradient(leaf);
                assert_eq!(found.len(), expected.len());
                assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-8));
            }
        }
    }
}
