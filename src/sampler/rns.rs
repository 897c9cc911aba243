//! The plain sampler: BPR against the uniform negatives of the step.

use rayon::prelude::*;

use super::{Outcome, Sampler, SamplerError, Step, bpr};
use crate::kernel::prefetch;

/// Rows per parallel task: fixed, since losses are summed task by task.
const BLOCK: usize = 256;
/// How many rows before they are needed vectors are asked for.
const AHEAD: usize = 4;

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
                losses(step, block * BLOCK, 1.0 / rows as f64, user, positive, negative)
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
fn losses(step: &Step, first: usize, weight: f64, user: &mut [f32], positive: &mut [f32], negative: &mut [f32]) -> f64 {
    let dim = step.dim;
    let gradients = user.chunks_exact_mut(dim).zip(positive.chunks_exact_mut(dim)).zip(negative.chunks_exact_mut(dim));
    let rows = (first..).zip(gradients).map(|(row, ((du, di), dj))| {
        if row + AHEAD < step.users.len() {
            prefetch(step.user(step.users[row + AHEAD]));
            prefetch(step.item(step.positives[row + AHEAD]));
            prefetch(step.item(step.negatives[row + AHEAD]));
        }
        let (u, i, j) = (step.users[row], step.positives[row], step.negatives[row]);
        bpr::pair(step.user(u), step.item(i), step.item(j), weight, du, di, dj)
    });
    rows.sum()
}

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use tch::{Kind, Tensor};

    use super::*;
    use crate::rng;
    use crate::sampler::tensor;

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
            let margin = tensor::dots(&user, &(&positive - &negative));
            let expected = -margin.log_sigmoid().sum(Kind::Float) / rows as f64;
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
