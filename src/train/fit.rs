//! The training loop: shuffled mini-batches, one optimiser step each, evaluation and choice of the best epoch.
//!
//! Everything random is drawn by seed, purpose and position, so the loop can stop after any epoch, go on from a
//! checkpoint, and end with the same bits.

use std::ops::ControlFlow;

use rand::seq::SliceRandom;
use tch::Device;

use super::batch::Batch;
use super::candidates::Candidates;
use super::checkpoint;
use super::config::{Config, Mask};
use super::rank::{RankError, Ranking, Scored, recommend};
use super::select::{Criterion, Select};
use crate::data::{Graph, Interactions};
use crate::kernel::Aligned;
use crate::metric::{MetricError, Relevance, evaluate};
use crate::model::{Adam, Encoder, Layout, Nodes, xavier_tables};
use crate::rng;
use crate::sampler::{Learnt, Outcome, Sampler, SamplerError, Step, Uniform};

/// What a training learns from and is chosen by.
pub struct Data<'a> {
    /// All users and items, and the training pairs.
    pub train: &'a Graph,
    /// The validation part.
    pub valid: &'a Interactions,
    /// The test set of `select: test_oracle`.
    pub oracle: Option<&'a Interactions>,
    /// What is ranked, for the choice of the epoch as for the recommendations.
    pub candidates: &'a Candidates,
}

/// A named value after an epoch, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub epoch: usize,
    pub measure: String,
    pub value: f64,
}

/// The end of an epoch.
pub struct EpochEnd<'a> {
    /// Epochs done.
    pub done: usize,
    /// Epochs at most.
    pub total: usize,
    /// What was measured in it.
    pub points: &'a [Point],
}

/// Follows a training.
pub trait Watch {
    /// After each epoch. `checkpoint` gives the state as bytes for [`fit`] to go on from; break stops the training.
    fn epoch(&mut self, end: &EpochEnd, checkpoint: &dyn Fn() -> Vec<u8>) -> ControlFlow<()>;
}

/// A trained model.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// Encoded vectors `[U + I, d]`, users first.
    pub encoded: Vec<f32>,
    /// For each user the best items, best first.
    pub recommendations: Vec<Vec<Scored>>,
    pub curve: Vec<Point>,
    /// The epoch whose tables were used, counted from 1, and the epochs done.
    pub best_epoch: usize,
    pub epochs: usize,
    /// Trained numbers in tables and sampler.
    pub parameters: usize,
}

/// Why a training failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Sampler(#[from] SamplerError),
    #[error(transparent)]
    Rank(#[from] RankError),
    #[error(transparent)]
    Measure(#[from] MetricError),
    #[error(
        "there are {pairs} training pairs, not one batch of {batch_size}: lower `batch_size`, or write `drop_last: false`"
    )]
    NoBatch { pairs: usize, batch_size: usize },
    #[error(
        "`select: {rule}` has nothing to choose the best epoch by: in none of its interactions would the item be ranked \
         for the user; `select: last` needs none"
    )]
    NothingToSelectBy { rule: &'static str },
    #[error("`{part}` is {value} in epoch {epoch}: training diverged, a smaller learning rate may help")]
    Diverged { part: String, value: f64, epoch: usize },
    #[error("stopped after epoch {epoch}")]
    Stopped { epoch: usize },
}

/// Everything that changes from epoch to epoch.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct State {
    /// Epochs done.
    pub epoch: usize,
    /// Evaluations since the best.
    pub since_best: usize,
    pub tables: Vec<f32>,
    pub adam_steps: u64,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    pub learnt: Learnt,
    pub best: Option<Best>,
    pub curve: Vec<Point>,
}

/// The best epoch so far.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Best {
    pub epoch: usize,
    /// In the order of the criterion's metrics.
    pub values: Vec<f64>,
    pub tables: Vec<f32>,
}

