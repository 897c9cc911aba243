//! The plain sampler: BPR against the uniform negatives of the step.

use rayon::prelude::*;
use tch::Device;

use super::tensor::{blocks, gradient, leaf, matrix};
use super::{Outcome, Sampler, SamplerError, Step, loss};

pub struct Rns {
    pub device: Device,
}

impl Sampler for Rns {
    fn step(&mut self, step: &Step) -> Result<Outcome, SamplerError> {
        let (rows, device) = (step.users.len(), self.device);
        let results: Vec<_> = blocks(rows)
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|block| {
                let user =
                    leaf(&matrix(step.users[block.clone()].iter().map(|&user| step.user(user)), step.dim, device));
                let item = |ids: &[u32]| leaf(&matrix(ids.iter().map(|&item| step.item(item)), step.dim, device));
                let positive = item(&step.positives[block.clone()]);
                let negative = item(&step.negatives[block]);
                let bpr = loss::bpr(&user, &positive, &negative);
                (&bpr / rows as f64).backward();
                (bpr.double_value(&[]), gradient(&user), gradient(&positive), gradient(&negative))
            })
            .collect();
        let mut outcome = Outcome::default();
        let mut bpr = 0.0;
        for (value, user, positive, negative) in results {
            bpr += value;
            outcome.user.extend(user);
            outcome.positive.extend(positive);
            outcome.negative.extend(negative);
        }
        outcome.parts.push(("bpr", bpr / rows as f64));
        Ok(outcome)
    }
}
