//! One training step under CNSDiff, block by block: generate hard negatives, then losses and gradients, then the
//! denoiser's update.

use std::ops::Range;

use rand::RngExt;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::chain::Chain;
use super::denoiser::{Denoiser, Shape};
use super::diffusion::Coefficients;
use super::draws::{Draws, beta_at};
use super::params::{Condition, Params, Pick, Space, Variant};
use super::schedule::Schedule;
use crate::model::{Adam, AdamParams};
use crate::sampler::tensor::{blocks, dots, gradient, leaf, matrix, normalize, values};
use crate::sampler::{Learnt, Outcome, Sampler, SamplerError, Step, loss};

/// CNSDiff at work.
pub struct Cnsdiff {
    params: Params,
    starts: Vec<usize>,
    schedule: Schedule,
    coefficients: Coefficients,
    shape: Shape,
    /// The denoiser's parameters, flat.
    weights: Vec<f32>,
    adam: Adam,
    device: Device,
}

/// What a step does at its epoch.
#[derive(Clone, Copy)]
struct Plan {
    /// Rows of the whole batch.
    rows: usize,
    dim: usize,
    /// Mix generated negatives in.
    generate: bool,
    contrast: bool,
    /// Compute the diffusion loss.
    diffuse: bool,
    /// The denoiser takes gradients.
    trainable: bool,
    /// Item vectors are divided by this before diffusion.
    scale: f64,
    beta: [f64; 2],
}

/// The rows of one block, without history.
struct Block {
    range: Range<usize>,
    draws: Draws,
    user: Tensor,
    positive: Tensor,
    negative: Tensor,
    denoiser: Denoiser,
    coefficients: Coefficients,
}

/// Generated negatives of a block, and sums over its rows that describe them.
struct Generated {
    /// `[b, d]`.
    hard: Tensor,
    /// Sum of the normalised rows `[d]`.
    direction: Vec<f32>,
    cosine: f64,
    norm_ratio: f64,
}

/// Loss sums and gradients of a block.
struct Loss {
    bpr: f64,
    contrastive: Option<f64>,
    diffusion: Option<f64>,
    user: Vec<f32>,
    positive: Vec<f32>,
    negative: Vec<f32>,
    /// Gradient of the contrastive loss with respect to the negatives of the whole batch.
    shared: Option<Vec<f32>>,
    denoiser: Option<Vec<f32>>,
}

impl Cnsdiff {
    /// For vectors of width `dim`, on `device`. `optimizer` is that of the tables, which `trained_joint` also uses.
    pub fn new(params: Params, seed: u64, dim: usize, optimizer: &AdamParams, device: Device) -> Self {
        let schedule = Schedule::new(&params.schedule);
        let shape = Shape::new(&params, dim);
        let weights = shape.init(seed);
        let own = AdamParams { lr: params.denoiser.lr, ..AdamParams::default() };
        let adam = Adam::new(if params.variant == Variant::Trained { own } else { optimizer.clone() }, weights.len());
        Self {
            starts: params.starts(),
            coefficients: Coefficients::new(&schedule, params.reweight, device),
            schedule,
            shape,
            weights,
            adam,
            params,
            device,
        }
    }

    fn plan(&self, step: &Step) -> Plan {
        let trainable = self.parameters() > 0;
        Plan {
            rows: step.users.len(),
            dim: step.dim,
            generate: self.params.generate && step.epoch >= self.params.warmup(),
            contrast: self.params.cl_weight > 0.0,
            diffuse: trainable || self.params.generate && self.params.diffusion_weight > 0.0,
            trainable,
            scale: match self.params.space {
                Space::Raw => 1.0,
                Space::RmsNormalised => root_mean_square(&step.encoded[step.n_users * step.dim..]),
            },
            beta: beta_at(self.params.mix.from, self.params.mix.to, step.epoch, step.epochs),
        }
    }

    fn block(&self, step: &Step, index: usize, range: Range<usize>, denoiser: &Denoiser, trainable: bool) -> Block {
        let device = self.device;
        let items = |ids: &[u32]| matrix(ids[range.clone()].iter().map(|&item| step.item(item)), step.dim, device);
        Block {
            draws: Draws::new(step.seed, step.index, index, device),
            user: matrix(step.users[range.clone()].iter().map(|&user| step.user(user)), step.dim, device),
            positive: items(step.positives),
            negative: items(step.negatives),
            denoiser: denoiser.branch(trainable),
            coefficients: self.coefficients.share(),
            range,
        }
    }
}

impl Block {
    fn rows(&self) -> usize {
        self.range.len()
    }

    fn condition(&self, params: &Params) -> Option<&Tensor> {
        (params.condition == Condition::User).then_some(&self.user)
    }