/// Trains in the current rayon pool, with products on `device`, from a checkpoint if `resume` is a whole one of this
/// configuration. The result is the same either way, and for any number of threads.
pub fn fit(
    config: &Config,
    data: &Data,
    device: Device,
    resume: Option<&[u8]>,
    watch: &mut dyn Watch,
) -> Result<Model, TrainError> {
    // Parallelism is over fixed blocks; libtorch's own would split sums by the number of threads.
    tch::set_num_threads(1);
    let mut training = Training::new(config, data, device)?;
    if let Some(state) = resume.and_then(checkpoint::decode) {
        training.restore(state);
    }
    while !training.finished() {
        let from = training.curve.len();
        training.epoch()?;
        let end = EpochEnd { done: training.done, total: config.epochs, points: &training.curve[from..] };
        if watch.epoch(&end, &|| checkpoint::encode(&training.state())).is_break() {
            return Err(TrainError::Stopped { epoch: training.done });
        }
    }
    training.model()
}

struct Training<'a> {
    config: &'a Config,
    graph: &'a Graph,
    valid: Graph,
    candidates: &'a Candidates,
    selection: Option<Selection>,
    uniform: Uniform<'a>,
    pairs: Vec<(u32, u32)>,
    device: Device,
    encoder: Box<dyn Encoder + 'a>,
    sampler: Box<dyn Sampler>,
    tables: Aligned,
    adam: Adam,
    /// With respect to the tables.
    gradient: Aligned,
    /// Row-major.
    encoded: Aligned,
    batch: Batch,
    done: usize,
    since_best: usize,
    best: Option<Best>,
    curve: Vec<Point>,
}

/// How the best epoch is found.
struct Selection {
    /// Prefix of the measures in the curve.
    name: &'static str,
    criterion: Criterion,
    relevance: Relevance,
    users: Vec<u32>,
    every: usize,
    patience: Option<usize>,
    /// Whether validation items are left out: in a test that the final recommendations will be held against.
    masks_valid: bool,
}

impl Selection {
    fn new(config: &Config, data: &Data) -> Result<Option<Self>, TrainError> {
        let select = &config.select;
        let Some((rule, measure, every)) = select.evaluation() else { return Ok(None) };
        let (name, part, masks_valid) = match select {
            Select::TestOracle { .. } => ("oracle", data.oracle, config.mask == Mask::TrainValid),
            Select::ValidIid { .. } | Select::Last {} => ("valid", Some(data.valid), false),
        };
        // What cannot be ranked is not asked for.
        let mut relevance = Relevance::new(data.train.n_users, part.into_iter().flat_map(pairs));
        relevance.remove(edges(data.train));
        if masks_valid {
            relevance.remove(pairs(data.valid));
        }
        relevance.retain(|item| data.candidates.contains(item));
        let users: Vec<u32> = relevance.users().collect();
        if users.is_empty() {
            return Err(TrainError::NothingToSelectBy { rule });
        }
        let criterion = Criterion::parse(measure)?;
        Ok(Some(Self { name, criterion, relevance, users, every, patience: select.patience(), masks_valid }))
    }
}

impl<'a> Training<'a> {
    fn new(config: &'a Config, data: &Data<'a>, device: Device) -> Result<Self, TrainError> {
        let graph = data.train;
        let pairs: Vec<_> = edges(graph).collect();
        if pairs.is_empty() || config.drop_last && pairs.len() < config.batch_size {
            return Err(TrainError::NoBatch { pairs: pairs.len(), batch_size: config.batch_size });
        }
        let layout = Layout { rows: graph.n_users + graph.n_items, dim: config.dim };
        let tables = layout.arrange(&xavier_tables(config.seed, graph.n_users, graph.n_items, config.dim));
        let length = tables.len();
        Ok(Self {
            config,
            graph,
            valid: Graph::with_size(graph.n_users, graph.n_items, data.valid),
            candidates: data.candidates,
            selection: Selection::new(config, data)?,
            uniform: Uniform::new(graph)?,
            pairs,
            encoder: config.backbone.encoder(graph, config.dim, device),
            sampler: config.sampler.sampler(config.seed, config.dim, &config.optimizer, device),
            device,
            tables,
            adam: Adam::new(config.optimizer.clone(), length),
            gradient: Aligned::zeros(length),
            encoded: Aligned::zeros(length),
            batch: Batch::new(graph.n_users, layout),
            done: 0,
            since_best: 0,
            best: None,
            curve: Vec::new(),
        })
    }

