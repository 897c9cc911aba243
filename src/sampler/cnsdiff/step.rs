//! One training step under CNSDiff, block by block: generate hard negatives, then losses and gradients, then the
//! denoiser's update.

use std::ops::Range;

use rand::RngExt;
use rayon::prelude::*;
use tch::Device;

use super::arithmetic::{Arithmetic, Rows, Wanted};
use super::chain::Chain;
use super::denoiser::Shape;
use super::device::OnDevice;
use super::draws::{Draws, beta_at};
use super::host::Host;
use super::params::{Params, Pick, Space, Variant};
use super::schedule::Schedule;
use crate::kernel::{Unit, dot};
use crate::model::{Adam, AdamParams};
use crate::sampler::{Learnt, Outcome, Sampler, SamplerError, Step, bpr};

/// Rows per block: fixed, since blocks are computed in parallel and summed in order.
const BLOCK: usize = 256;

/// CNSDiff at work.
pub struct Cnsdiff {
    params: Params,
    starts: Vec<usize>,
    schedule: Schedule,
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
    scale: f32,
    beta: [f64; 2],
}

/// The rows of one block, row-major.
struct Block {
    draws: Draws,
    users: Vec<f32>,
    positives: Vec<f32>,
    negatives: Vec<f32>,
    /// The positives in the space of the diffusion.
    clean: Vec<f32>,
}

/// Generated negatives of a block, and sums over its rows that describe them.
struct Generated {
    /// Row-major.
    hard: Vec<f32>,
    /// Sum of the unit vectors.
    direction: Vec<f32>,
    cosine: f64,
    norm_ratio: f64,
}

/// Loss sums and gradients of a block.
struct Loss {
    bpr: f64,
    contrastive: Option<f64>,
    diffusion: Option<f64>,
    users: Vec<f32>,
    positives: Vec<f32>,
    negatives: Vec<f32>,
    /// Gradient of the contrastive loss with respect to the unit vectors of the uniform negatives of the whole batch.
    shared: Option<Vec<f32>>,
    denoiser: Vec<f32>,
}

impl Cnsdiff {
    /// For vectors of width `dim`, on `device`. `optimizer` is that of the tables, which `trained_joint` also uses.
    pub fn new(params: Params, seed: u64, dim: usize, optimizer: &AdamParams, device: Device) -> Self {
        let schedule = Schedule::new(&params.schedule);
        let shape = Shape::new(&params, dim);
        let weights = shape.init(seed);
        let own = AdamParams { lr: params.denoiser.lr, ..AdamParams::default() };
        let adam = Adam::new(if params.variant == Variant::Trained { own } else { optimizer.clone() }, weights.len());
        Self { starts: params.starts(), schedule, shape, weights, adam, params, device }
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
                Space::RmsNormalised => root_mean_square(&step.encoded[step.n_users * step.dim..]) as f32,
            },
            beta: beta_at(self.params.mix.from, self.params.mix.to, step.epoch, step.epochs),
        }
    }

    fn arithmetic(&self) -> Box<dyn Arithmetic> {
        let Self { shape, weights, schedule, params, .. } = self;
        match self.device {
            Device::Cpu => Box::new(Host::new(shape, weights, schedule, params.reweight)),
            device => Box::new(OnDevice::new(shape, weights, schedule, params.reweight, device)),
        }
    }
}

impl Block {
    fn new(step: &Step, index: usize, range: Range<usize>, scale: f32) -> Self {
        let items = |ids: &[u32]| ids[range.clone()].iter().flat_map(|&item| step.item(item)).copied().collect();
        let positives: Vec<f32> = items(step.positives);
        Self {
            draws: Draws::new(step.seed, step.index, index),
            users: step.users[range.clone()].iter().flat_map(|&user| step.user(user)).copied().collect(),
            negatives: items(step.negatives),
            clean: positives.iter().map(|value| value / scale).collect(),
            positives,
        }
    }

