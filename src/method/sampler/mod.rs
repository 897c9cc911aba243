//! Negative samplers: what a step's loss compares the positives with. A sampler speaks twice: before the vectors are known
//! it proposes items, and once they are known it chooses what the loss sees.

pub mod cnsdiff;
mod dns;
mod mixgcf;
mod popularity;
#[cfg(test)]
#[path = "../../../docs/samples/soft_dns.rs"]
mod soft_dns;
#[cfg(test)]
mod testing;
pub mod uniform;

use super::backbone::Numbers;
use super::params::{NamedTensor, Parameters};
use super::spec::{Method, MethodError, methods};
use super::{Batch, Setup, Step};

pub use cnsdiff::Cnsdiff;
pub use uniform::{Uniform, UniformDraws};

/// What is asked of a sampler before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SamplerTraits {
    /// Items that it proposes for each negative.
    pub candidates: usize,
    /// Whether it can give more than one negative per positive.
    pub many: bool,
    /// Whether it mixes hops: vectors are then those of all hops, one after the other.
    pub by_hops: bool,
    /// Whether what it makes are vectors and no items: losses that need items do not go with it.
    pub makes_vectors: bool,
    /// Whether it knows with which probability its negatives were drawn.
    pub log_q: bool,
    /// Names of the loss terms that it adds to those of the loss.
    pub terms: &'static [&'static str],
    pub numbers: Numbers,
}

/// What the loss compares the positives with: for each row as many negatives as the training asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Negatives {
    /// The proposed items, all of them.
    Candidates {
        /// For each the logarithm of the probability with which it was proposed.
        log_q: Option<Vec<f32>>,
    },
    /// Some items among the proposed ones.
    Items { ids: Vec<u32>, log_q: Option<Vec<f32>> },
    /// Vectors of the sampler's own making, row-major, as wide as scores are taken over. Their gradient goes to
    /// [`Sampler::after`].
    Vectors(Vec<f32>),
}

/// The gradient of a step's loss with respect to its rows, row-major.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepGradient {
    pub queries: Vec<f32>,
    pub positives: Vec<f32>,
    /// With respect to the negatives.
    pub negatives: Vec<f32>,
}

/// What a sampler adds to a step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SamplerOutcome {
    /// Named parts of the loss, before weighting.
    pub terms: Vec<(&'static str, f64)>,
    /// Named diagnostics that are no part of the loss.
    pub diagnostics: Vec<(&'static str, f64)>,
    /// For [`Negatives::Vectors`]: the items that these were made of, where their gradients go. The regularisation takes the
    /// first of these lists for the negatives of the step.
    pub items: Vec<(Vec<u32>, Vec<f32>)>,
}

/// A sampler at work. Its results must not depend on the number of threads.
pub trait Sampler: Send {
    /// Proposes items for each row, row by row, before their vectors are known.
    fn propose(&mut self, batch: &Batch, candidates: &mut Vec<u32>) -> Result<(), MethodError>;

    /// Whether the vectors of all items are needed, not only of those that are proposed.
    fn reads_all_items(&self) -> bool {
        false
    }

    /// Chooses the negatives, once the vectors of the batch and of the proposed items are known.
    fn choose(&mut self, _: &Step) -> Result<Negatives, MethodError> {
        Ok(Negatives::Candidates { log_q: None })
    }

    /// Terms of its own, and the update of what it learns by itself, once the loss is known. For [`Negatives::Vectors`] it says
    /// where their gradient goes; to the gradient of queries and positives it may add.
    fn after(&mut self, _: &Step, _: &mut StepGradient) -> Result<SamplerOutcome, MethodError> {
        Ok(SamplerOutcome::default())
    }

    /// What it trains with the optimiser of the training.
    fn parameters(&mut self) -> Option<&mut dyn Parameters> {
        None
    }

    /// How many numbers it trains.
    fn trained(&self) -> usize {
        0
    }

    /// Everything else that changes, for a checkpoint.
    fn state(&self) -> Vec<NamedTensor> {
        Vec::new()
    }

    /// Back to a [`Self::state`] among these tensors; false, and nothing changed, if it is not there.
    fn restore(&mut self, _: &[NamedTensor]) -> bool {
        true
    }
}

/// What makes a sampler.
pub trait SamplerMethod: Method {
    fn traits(&self) -> SamplerTraits;

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Sampler + 'a>, MethodError>;
}

methods! {
    /// The list of samplers.
    Samplers, "sampler", SamplerMethod -> Box<dyn Sampler + 'a>, traits SamplerTraits;
    /// All samplers.
    SAMPLERS;
    /// Makes the sampler of a training.
    start_sampler;
    Uniform,
    popularity::Popularity,
    dns::Dns,
    #[cfg(test)]
    soft_dns::SoftDns,
    mixgcf::MixGcf,
    Cnsdiff,
}