    fn state(&self) -> State {
        State {
            epoch: self.done,
            since_best: self.since_best,
            tables: self.tables.to_vec(),
            adam_steps: self.adam.steps,
            first: self.adam.first.to_vec(),
            second: self.adam.second.to_vec(),
            learnt: self.sampler.state(),
            best: self.best.clone(),
            curve: self.curve.clone(),
        }
    }

    /// Goes on from `state`; starts over if it is that of another configuration.
    fn restore(&mut self, state: State) {
        let length = self.tables.len();
        let vectors = [&state.tables, &state.first, &state.second];
        let fits = vectors.into_iter().chain(state.best.as_ref().map(|best| &best.tables)).all(|v| v.len() == length);
        if !fits || !self.sampler.restore(state.learnt) {
            return;
        }
        self.adam.steps = state.adam_steps;
        self.tables.copy_from_slice(&state.tables);
        self.adam.first.copy_from_slice(&state.first);
        self.adam.second.copy_from_slice(&state.second);
        self.done = state.epoch;
        self.since_best = state.since_best;
        self.best = state.best;
        self.curve = state.curve;
    }

    fn finished(&self) -> bool {
        let patience = self.selection.as_ref().and_then(|selection| selection.patience);
        self.done >= self.config.epochs || patience.is_some_and(|patience| self.since_best >= patience)
    }

    fn epoch(&mut self) -> Result<(), TrainError> {
        let Config { batch_size, seed, .. } = *self.config;
        let mut pairs = self.pairs.clone();
        pairs.shuffle(&mut rng::stream(seed, "batch order", self.done as u64));
        let steps = if self.config.drop_last { pairs.len() / batch_size } else { pairs.len().div_ceil(batch_size) };
        let mut means = Means::default();
        for (number, batch) in pairs.chunks(batch_size).take(steps).enumerate() {
            let index = (self.done * steps + number) as u64;
            let (outcome, reg) = self.step(batch, index)?;
            let parts = outcome.parts.iter().chain(&outcome.diagnostics);
            parts.chain(&[("reg", reg)]).for_each(|(name, value)| means.add(name, *value, batch.len()));
            self.sampler.recycle(outcome);
        }
        self.done += 1;
        for (name, value) in means.finish() {
            if !value.is_finite() {
                return Err(TrainError::Diverged { part: name, value, epoch: self.done });
            }
            self.point(name, value);
        }
        self.point("lr".into(), self.config.optimizer.lr);
        self.select()
    }

    fn point(&mut self, measure: String, value: f64) {
        self.curve.push(Point { epoch: self.done, measure, value });
    }

    /// One optimiser step. Returns what the sampler said, and the regularisation.
    fn step(&mut self, pairs: &[(u32, u32)], index: u64) -> Result<(Outcome, f64), TrainError> {
        let Config { dim, seed, epochs, batch_size, .. } = *self.config;
        let Self { batch, gradient, .. } = self;
        batch.fill(pairs, &self.uniform, seed, index);
        let read = if self.config.sampler.reads_all_items() { Nodes::All } else { batch.nodes() };
        self.encoder.encode(&self.tables, read, &mut self.encoded);
        let outcome = self.sampler.step(&Step {
            seed,
            epoch: self.done,
            epochs,
            index,
            users: &batch.users,
            positives: &batch.positives,
            negatives: &batch.negatives,
            encoded: &self.encoded,
            n_users: self.graph.n_users,
            dim,
        })?;
        self.encoder.pull_back(&batch.summands(&outcome), batch.nodes(), gradient);
        let penalty = batch.regularise(&self.config.reg, &self.tables, batch_size, gradient);
        self.adam.step(&mut self.tables, gradient);
        batch.clear();
        Ok((outcome, penalty))
    }