    fn rows(&self, dim: usize) -> Rows<'_> {
        let Self { draws, users, positives, clean, .. } = self;
        Rows { draws, dim, users, positives, clean }
    }

    /// Hard negatives: the chosen candidate of each row.
    fn generate(&self, arithmetic: &dyn Arithmetic, params: &Params, chain: &Chain, plan: &Plan) -> Generated {
        let dim = plan.dim;
        let candidates = arithmetic.candidates(&self.rows(dim), params, chain);
        let mut random = self.draws.stream("start choice");
        let mut generated = Generated {
            hard: Vec::with_capacity(self.users.len()),
            direction: vec![0.0; dim],
            cosine: 0.0,
            norm_ratio: 0.0,
        };
        for (row, (user, positive)) in self.users.chunks_exact(dim).zip(self.positives.chunks_exact(dim)).enumerate() {
            let candidate = |index: usize| &candidates[index][row * dim..][..dim];
            let chosen = match params.start.pick {
                Pick::Random => random.random_range(0..candidates.len()),
                Pick::Hardest => {
                    let scores = (0..candidates.len()).map(|index| dot(user, candidate(index)));
                    // The first of the largest.
                    scores
                        .enumerate()
                        .fold(
                            (0, f32::NEG_INFINITY),
                            |best, (index, score)| if score > best.1 { (index, score) } else { best },
                        )
                        .0
                }
            };
            let hard: Vec<f32> = candidate(chosen).iter().map(|value| value * plan.scale).collect();
            let norm = |row: &[f32]| dot(row, row).sqrt().max(1e-12);
            let (size, positive_size) = (norm(&hard), norm(positive));
            generated.direction.iter_mut().zip(&hard).for_each(|(sum, value)| *sum += value / size);
            generated.cosine += f64::from(dot(&hard, positive) / size / positive_size);
            generated.norm_ratio += f64::from(size / positive_size);
            generated.hard.extend(hard);
        }
        generated
    }

    /// Losses and gradients. `hard` are the block's generated negatives.
    fn losses(
        &self,
        arithmetic: &dyn Arithmetic,
        params: &Params,
        plan: &Plan,
        hard: Option<&[f32]>,
    ) -> Result<Loss, SamplerError> {
        let (rows, batch) = (self.rows(plan.dim), plan.rows as f64);
        let mut loss = self.bpr(params, plan, hard)?;
        if let Some(contrast) = arithmetic.contrast(&rows, params, params.cl_weight / batch) {
            add(&mut loss.positives, &contrast.positives);
            loss.contrastive = Some(contrast.loss);
            loss.shared = Some(contrast.negatives);
        }
        if plan.diffuse {
            // The denoiser's own optimiser minimises the loss as it is; no table sees it.
            let own = params.variant == Variant::Trained;
            let weight = if own { 1.0 } else { params.diffusion_weight };
            let wanted = Wanted { clean: !own, weights: plan.trainable };
            let diffusion = arithmetic.diffusion(&rows, params, weight / batch, wanted);
            let back = diffusion.clean.iter().map(|value| value / plan.scale);
            loss.positives.iter_mut().zip(back).for_each(|(sum, value)| *sum += value);
            loss.diffusion = Some(diffusion.loss);
            loss.denoiser = diffusion.weights;
        }
        Ok(loss)
    }

    /// Bayesian personalised ranking against the uniform negatives, with a share of the generated ones mixed in.
    fn bpr(&self, params: &Params, plan: &Plan, hard: Option<&[f32]>) -> Result<Loss, SamplerError> {
        let dim = plan.dim;
        let rows = self.users.len() / dim;
        let shares = match hard {
            Some(_) => self.draws.shares(rows, plan.beta, params.mix.min)?,
            None => vec![0.0; rows],
        };
        let mut mixed = self.negatives.clone();
        if let Some(hard) = hard {
            for ((mixed, hard), share) in mixed.chunks_exact_mut(dim).zip(hard.chunks_exact(dim)).zip(&shares) {
                mixed.iter_mut().zip(hard).for_each(|(mixed, hard)| *mixed = share * hard + (1.0 - share) * *mixed);
            }
        }
        let [mut users, mut positives, mut negatives] = [(); 3].map(|()| vec![0.0; rows * dim]);
        let gradients =
            users.chunks_exact_mut(dim).zip(positives.chunks_exact_mut(dim)).zip(negatives.chunks_exact_mut(dim));
        let mut total = 0.0;
        for (row, ((to_user, to_positive), to_negative)) in gradients.enumerate() {
            let [user, positive, mixed] = [&self.users, &self.positives, &mixed].map(|rows| &rows[row * dim..][..dim]);
            total += bpr::pair(user, positive, mixed, 1.0 / plan.rows as f64, to_user, to_positive, to_negative);
            to_negative.iter_mut().for_each(|value| *value *= 1.0 - shares[row]);
        }
        Ok(Loss {
            bpr: total,
            contrastive: None,
            diffusion: None,
            users,
            positives,
            negatives,
            shared: None,
            denoiser: Vec::new(),
        })
    }
}

