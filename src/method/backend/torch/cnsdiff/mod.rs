//! CNSDiff's chains and losses by libtorch, on any device that it knows.

#[cfg(test)]
mod agreement;
pub mod chain;
pub mod denoiser;
pub mod diffusion;
#[cfg(test)]
mod golden;

use rand_chacha::ChaCha8Rng;
use tch::{Device, Kind, Tensor};

use super::tensor::{dots, gradient, leaf, matrix, normalize, values};
use crate::kernel::{LANES, Unit};
use crate::method::sampler::cnsdiff::{
    Arithmetic, Chain, Cnsdiff, Contrast, Diffusion, Dropout, Rows, Schedule, Shape, Wanted, normals,
};

use denoiser::Denoiser;
use diffusion::Coefficients;

pub struct OnDevice {
    device: Device,
    denoiser: Denoiser,
    coefficients: Coefficients,
    /// Unit vectors of the generated and of the uniform negatives.
    negatives: Option<(Option<Tensor>, Tensor)>,
}

impl OnDevice {
    /// With the parameters `weights` of the denoiser.
    pub fn new(shape: &Shape, weights: &[f32], schedule: &Schedule, reweight: bool, device: Device) -> Self {
        Self {
            device,
            denoiser: Denoiser::new(shape.clone(), weights, schedule.steps(), device),
            coefficients: Coefficients::new(schedule, reweight, device),
            negatives: None,
        }
    }
}

impl Arithmetic for OnDevice {
    fn share(&self) -> Box<dyn Arithmetic> {
        let negatives = self.negatives.as_ref();
        Box::new(Self {
            device: self.device,
            denoiser: self.denoiser.branch(false),
            coefficients: self.coefficients.share(),
            negatives: negatives
                .map(|(hard, uniform)| (hard.as_ref().map(Tensor::shallow_clone), uniform.shallow_clone())),
        })
    }

    fn compare(&mut self, generated: Option<&Unit>, uniform: &Unit) {
        let tensor = |unit: &Unit| matrix(&unit.rows, unit.dim, self.device);
        self.negatives = Some((generated.map(tensor), tensor(uniform)));
    }

    fn candidates(&self, rows: &Rows, params: &Cnsdiff, chain: &Chain) -> Vec<Vec<f32>> {
        let mut noise = rows.draws.stream("start noise");
        let mut masks = rows.draws.stream("chain dropout");
        let dropout = Dropout::new(params.chain_dropout());
        let (count, dim) = (rows.count(), rows.dim);
        let candidates = tch::no_grad(|| {
            chain::sample(
                chain,
                &self.denoiser,
                &matrix(rows.clean, dim, self.device),
                rows.condition(params).map(|users| matrix(users, dim, self.device)).as_ref(),
                || normal(&mut noise, count, dim, self.device),
                |chains| dropout.as_ref().map(|d| mask(&mut masks, d, chains, count, dim, self.device)),
            )
        });
        candidates.iter().map(values).collect()
    }

    fn contrast(&self, rows: &Rows, params: &Cnsdiff, weight: f64) -> Option<Contrast> {
        let (generated, uniform) = self.negatives.as_ref()?;
        let uniform = leaf(uniform);
        let noise = normal(&mut rows.draws.stream("positive noise"), rows.count(), rows.dim, self.device);
        let positives = leaf(&matrix(rows.positives, rows.dim, self.device));
        let negatives = Tensor::cat(&generated.iter().chain([&uniform]).collect::<Vec<_>>(), 0);
        let noised = &positives + noise * params.positive_noise;
        let loss = contrastive(&positives, &noised, &negatives, params.temperature);
        (&loss * weight).backward();
        Some(Contrast { loss: loss.double_value(&[]), positives: gradient(&positives), negatives: gradient(&uniform) })
    }

    fn diffusion(&self, rows: &Rows, params: &Cnsdiff, weight: f64, wanted: Wanted) -> Diffusion {
        let (count, dim) = (rows.count(), rows.dim);
        let draws = rows.draws;
        let clean = matrix(rows.clean, dim, self.device).set_requires_grad(wanted.clean);
        let denoiser = self.denoiser.branch(wanted.weights);
        let dropout = Dropout::new(params.denoiser.dropout);
        let losses = self.coefficients.losses(
            &denoiser,
            &clean,
            rows.condition(params).map(|users| matrix(users, dim, self.device)).as_ref(),
            &Tensor::from_slice(&draws.steps(count, params.schedule.steps)).to_kind(Kind::Int64).to_device(self.device),
            &normal(&mut draws.stream("diffusion noise"), count, dim, self.device),
            dropout
                .map(|dropout| mask(&mut draws.stream("diffusion dropout"), &dropout, 1, count, dim, self.device))
                .as_ref(),
        );
        let loss = (losses.reconstruction + losses.causal * params.causal_weight).sum(Kind::Float);
        if wanted.clean || wanted.weights {
            (&loss * weight).backward();
        }
        let taken = |wanted: bool, leaf: &Tensor| if wanted { gradient(leaf) } else { Vec::new() };
        Diffusion {
            loss: loss.double_value(&[]),
            clean: taken(wanted.clean, &clean),
            weights: taken(wanted.weights, denoiser.parameters()),
        }
    }
}

/// Standard normal numbers `[rows, dim]` on `device`.
fn normal(rng: &mut ChaCha8Rng, rows: usize, dim: usize, device: Device) -> Tensor {
    matrix(&normals(rng, rows * dim), dim, device)
}

/// The dropout of `chains` times `rows` rows `[chains * rows, dim]` on `device`.
fn mask(rng: &mut ChaCha8Rng, dropout: &Dropout, chains: usize, rows: usize, dim: usize, device: Device) -> Tensor {
    let tiles = rows.div_ceil(LANES);
    let mut mask = vec![[0.0; LANES]; chains * tiles * dim];
    dropout.fill(rng, &mut mask);
    let [chains, tiles, rows, dim, lanes] = [chains, tiles, rows, dim, LANES].map(|size| size as i64);
    let mask = Tensor::from_slice(mask.as_flattened()).view([chains, tiles, dim, lanes]);
    let mask = mask.transpose(2, 3).reshape([chains, tiles * lanes, dim]).narrow(1, 0, rows);
    mask.reshape([chains * rows, dim]).to_device(device)
}

/// The contrastive loss of CNSDiff: `-<a, p> / tau + logsumexp_k <a, n_k> / tau` on normalised rows. The sum over the
/// rows. All negatives are shared by every anchor and the positive is not among them, so this is not InfoNCE. `negatives` are normalised.
pub fn contrastive(anchor: &Tensor, positive: &Tensor, negatives: &Tensor, temperature: f64) -> Tensor {
    let anchor = normalize(anchor) / temperature;
    let attraction = dots(&anchor, &normalize(positive));
    let repulsion = anchor.matmul(&negatives.tr()).logsumexp([-1i64].as_slice(), false);
    (repulsion - attraction).sum(Kind::Float)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrastive_toy() {
        let rows = |values: &[f32]| Tensor::from_slice(values).view([-1, 2]);
        let anchor = rows(&[1.0, 0.0]);
        let loss = contrastive(&anchor, &anchor, &rows(&[0.0, 1.0, -1.0, 0.0]), 2.0).double_value(&[]);
        assert!((loss + 0.025_923_02).abs() < 1e-7);
    }
}
