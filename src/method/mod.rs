//! Methods: what can be trained or fitted, each in one file and on one line of a list.
//!
//! A training is put together from a [`Backbone`] (vectors of queries and items), a [`Sampler`] (what the positives are
//! compared with) and a [`Loss`]; a [`Recommender`] needs no gradient. Any legal combination works: the training loop knows
//! the traits alone. A step goes
//!
//! ```text
//! sampler.propose -> backbone.forward -> sampler.choose -> loss.evaluate -> sampler.after -> backbone.backward
//!                                                             -> regularisation -> optimiser
//! ```
//!
//! and what passes between them are rows of vectors and their gradients, as plain `f32` slices. How rows are computed (by
//! kernels on the processor, or by libtorch on any device) is a matter of [`backend`].

pub mod backbone;
pub mod backend;
#[cfg(test)]
pub mod conformance;
pub mod data;
mod init;
pub mod loss;
pub mod optim;
pub mod params;
pub mod recommender;
mod reference;
mod regularisation;
pub mod rows;
pub mod sampler;
mod shorthand;
pub mod spec;

pub use backbone::{BACKBONES, Backbone, Pooling, Unit};
pub use backend::Device;
pub use data::{Histories, Sequences, TrainingData};
pub use init::{xavier, xavier_tables};
pub use loss::{LOSSES, Loss};
pub use optim::{Optimizer, Schedule};
pub use params::{NamedTensor, Parameters};
pub use recommender::{RECOMMENDERS, Recommender};
pub use reference::reference;
pub use regularisation::{PenaltyForm, Regularisation};
pub use rows::{Gathered, Nodes, RowGradient, Summands, Vectors};
pub use sampler::{SAMPLERS, Sampler};
pub use shorthand::{deserialize as read_choice, schema as choice_schema};
pub use spec::{Choice, Entry, Method, MethodError, Mistake};

use rayon::prelude::*;

use optim::Rule;

/// Rows of a batch that one parallel task takes at least.
const ROWS: usize = 64;

/// What a piece is made for.
#[derive(Clone)]
pub struct Setup<'a> {
    pub data: &'a TrainingData,
    /// Everything random follows from it.
    pub seed: u64,
    /// Width of the trained vectors; for samplers and losses that of the vectors that they see, or of one of their hops.
    pub dim: usize,
    /// Whether rows are to be all hops one after the other, whatever is scored of them, because the sampler mixes hops.
    pub by_hops: bool,
    /// Hops of the backbone, and what is scored of them.
    pub hops: usize,
    pub pooling: Pooling,
    /// Negatives per positive.
    pub negatives: usize,
    /// Whether the loss takes account of the probabilities with which negatives were drawn.
    pub log_q: bool,
    pub rule: Rule,
    pub device: Device,
}

impl<'a> Setup<'a> {
    /// For vectors of this width, pooled, with one negative per positive; on the processor, with the default optimiser.
    pub fn new(data: &'a TrainingData, seed: u64, dim: usize) -> Self {
        Self {
            data,
            seed,
            dim,
            by_hops: false,
            hops: 1,
            pooling: Pooling::default(),
            negatives: 1,
            log_q: false,
            rule: Rule::default(),
            device: Device::Cpu,
        }
    }
}

/// One training step before anything of it is computed: its queries and their positives.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub seed: u64,
    /// Epochs done before this one.
    pub epoch: usize,
    /// Epochs that the training may take.
    pub epochs: usize,
    /// Number of the step since the start of training.
    pub step: u64,
    /// Learning rate of the step.
    pub lr: f64,
    /// The user of each row.
    pub users: &'a [u32],
    /// Where the query vector of each row lies among [`Vectors::queries`]: at its user, or at its own number where queries are
    /// positions of sequences.
    pub queries: &'a [u32],
    /// The positive item of each row.
    pub positives: &'a [u32],
    /// For sequences: the users whose sequences these are. Their rows stand in this order, a row for each position.
    pub sequences: &'a [u32],
}

impl<'a> Batch<'a> {
    /// Pairs of users and positives, in the first epoch of one.
    pub fn of_pairs(seed: u64, step: u64, users: &'a [u32], positives: &'a [u32]) -> Self {
        Self { seed, epoch: 0, epochs: 1, step, lr: 1e-3, users, queries: users, positives, sequences: &[] }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
    }
}

/// One training step once its vectors are known.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    pub batch: Batch<'a>,
    /// Those of the batch and of the proposed items; other rows hold anything.
    pub vectors: &'a Vectors,
    /// What the sampler proposed, row by row.
    pub candidates: &'a [u32],
    /// How many for each row.
    pub per_row: usize,
}

impl<'a> Step<'a> {
    pub fn query(&self, row: usize) -> &'a [f32] {
        self.vectors.query(self.batch.queries[row])
    }

    pub fn positive(&self, row: usize) -> &'a [f32] {
        self.vectors.item(self.batch.positives[row])
    }

    pub fn item(&self, item: u32) -> &'a [f32] {
        self.vectors.item(item)
    }

    /// The candidates of a row.
    pub fn candidates_of(&self, row: usize) -> &'a [u32] {
        &self.candidates[row * self.per_row..][..self.per_row]
    }

    /// Of every `group` candidates of a row the one with the highest score, the first of equal ones; side by side over rows.
    pub fn pick(&self, group: usize, score: impl Fn(usize, u32) -> f32 + Sync) -> Vec<u32> {
        let best = |row: usize, candidates: &[u32]| {
            let scored = candidates.iter().map(|&item| (score(row, item), item));
            scored.reduce(|best, one| if one.0 > best.0 { one } else { best }).map_or(0, |(_, item)| item)
        };
        let rows = (0..self.batch.len()).into_par_iter().with_min_len(ROWS);
        rows.flat_map_iter(|row| self.candidates_of(row).chunks(group).map(move |group| best(row, group))).collect()
    }
}
