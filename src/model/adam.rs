//! Adam (Kingma & Ba, ICLR 2015) as PyTorch computes it: bias correction outside the root, epsilon added after it,
//! no weight decay. One fused pass over flat parameters.

use multiversion::multiversion;
use rayon::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::kernel::Aligned;

/// Values per parallel task.
const CHUNK: usize = 16_384;

/// Parameters of Adam.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamParams {
    /// Learning rate.
    #[schemars(range(min = 0, max = 1_000))]
    pub lr: f64,
    /// Decay of the first and the second moment.
    #[schemars(inner(range(min = 0, max = 1)))]
    pub betas: [f64; 2],
    /// Added to the root of the second moment.
    #[schemars(range(min = 0, max = 1))]
    pub eps: f64,
}

impl Default for AdamParams {
    fn default() -> Self {
        Self { lr: 1e-3, betas: [0.9, 0.999], eps: 1e-8 }
    }
}

/// Moments of a parameter vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Adam {
    params: AdamParams,
    /// Updates done.
    pub steps: u64,
    pub first: Aligned,
    pub second: Aligned,
}

impl Adam {
    /// For `len` parameters.
    pub fn new(params: AdamParams, len: usize) -> Self {
        Self { params, steps: 0, first: Aligned::zeros(len), second: Aligned::zeros(len) }
    }

    /// One update of `values` against `gradient`.
    pub fn step(&mut self, values: &mut [f32], gradient: &[f32]) {
        self.steps += 1;
        let AdamParams { lr, betas: [beta1, beta2], eps } = self.params;
        let root = (1.0 - libm::pow(beta2, self.steps as f64)).sqrt();
        let update = Update {
            rate: (lr * root / (1.0 - libm::pow(beta1, self.steps as f64))) as f32,
            eps: (eps * root) as f32,
            keep: [beta1 as f32, beta2 as f32],
            add: [(1.0 - beta1) as f32, (1.0 - beta2) as f32],
        };
        values
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(self.first.par_chunks_mut(CHUNK))
            .zip(self.second.par_chunks_mut(CHUNK))
            .for_each(|(((values, gradient), first), second)| update_values(&update, values, gradient, first, second));
    }
}

/// The numbers of one update. Numerator and denominator are multiplied by the root of the second correction, which
/// saves a division per value.
struct Update {
    rate: f32,
    eps: f32,
    keep: [f32; 2],
    add: [f32; 2],
}

#[multiversion(targets("x86_64+avx512f+avx512vl+avx2+fma", "x86_64+avx2+fma"))]
fn update_values(update: &Update, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) {
    let Update { rate, eps, keep, add } = *update;
    for (((value, &g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
        *m = keep[0] * *m + add[0] * g;
        *v = keep[1] * *v + add[1] * g * g;
        *value -= rate * *m / (v.sqrt() + eps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_learning_rate() {
        let mut adam = Adam::new(AdamParams { lr: 0.1, ..AdamParams::default() }, 3);
        let mut values = [1.0, 1.0, 1.0];
        adam.step(&mut values, &[5.0, -0.001, 0.0]);
        for (found, expected) in values.into_iter().zip([0.9, 1.1, 1.0]) {
            assert!((found - expected as f32).abs() < 2e-6, "{found} is not {expected}");
        }
    }

    /// Adam in f64 by its definition, three steps on f(x) = x^2 from 1: the moments' decay and both corrections count.
    #[test]
    fn three_steps_on_a_parabola() {
        let params = AdamParams { lr: 0.1, ..AdamParams::default() };
        let mut adam = Adam::new(params, 1);
        let mut values = [1.0f32];
        let (mut x, mut m, mut v) = (1.0f64, 0.0f64, 0.0f64);
        for step in 1..=3 {
            let gradient = [2.0 * values[0]];
            adam.step(&mut values, &gradient);
            let g = 2.0 * x;
            m = 0.9 * m + 0.1 * g;
            v = 0.999 * v + 0.001 * g * g;
            x -= 0.1 * (m / (1.0 - 0.9f64.powi(step))) / ((v / (1.0 - 0.999f64.powi(step))).sqrt() + 1e-8);
        }
        assert!((f64::from(values[0]) - x).abs() < 1e-6);
    }
}
