//! One training step under CNSDiff, block by block: generate hard negatives and mix them with uniform ones; then, beside the
//! loss, the contrastive and the diffusion loss with their gradients, and the denoiser's update.

use std::ops::Range;

use rand::RngExt;
use rayon::prelude::*;

use super::arithmetic::{Arithmetic, Rows, Wanted};
use super::chain::Chain;
use super::draws::{Draws, beta_at};
use super::params::{Cnsdiff, Pick, Space, Variant};
use super::schedule::Schedule;
use super::shape::Shape;
use crate::kernel::{Unit, dot};
use crate::method::backend::{Device, fast, torch};
use crate::method::optim::{self, Optimizer, Rule, Update};
use crate::method::params::{NamedTensor, find, moment_names};
use crate::method::sampler::{Negatives, Sampler, SamplerOutcome, StepGradient, UniformDraws};
use crate::method::{Batch, MethodError, Setup, Step};

/// Rows per block: fixed, since blocks are computed in parallel and summed in order.
const BLOCK: usize = 256;

/// What the denoiser's parameters are called.
const DENOISER: &str = "denoiser";

/// CNSDiff at work.
pub struct Synthesis<'a> {
    params: Cnsdiff,
    uniform: UniformDraws<'a>,
    starts: Vec<usize>,
    schedule: Schedule,
    shape: Shape,
    /// The denoiser's parameters and their moments, flat.
    weights: Vec<f32>,
    moments: [Vec<f32>; 2],
    rule: Rule,
    /// Its own learning rate, where it has one.
    lr: Option<f64>,
    device: Device,
    /// The step under way.
    blocks: Vec<(Block, Option<Generated>)>,
}

/// What a step does at its epoch.
#[derive(Clone, Copy)]
struct Stage {
    /// Rows of the whole batch.
    rows: usize,
    width: usize,
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
    scale: f32,
}

/// Generated negatives of a block, and sums over its rows that describe them.
struct Generated {
    /// Row-major.
    hard: Vec<f32>,
    /// Their share in the mixture, by row.
    shares: Vec<f32>,
    /// Sum of the unit vectors.
    direction: Vec<f32>,
    cosine: f64,
    norm_ratio: f64,
}

/// Loss sums of a block, and gradients beside those of the loss.
#[derive(Default)]
struct Loss {
    contrastive: Option<f64>,
    diffusion: Option<f64>,
    /// With respect to the unit vectors of the uniform negatives of the whole batch.
    shared: Option<Vec<f32>>,
    denoiser: Vec<f32>,
}

impl<'a> Synthesis<'a> {
    pub fn new(params: Cnsdiff, setup: &Setup<'a>) -> Result<Self, MethodError> {
        let schedule = Schedule::new(&params.schedule);
        let shape = Shape::new(&params, setup.dim);
        let weights = shape.init(setup.seed);
        // Its own optimiser, but for `trained_joint`, which follows that of the tables.
        let own = params.variant == Variant::Trained;
        Ok(Self {
            uniform: UniformDraws::new(&setup.data.graph)?,
            starts: params.starts(),
            schedule,
            shape,
            moments: [(); 2].map(|()| vec![0.0; weights.len()]),
            weights,
            rule: if own { Optimizer::default().rule() } else { setup.rule.clone() },
            lr: own.then_some(params.denoiser.lr),
            params,
            device: setup.device,
            blocks: Vec::new(),
        })
    }

    fn stage(&self, step: &Step) -> Stage {
        let trainable = self.trained() > 0;
        let batch = &step.batch;
        Stage {
            rows: batch.len(),
            width: step.vectors.width,
            generate: self.params.generate && batch.epoch >= self.params.warmup(),
            contrast: self.params.cl_weight > 0.0,
            diffuse: trainable || self.params.generate && self.params.diffusion_weight > 0.0,
            trainable,
            scale: match self.params.space {
                Space::Raw => 1.0,
                Space::RmsNormalised => root_mean_square(&step.vectors.items) as f32,
            },
            beta: beta_at(self.params.mix.from, self.params.mix.to, batch.epoch, batch.epochs),
        }
    }

    fn arithmetic(&self) -> Result<Box<dyn Arithmetic>, MethodError> {
        let Self { shape, weights, schedule, params, .. } = self;
        match self.device {
            Device::Cpu => Ok(Box::new(fast::cnsdiff::Host::new(shape, weights, schedule, params.reweight))),
            device => torch::cnsdiff_arithmetic(shape, weights, schedule, params.reweight, device),
        }
    }
}