    /// Hard negatives: the chosen candidate of each row.
    fn generate(&self, params: &Params, chain: &Chain, plan: &Plan) -> Generated {
        let (rows, dim) = (self.rows(), plan.dim);
        let mut noise = self.draws.stream("start noise");
        let mut mask = self.draws.stream("chain dropout");
        let p = if params.variant == Variant::AsReleased { params.denoiser.dropout } else { 0.0 };
        let candidates = chain.sample(
            &self.denoiser,
            &(&self.positive / plan.scale),
            self.condition(params),
            |rows| self.draws.normal(&mut noise, rows, dim),
            |rows| self.draws.mask(&mut mask, rows, dim, p),
        );
        let count = candidates.len() as i64;
        let candidates = Tensor::stack(&candidates, 0);
        let choice = match params.start.pick {
            Pick::Hardest => dots(&candidates, &self.user).argmax(0, false),
            Pick::Random => {
                let mut rng = self.draws.stream("start choice");
                let choice: Vec<i64> = (0..rows).map(|_| rng.random_range(0..count)).collect();
                Tensor::from_slice(&choice).to_device(self.positive.device())
            }
        };
        let choice = choice.view([1, rows as i64, 1]).expand([1, rows as i64, dim as i64], false);
        let hard = candidates.gather(0, &choice, false).squeeze_dim(0) * plan.scale;
        let unit = normalize(&hard);
        let norms = |rows: &Tensor| rows.norm_scalaropt_dim(2.0, [-1i64].as_slice(), false);
        Generated {
            direction: values(&unit.sum_dim_intlist([0i64].as_slice(), false, Kind::Float)),
            cosine: dots(&unit, &normalize(&self.positive)).sum(Kind::Double).double_value(&[]),
            norm_ratio: (norms(&hard) / norms(&self.positive).clamp_min(1e-12)).sum(Kind::Double).double_value(&[]),
            hard,
        }
    }

    /// Losses and gradients. `hard` are the block's generated negatives, `all_hard` the normalised ones of the whole
    /// batch, `all_negatives` its uniform ones.
    fn losses(
        &self,
        params: &Params,
        plan: &Plan,
        hard: Option<&Tensor>,
        all_hard: Option<&Tensor>,
        all_negatives: &Tensor,
    ) -> Result<Loss, SamplerError> {
        let (rows, dim, batch) = (self.rows(), plan.dim, plan.rows as f64);
        let (user, positive, negative) = (leaf(&self.user), leaf(&self.positive), leaf(&self.negative));
        let mixed = match hard {
            Some(hard) => {
                let share = self.draws.shares(rows, plan.beta, params.mix.min)?;
                &share * hard + (1.0 - &share) * &negative
            }
            None => negative.shallow_clone(),
        };
        let bpr = loss::bpr(&user, &positive, &mixed);
        let mut total = &bpr / batch;

        let contrast = plan.contrast.then(|| {
            let shared = leaf(all_negatives);
            let uniform = normalize(&shared);
            let negatives = match all_hard {
                Some(hard) => Tensor::cat(&[hard, &uniform], 0),
                None => uniform,
            };
            let noise = self.draws.normal(&mut self.draws.stream("positive noise"), rows, dim);
            let noised = &positive + noise * params.positive_noise;
            (loss::contrastive(&positive, &noised, &negatives, params.temperature), shared)
        });
        if let Some((value, _)) = &contrast {
            total += value * (params.cl_weight / batch);
        }

        let diffusion = plan.diffuse.then(|| {
            let clean = match params.variant {
                Variant::Trained => &self.positive / plan.scale,
                Variant::AsReleased | Variant::TrainedJoint => &positive / plan.scale,
            };
            let losses = self.coefficients.losses(
                &self.denoiser,
                &clean,
                self.condition(params),
                &self.draws.steps(rows, params.schedule.steps),
                &self.draws.normal(&mut self.draws.stream("diffusion noise"), rows, dim),
                self.draws
                    .mask(&mut self.draws.stream("diffusion dropout"), rows, dim, params.denoiser.dropout)
                    .as_ref(),
            );
            (losses.reconstruction + losses.causal * params.causal_weight).sum(Kind::Float)
        });
        if let Some(value) = &diffusion {
            // The denoiser's own optimiser minimises the loss as it is; no table sees it.
            let weight = if params.variant == Variant::Trained { 1.0 } else { params.diffusion_weight };
            total += value * (weight / batch);
        }

        total.backward();
        Ok(Loss {
            bpr: bpr.double_value(&[]),
            diffusion: diffusion.map(|value| value.double_value(&[])),
            user: gradient(&user),
            positive: gradient(&positive),
            negative: gradient(&negative),
            shared: contrast.as_ref().map(|(_, shared)| gradient(shared)),
            contrastive: contrast.map(|(value, _)| value.double_value(&[])),
            denoiser: plan.trainable.then(|| gradient(self.denoiser.parameters())),
        })
    }
}

