//! Negative samplers: what a training step's loss compares the positives with. A sampler sees the encoded vectors of
//! one step and answers with the loss and its gradient; it knows nothing of optimisers, epochs' order or files.
//!
//! To add a sampler: one file with a [`Sampler`], one variant of [`SamplerParams`].

#[cfg(feature = "torch")]
mod bpr;
pub mod cnsdiff;
#[cfg(feature = "torch")]
mod rns;
#[cfg(feature = "torch")]
mod tensor;
mod uniform;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use uniform::Uniform;

/// Where negatives come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum SamplerParams {
    /// One uniform negative per pair, among the items that the user has not interacted with in training.
    Uniform {},
    /// CNSDiff (arXiv 2508.07243): negatives synthesised by diffusion from the positive, mixed with uniform ones.
    Cnsdiff(Box<cnsdiff::Params>),
}

/// Why a sampler cannot work.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SamplerError {
    #[error(
        "user {user} has interacted with all {items} items, so no negative exists for it; drop such users before \
         training"
    )]
    NoNegative { user: u32, items: usize },
    #[error("the mixing ratio cannot be drawn from Beta({alpha}, {beta}): both must be positive")]
    Beta { alpha: f64, beta: f64 },
}

/// One training step as a sampler sees it.
pub struct Step<'a> {
    pub seed: u64,
    /// Epochs done before this one.
    pub epoch: usize,
    /// Epochs that the training may take.
    pub epochs: usize,
    /// Number of the step since the start of training.
    pub index: u64,
    /// Users, their positives and a uniform negative each: dense ids, equal lengths.
    pub users: &'a [u32],
    pub positives: &'a [u32],
    pub negatives: &'a [u32],
    /// Encoded vectors `[U + I, d]`, users first. Other rows than those of this step hold anything, unless the sampler
    /// [reads all items](SamplerParams::reads_all_items).
    pub encoded: &'a [f32],
    pub n_users: usize,
    pub dim: usize,
}

impl Step<'_> {
    /// The encoded vector of a user.
    pub fn user(&self, user: u32) -> &[f32] {
        &self.encoded[user as usize * self.dim..][..self.dim]
    }

    /// The encoded vector of an item.
    pub fn item(&self, item: u32) -> &[f32] {
        &self.encoded[(self.n_users + item as usize) * self.dim..][..self.dim]
    }
}

/// What a step comes to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Named parts of the loss, before weighting.
    pub parts: Vec<(&'static str, f64)>,
    /// Named diagnostics that are no part of the loss.
    pub diagnostics: Vec<(&'static str, f64)>,
    /// Gradient of the weighted loss with respect to the encoded rows of the step: each `[B, d]`.
    pub user: Vec<f32>,
    pub positive: Vec<f32>,
    pub negative: Vec<f32>,
}

/// What a sampler has learnt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learnt {
    /// Updates done.
    pub steps: u64,
    /// Parameters and moments, in the sampler's own order.
    pub vectors: Vec<Vec<f32>>,
}

/// A sampler at work. Its results must not depend on the number of threads.
pub trait Sampler: Send {
    fn step(&mut self, step: &Step) -> Result<Outcome, SamplerError>;

    /// Takes an outcome back that is no longer needed, to use its memory again.
    fn recycle(&mut self, _: Outcome) {}

    /// How many numbers it trains.
    fn parameters(&self) -> usize {
        0
    }

    /// Everything that it has learnt, for a checkpoint.
    fn state(&self) -> Learnt {
        Learnt::default()
    }

    /// Back to a [`Self::state`]; false, and nothing changed, if that does not fit.
    fn restore(&mut self, learnt: Learnt) -> bool {
        learnt == Learnt::default()
    }
}

impl SamplerParams {
    /// Whether a step reads the encoded vectors of all items, not only of those that it names.
    pub fn reads_all_items(&self) -> bool {
        matches!(self, Self::Cnsdiff(params) if params.space == cnsdiff::Space::RmsNormalised)
    }

    /// The sampler for vectors of width `dim`, computed on `device`. `optimizer` is the one of the tables.
    #[cfg(feature = "torch")]
    pub fn sampler(
        &self,
        seed: u64,
        dim: usize,
        optimizer: &crate::model::AdamParams,
        device: tch::Device,
    ) -> Box<dyn Sampler> {
        match self {
            Self::Uniform {} => Box::new(rns::Rns::default()),
            Self::Cnsdiff(params) => Box::new(cnsdiff::Cnsdiff::new((**params).clone(), seed, dim, optimizer, device)),
        }
    }
}