impl Sampler for Cnsdiff {
    fn step(&mut self, step: &Step) -> Result<Outcome, SamplerError> {
        let plan = self.plan(step);
        let mut arithmetic = self.arithmetic();
        let Self { params, schedule, starts, .. } = self;
        let chain = Chain { schedule, starts, full: params.variant == Variant::AsReleased };
        let blocks: Vec<Range<usize>> =
            (0..plan.rows).step_by(BLOCK).map(|start| start..plan.rows.min(start + BLOCK)).collect();
        let shares = |arithmetic: &dyn Arithmetic| blocks.iter().map(|_| arithmetic.share()).collect::<Vec<_>>();

        let generated: Vec<(Block, Option<Generated>)> = shares(&*arithmetic)
            .into_par_iter()
            .zip(&blocks)
            .enumerate()
            .map(|(index, (arithmetic, range))| {
                let block = Block::new(step, index, range.clone(), plan.scale);
                let generated = plan.generate.then(|| block.generate(&*arithmetic, params, &chain, &plan));
                (block, generated)
            })
            .collect();
        let mut outcome = Outcome::default();
        let hard: Vec<&Generated> = generated.iter().filter_map(|(_, generated)| generated.as_ref()).collect();
        if !hard.is_empty() {
            outcome.diagnostics = describe(&hard, plan.rows);
        }
        let uniform = plan.contrast.then(|| {
            let concat = |rows: Vec<&[f32]>| Unit::new(rows.concat(), plan.dim);
            let hard = (!hard.is_empty()).then(|| concat(hard.iter().map(|generated| &generated.hard[..]).collect()));
            let uniform = concat(generated.iter().map(|(block, _)| &block.negatives[..]).collect());
            arithmetic.compare(hard.as_ref(), &uniform);
            uniform
        });

        let losses: Vec<Result<Loss, SamplerError>> = shares(&*arithmetic)
            .into_par_iter()
            .zip(&generated)
            .map(|(arithmetic, (block, generated))| {
                block.losses(&*arithmetic, params, &plan, generated.as_ref().map(|generated| &generated.hard[..]))
            })
            .collect();
        let losses = losses.into_iter().collect::<Result<Vec<Loss>, SamplerError>>()?;
        if plan.trainable {
            let mut gradient = vec![0.0; self.weights.len()];
            losses.iter().for_each(|loss| add(&mut gradient, &loss.denoiser));
            self.adam.step(&mut self.weights, &gradient);
        }
        collect(&mut outcome, losses, &plan, uniform.as_ref());
        Ok(outcome)
    }

    fn parameters(&self) -> usize {
        let trainable = self.params.generate && self.params.variant != Variant::AsReleased;
        if trainable { self.weights.len() } else { 0 }
    }

    fn state(&self) -> Learnt {
        let vectors = vec![self.weights.clone(), self.adam.first.to_vec(), self.adam.second.to_vec()];
        Learnt { steps: self.adam.steps, vectors }
    }

    fn restore(&mut self, learnt: Learnt) -> bool {
        let Ok([weights, first, second]) = <[Vec<f32>; 3]>::try_from(learnt.vectors) else { return false };
        if [&weights, &first, &second].iter().any(|part| part.len() != self.weights.len()) {
            return false;
        }
        self.weights = weights;
        self.adam.first.copy_from_slice(&first);
        self.adam.second.copy_from_slice(&second);
        self.adam.steps = learnt.steps;
        true
    }
}

/// Sums the blocks, in order. `uniform` are the negatives of the contrastive loss.
fn collect(outcome: &mut Outcome, losses: Vec<Loss>, plan: &Plan, uniform: Option<&Unit>) {
    let sum =
        |part: fn(&Loss) -> Option<f64>| losses.iter().map(part).sum::<Option<f64>>().map(|sum| sum / plan.rows as f64);
    let parts = [
        ("bpr", sum(|loss| Some(loss.bpr))),
        ("contrastive", sum(|loss| loss.contrastive)),
        ("diffusion", sum(|loss| loss.diffusion)),
    ];
    outcome.parts.extend(parts.into_iter().filter_map(|(name, value)| Some((name, value?))));
    for loss in &losses {
        outcome.user.extend(&loss.users);
        outcome.positive.extend(&loss.positives);
        outcome.negative.extend(&loss.negatives);
    }
    if let Some(uniform) = uniform {
        let parts: Vec<&[f32]> = losses.iter().filter_map(|loss| loss.shared.as_deref()).collect();
        outcome.negative.par_chunks_mut(plan.dim).enumerate().for_each(|(row, negative)| {
            let mut gradient = vec![0.0; plan.dim];
            parts.iter().for_each(|part| add(&mut gradient, &part[row * plan.dim..][..plan.dim]));
            uniform.pull_back(row, &mut gradient);
            add(negative, &gradient);
        });
    }
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