impl Block {
    fn new(step: &Step, index: usize, range: Range<usize>, scale: f32) -> Self {
        let positives: Vec<f32> = range.clone().flat_map(|row| step.positive(row)).copied().collect();
        Self {
            draws: Draws::new(step.batch.seed, step.batch.step, index),
            users: range.clone().flat_map(|row| step.query(row)).copied().collect(),
            negatives: range.flat_map(|row| step.item(step.candidates[row])).copied().collect(),
            clean: positives.iter().map(|value| value / scale).collect(),
            positives,
            scale,
        }
    }

    fn rows(&self, dim: usize) -> Rows<'_> {
        let Self { draws, users, positives, clean, .. } = self;
        Rows { draws, dim, users, positives, clean }
    }

    /// Hard negatives: the chosen candidate of each row.
    fn generate(
        &self,
        arithmetic: &dyn Arithmetic,
        params: &Cnsdiff,
        chain: &Chain,
        stage: &Stage,
    ) -> Result<Generated, MethodError> {
        let dim = stage.width;
        let candidates = arithmetic.candidates(&self.rows(dim), params, chain);
        let mut random = self.draws.stream("start choice");
        let rows = self.users.len() / dim;
        let mut generated = Generated {
            hard: Vec::with_capacity(self.users.len()),
            shares: self.draws.shares(rows, stage.beta, params.mix.min)?,
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
            let hard: Vec<f32> = candidate(chosen).iter().map(|value| value * stage.scale).collect();
            let norm = |row: &[f32]| dot(row, row).sqrt().max(1e-12);
            let (size, positive_size) = (norm(&hard), norm(positive));
            generated.direction.iter_mut().zip(&hard).for_each(|(sum, value)| *sum += value / size);
            generated.cosine += f64::from(dot(&hard, positive) / size / positive_size);
            generated.norm_ratio += f64::from(size / positive_size);
            generated.hard.extend(hard);
        }
        Ok(generated)
    }

    /// The uniform negatives with a share of the generated ones mixed in.
    fn mix(&self, generated: Option<&Generated>, dim: usize) -> Vec<f32> {
        let mut mixed = self.negatives.clone();
        if let Some(Generated { hard, shares, .. }) = generated {
            for ((mixed, hard), share) in mixed.chunks_exact_mut(dim).zip(hard.chunks_exact(dim)).zip(shares) {
                mixed.iter_mut().zip(hard).for_each(|(mixed, hard)| *mixed = share * hard + (1.0 - share) * *mixed);
            }
        }
        mixed
    }

    /// The losses beside that of the training. Adds to the gradient of the positives.
    fn losses(&self, arithmetic: &dyn Arithmetic, params: &Cnsdiff, stage: &Stage, to_positives: &mut [f32]) -> Loss {
        let (rows, batch) = (self.rows(stage.width), stage.rows as f64);
        let mut loss = Loss::default();
        if let Some(contrast) = arithmetic.contrast(&rows, params, params.cl_weight / batch) {
            add(to_positives, &contrast.positives);
            loss.contrastive = Some(contrast.loss);
            loss.shared = Some(contrast.negatives);
        }
        if stage.diffuse {
            // The denoiser's own optimiser minimises the loss as it is; no table sees it.
            let own = params.variant == Variant::Trained;
            let weight = if own { 1.0 } else { params.diffusion_weight };
            let wanted = Wanted { clean: !own, weights: stage.trainable };
            let diffusion = arithmetic.diffusion(&rows, params, weight / batch, wanted);
            let back = diffusion.clean.iter().map(|value| value / self.scale);
            to_positives.iter_mut().zip(back).for_each(|(sum, value)| *sum += value);
            loss.diffusion = Some(diffusion.loss);
            loss.denoiser = diffusion.weights;
        }
        loss
    }
}