    /// Evaluates, when it is time to, and keeps the tables if they are the best.
    fn select(&mut self) -> Result<(), TrainError> {
        let last = self.done == self.config.epochs;
        let due = |selection: &&Selection| last || self.done.is_multiple_of(selection.every);
        let Some(selection) = self.selection.as_ref().filter(due) else { return Ok(()) };
        self.encoder.encode(&self.tables, Nodes::All, &mut self.encoded);
        let longest = selection.criterion.metrics().iter().map(|metric| metric.k()).max().unwrap_or(0);
        let ranked = self.rank(&selection.users, selection.masks_valid, longest)?;
        let mut lists = vec![Vec::new(); self.graph.n_users];
        for (&user, list) in selection.users.iter().zip(ranked) {
            lists[user as usize] = list.into_iter().map(|scored| scored.item).collect::<Vec<u32>>();
        }
        let metrics = selection.criterion.metrics();
        let evaluation = evaluate(metrics, &selection.relevance, |user| &lists[user as usize]);
        let values: Vec<f64> = (0..metrics.len()).map(|position| evaluation.mean(position)).collect();
        let named: Vec<_> = metrics
            .iter()
            .zip(&values)
            .map(|(metric, &value)| (format!("{}_{metric}", selection.name), value))
            .collect();
        if self.best.as_ref().is_none_or(|best| selection.criterion.better(&values, &best.values)) {
            self.best = Some(Best { epoch: self.done, values, tables: self.tables.to_vec() });
            self.since_best = 0;
        } else {
            self.since_best += 1;
        }
        named.into_iter().for_each(|(name, value)| self.point(name, value));
        Ok(())
    }

    /// The `k` best items of each of `users` by the vectors of now.
    fn rank(&self, users: &[u32], mask_valid: bool, k: usize) -> Result<Vec<Vec<Scored>>, RankError> {
        let masks: Vec<&Graph> = std::iter::once(self.graph).chain(mask_valid.then_some(&self.valid)).collect();
        let ranking = Ranking { candidates: self.candidates, masks: &masks, k };
        recommend(&self.encoded, self.graph.n_users, self.config.dim, users, &ranking, self.device)
    }

    fn model(mut self) -> Result<Model, TrainError> {
        let (best_epoch, tables) = match &self.best {
            Some(best) => (best.epoch, best.tables.as_slice()),
            None => (self.done, &*self.tables),
        };
        self.encoder.encode(tables, Nodes::All, &mut self.encoded);
        let users: Vec<u32> = (0..self.graph.n_users as u32).collect();
        let recommendations = self.rank(&users, self.config.mask == Mask::TrainValid, self.config.top_k)?;
        Ok(Model {
            encoded: self.encoded.to_vec(),
            recommendations,
            curve: self.curve,
            best_epoch,
            epochs: self.done,
            parameters: tables.len() + self.sampler.parameters(),
        })
    }
}

fn pairs(part: &Interactions) -> impl Iterator<Item = (u32, u32)> {
    part.user.iter().copied().zip(part.item.iter().copied())
}

/// The pairs of a graph, by user, then item.
fn edges(graph: &Graph) -> impl Iterator<Item = (u32, u32)> {
    (0..graph.n_users as u32).flat_map(|user| graph.items_of(user).iter().map(move |&item| (user, item)))
}

/// Means of named values over steps of different sizes, in the order of first mention.
#[derive(Default)]
struct Means {
    sums: Vec<(String, f64, f64)>,
}

impl Means {
    fn add(&mut self, name: &str, value: f64, rows: usize) {
        let weight = rows as f64;
        match self.sums.iter_mut().find(|(known, ..)| known == name) {
            Some((_, sum, weights)) => {
                *sum += value * weight;
                *weights += weight;
            }
            None => self.sums.push((name.to_owned(), value * weight, weight)),
        }
    }

    fn finish(self) -> impl Iterator<Item = (String, f64)> {
        self.sums.into_iter().map(|(name, sum, weights)| (name, sum / weights))
    }
}