impl Sampler for Cnsdiff {
    fn step(&mut self, step: &Step) -> Result<Outcome, SamplerError> {
        let plan = self.plan(step);
        let denoiser = Denoiser::new(self.shape.clone(), &self.weights, self.schedule.steps(), self.device);
        let prepared: Vec<Block> = blocks(plan.rows)
            .enumerate()
            .map(|(index, range)| self.block(step, index, range, &denoiser, plan.trainable))
            .collect();
        let Self { params, schedule, starts, .. } = self;
        let chain = Chain { schedule, starts, full: params.variant == Variant::AsReleased };
        let generated: Vec<(Block, Option<Generated>)> = prepared
            .into_par_iter()
            .map(|block| {
                let generated = plan.generate.then(|| tch::no_grad(|| block.generate(params, &chain, &plan)));
                (block, generated)
            })
            .collect();

        let mut outcome = Outcome::default();
        let hard: Vec<&Generated> = generated.iter().filter_map(|(_, generated)| generated.as_ref()).collect();
        if !hard.is_empty() {
            outcome.diagnostics = describe(&hard, plan.rows);
        }
        let all_hard = (plan.contrast && !hard.is_empty())
            .then(|| normalize(&Tensor::cat(&hard.iter().map(|generated| &generated.hard).collect::<Vec<_>>(), 0)));
        let all_negatives = Tensor::cat(&generated.iter().map(|(block, _)| &block.negative).collect::<Vec<_>>(), 0);

        let losses: Vec<Result<Loss, SamplerError>> = generated
            .into_iter()
            .map(|(block, generated)| {
                let all_hard = all_hard.as_ref().map(Tensor::shallow_clone);
                (block, generated.map(|generated| generated.hard), all_hard, all_negatives.shallow_clone())
            })
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|(block, hard, all_hard, all_negatives)| {
                block.losses(params, &plan, hard.as_ref(), all_hard.as_ref(), &all_negatives)
            })
            .collect();
        let losses = losses.into_iter().collect::<Result<Vec<Loss>, SamplerError>>()?;

        if plan.trainable {
            let mut gradient = vec![0.0; self.weights.len()];
            losses.iter().filter_map(|loss| loss.denoiser.as_ref()).for_each(|part| add(&mut gradient, part));
            self.adam.step(&mut self.weights, &gradient);
        }
        collect(&mut outcome, losses, plan.rows);
        Ok(outcome)
    }

    fn parameters(&self) -> usize {
        let trainable = self.params.generate && self.params.variant != Variant::AsReleased;
        if trainable { self.weights.len() } else { 0 }
    }

    fn state(&self) -> Learnt {
        let vectors = vec![self.weights.clone(), self.adam.first.clone(), self.adam.second.clone()];
        Learnt { steps: self.adam.steps, vectors }
    }

    fn restore(&mut self, learnt: Learnt) -> bool {
        let Ok([weights, first, second]) = <[Vec<f32>; 3]>::try_from(learnt.vectors) else { return false };
        if [&weights, &first, &second].iter().any(|part| part.len() != self.weights.len()) {
            return false;
        }
        (self.weights, self.adam.first, self.adam.second) = (weights, first, second);
        self.adam.steps = learnt.steps;
        true
    }
}

/// Sums the blocks, in order.
fn collect(outcome: &mut Outcome, losses: Vec<Loss>, rows: usize) {
    let sum =
        |part: fn(&Loss) -> Option<f64>| losses.iter().map(part).sum::<Option<f64>>().map(|total| total / rows as f64);
    let parts = [
        ("bpr", sum(|loss| Some(loss.bpr))),
        ("contrastive", sum(|loss| loss.contrastive)),
        ("diffusion", sum(|loss| loss.diffusion)),
    ];
    outcome.parts.extend(parts.into_iter().filter_map(|(name, value)| Some((name, value?))));
    for loss in &losses {
        outcome.user.extend(&loss.user);
        outcome.positive.extend(&loss.positive);
        outcome.negative.extend(&loss.negative);
    }
    losses.iter().filter_map(|loss| loss.shared.as_ref()).for_each(|part| add(&mut outcome.negative, part));
}

/// How the generated negatives relate to their positives and to each other: a reconstruction of the positive, or one
/// vector for the whole catalogue, is a poor negative.
fn describe(generated: &[&Generated], rows: usize) -> Vec<(&'static str, f64)> {
    let mut direction = vec![0.0; generated[0].direction.len()];
    generated.iter().for_each(|part| add(&mut direction, &part.direction));
    let square: f64 = direction.iter().map(|&value| f64::from(value).powi(2)).sum();
    let n = rows as f64;
    let mean = |part: fn(&Generated) -> f64| generated.iter().map(|generated| part(generated)).sum::<f64>() / n;
    let mut described = vec![
        ("generated_cosine_positive", mean(|part| part.cosine)),
        ("generated_norm_ratio", mean(|part| part.norm_ratio)),
    ];
    if rows > 1 {
        described.push(("generated_cosine_across", (square - n) / (n * (n - 1.0))));
    }
    described
}

fn add(sum: &mut [f32], part: &[f32]) {
    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
}

fn root_mean_square(values: &[f32]) -> f64 {
    let square: f64 = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    (square / values.len().max(1) as f64).sqrt().max(1e-12)
}