impl Sampler for Synthesis<'_> {
    fn propose(&mut self, batch: &Batch, candidates: &mut Vec<u32>) -> Result<(), MethodError> {
        self.uniform.draw(batch, 1, candidates);
        Ok(())
    }

    fn reads_all_items(&self) -> bool {
        self.params.space == Space::RmsNormalised
    }

    fn choose(&mut self, step: &Step) -> Result<Negatives, MethodError> {
        let stage = self.stage(step);
        let arithmetic = self.arithmetic()?;
        let Self { params, schedule, starts, .. } = &*self;
        let chain = Chain { schedule, starts, full: params.variant == Variant::AsReleased };
        let ranges = (0..stage.rows).step_by(BLOCK).map(|start| start..stage.rows.min(start + BLOCK));
        let shares: Vec<(Box<dyn Arithmetic>, Range<usize>)> =
            ranges.map(|range| (arithmetic.share(), range)).collect();
        let blocks: Result<Vec<_>, MethodError> = shares
            .into_par_iter()
            .enumerate()
            .map(|(index, (arithmetic, range))| {
                let block = Block::new(step, index, range, stage.scale);
                let generate = || block.generate(&*arithmetic, params, &chain, &stage);
                let generated = stage.generate.then(generate).transpose()?;
                Ok((block, generated))
            })
            .collect();
        self.blocks = blocks?;
        if !stage.generate {
            return Ok(Negatives::Candidates { log_q: None });
        }
        let mix = |(block, generated): &(Block, Option<Generated>)| block.mix(generated.as_ref(), stage.width);
        Ok(Negatives::Vectors(self.blocks.par_iter().map(mix).collect::<Vec<_>>().concat()))
    }

    fn after(&mut self, step: &Step, gradient: &mut StepGradient) -> Result<SamplerOutcome, MethodError> {
        let stage = self.stage(step);
        let mut arithmetic = self.arithmetic()?;
        let blocks = std::mem::take(&mut self.blocks);
        let mut outcome = SamplerOutcome::default();
        let generated: Vec<&Generated> = blocks.iter().filter_map(|(_, generated)| generated.as_ref()).collect();
        if !generated.is_empty() {
            outcome.diagnostics = describe(&generated, stage.rows);
        }
        let uniform = stage.contrast.then(|| {
            let concat = |rows: Vec<&[f32]>| Unit::new(rows.concat(), stage.width);
            let hard = (!generated.is_empty())
                .then(|| concat(generated.iter().map(|generated| &generated.hard[..]).collect()));
            let uniform = concat(blocks.iter().map(|(block, _)| &block.negatives[..]).collect());
            arithmetic.compare(hard.as_ref(), &uniform);
            uniform
        });

        let StepGradient { positives, negatives, .. } = gradient;
        let shares: Vec<Box<dyn Arithmetic>> = blocks.iter().map(|_| arithmetic.share()).collect();
        let params = &self.params;
        let losses: Vec<Loss> = shares
            .into_par_iter()
            .zip(&blocks)
            .zip(positives.par_chunks_mut(BLOCK * stage.width).zip(negatives.par_chunks_mut(BLOCK * stage.width)))
            .map(|((arithmetic, (block, generated)), (to_positives, to_negatives))| {
                if let Some(Generated { shares, .. }) = generated {
                    for (to_negative, share) in to_negatives.chunks_exact_mut(stage.width).zip(shares) {
                        to_negative.iter_mut().for_each(|value| *value *= 1.0 - share);
                    }
                }
                block.losses(&*arithmetic, params, &stage, to_positives)
            })
            .collect();
        if stage.trainable {
            let mut denoiser = vec![0.0; self.weights.len()];
            losses.iter().for_each(|loss| add(&mut denoiser, &loss.denoiser));
            let Self { rule, lr, weights, moments: [first, second], .. } = self;
            let lr = lr.unwrap_or(step.batch.lr);
            let update = Update { rule, lr, step: step.batch.step + 1, scale: 1.0 };
            optim::apply(&update, weights, &denoiser, [first, second]);
        }
        if let Some(uniform) = &uniform {
            let parts: Vec<&[f32]> = losses.iter().filter_map(|loss| loss.shared.as_deref()).collect();
            negatives.par_chunks_mut(stage.width).enumerate().for_each(|(row, to_negative)| {
                let mut gradient = vec![0.0; stage.width];
                parts.iter().for_each(|part| add(&mut gradient, &part[row * stage.width..][..stage.width]));
                uniform.pull_back(row, &mut gradient);
                add(to_negative, &gradient);
            });
        }
        if stage.generate {
            outcome.items.push((step.candidates.to_vec(), std::mem::take(negatives)));
        }
        let mean = |part: fn(&Loss) -> Option<f64>| {
            losses.iter().map(part).sum::<Option<f64>>().map(|sum| sum / stage.rows as f64)
        };
        let terms = [("contrastive", mean(|loss| loss.contrastive)), ("diffusion", mean(|loss| loss.diffusion))];
        outcome.terms = terms.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        Ok(outcome)
    }

    fn trained(&self) -> usize {
        let trainable = self.params.generate && self.params.variant != Variant::AsReleased;
        if trainable { self.weights.len() } else { 0 }
    }

    fn state(&self) -> Vec<NamedTensor> {
        let [first, second] = moment_names(DENOISER);
        let named =
            |name: String, values: &[f32]| NamedTensor { name, shape: vec![values.len()], values: values.to_vec() };
        vec![named(DENOISER.to_owned(), &self.weights), named(first, &self.moments[0]), named(second, &self.moments[1])]
    }

    fn restore(&mut self, tensors: &[NamedTensor]) -> bool {
        let [first, second] = moment_names(DENOISER);
        let shape = [self.weights.len()];
        let found = [DENOISER, &first, &second].map(|name| find(tensors, name, &shape));
        let [Some(weights), Some(first), Some(second)] = found else { return false };
        self.weights = weights.to_vec();
        self.moments = [first.to_vec(), second.to_vec()];
        true
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
