//! The training loop: shuffled mini-batches, one optimiser step each, evaluation and choice of the best epoch.
//!
//! Everything random is drawn by seed, purpose and position, so the loop can stop after any epoch, go on from a
//! checkpoint, and end with the same bits.

use std::ops::ControlFlow;

use rand::seq::SliceRandom;

use super::candidates::Candidates;
use super::checkpoint::{self, Best, State};
use super::config::{Config, Gradient, Mask, Model};
use super::rank::{RankError, Ranking, Scored, Scorer, recommend, recommend_among};
use super::select::{Criterion, Select};
use super::step::Pieces;
use crate::data::{Graph, Interactions};
use crate::method::backend::torch;
use crate::method::recommender::start_recommender;
use crate::method::{
    Batch, Choice, Device, Histories, MethodError, NamedTensor, Sequences, Setup, TrainingData, Unit, Vectors,
};
use crate::metric::{MetricError, Relevance, evaluate};
use crate::rng;

/// What a training learns from and is chosen by.
pub struct Data<'a> {
    /// All users and items, and the training part.
    pub train: &'a TrainingData,
    /// The validation part.
    pub valid: &'a Interactions,
    /// The test set of `select: test_oracle`.
    pub oracle: Option<&'a Interactions>,
    /// What is ranked, for the choice of the epoch as for the recommendations.
    pub candidates: &'a Candidates,
    /// Which of them the recommendations rank for which user, where that differs from user to user.
    pub sets: Option<&'a Graph>,
}

/// A named value after an epoch, counted from 1.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
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
    fn epoch(&mut self, end: &EpochEnd, checkpoint: &mut dyn FnMut() -> Vec<u8>) -> ControlFlow<()>;
}

/// A trained model.
#[derive(Clone, Debug, PartialEq)]
pub struct Trained {
    /// What is scored; none where scores are no products of vectors.
    pub vectors: Option<Vectors>,
    /// For each user the best items, best first.
    pub recommendations: Vec<Vec<Scored>>,
    pub curve: Vec<Point>,
    /// The epoch whose model is used, counted from 1, and the epochs done; both 0 where there are none.
    pub best_epoch: usize,
    pub epochs: usize,
    /// Trained numbers.
    pub parameters: usize,
}

/// Why a training failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum TrainError {
    #[error(transparent)]
    Method(#[from] MethodError),
    #[error(transparent)]
    Rank(#[from] RankError),
    #[error(transparent)]
    Measure(#[from] MetricError),
    #[error(
        "there are {count} training {units}, not one batch of {batch_size}: lower `batch_size`, or write `drop_last: false`"
    )]
    NoBatch { count: usize, units: &'static str, batch_size: usize },
    #[error("no user has two training items, so no sequence has a position to learn from")]
    NoPosition,
    #[error(
        "`select: {rule}` has nothing to choose the best epoch by: in none of its interactions would the item be ranked \
         for the user; `select: last` needs none"
    )]
    NothingToSelectBy { rule: &'static str },
    #[error("`{part}` is {value} in epoch {epoch}: training diverged, a smaller learning rate may help")]
    Diverged { part: String, value: f64, epoch: usize },
    #[error("neither a backbone nor a recommender is chosen")]
    NoMethod,
    #[error("stopped after epoch {epoch}")]
    Stopped { epoch: usize },
}

/// Trains in the current rayon pool, on `device`, from a checkpoint if `resume` is a whole one of this configuration.
/// The result is the same either way, and for any number of threads.
pub fn fit(
    config: &Config,
    data: &Data,
    device: Device,
    resume: Option<&[u8]>,
    watch: &mut dyn Watch,
) -> Result<Trained, TrainError> {
    match &config.model {
        Model::Gradient(gradient) => train(config, gradient, data, device, resume, watch),
        Model::Recommender { method, .. } => fit_once(config, method, data),
        Model::Missing => Err(TrainError::NoMethod),
    }
}

fn train(
    config: &Config,
    gradient: &Gradient,
    data: &Data,
    device: Device,
    resume: Option<&[u8]>,
    watch: &mut dyn Watch,
) -> Result<Trained, TrainError> {
    torch::one_thread();
    let mut training = Training::new(config, gradient, data, device)?;
    if let Some(state) = resume.and_then(checkpoint::decode) {
        training.restore(state);
    }
    while !training.finished() {
        let from = training.progress.curve.len();
        training.epoch()?;
        let (epoch, points) = (training.progress.epoch, training.progress.curve[from..].to_vec());
        let end = EpochEnd { done: epoch, total: gradient.epochs, points: &points };
        if watch.epoch(&end, &mut || checkpoint::encode(training.state())).is_break() {
            return Err(TrainError::Stopped { epoch });
        }
    }
    training.model()
}

/// What needs no gradient.
fn fit_once(
    config: &Config,
    method: &Choice<crate::method::recommender::Recommenders>,
    data: &Data,
) -> Result<Trained, TrainError> {
    let setup = Setup::new(data.train, config.seed, 0);
    let recommender = start_recommender(method, &setup)?;
    let scorer = Scorer::Recommender { recommender: &*recommender, train: &data.train.graph };
    let recommendations = rank_everyone(config, data, &scorer)?;
    Ok(Trained { vectors: None, recommendations, curve: Vec::new(), best_epoch: 0, epochs: 0, parameters: 0 })
}

/// The recommendations of a model.
fn rank_everyone(config: &Config, data: &Data, scorer: &Scorer) -> Result<Vec<Vec<Scored>>, RankError> {
    let Graph { n_users, n_items, .. } = data.train.graph;
    let valid = Graph::with_size(n_users, n_items, data.valid);
    let hidden = (config.mask == Mask::TrainValid).then_some(&valid);
    let masks: Vec<&Graph> = std::iter::once(&data.train.graph).chain(hidden).collect();
    let users: Vec<u32> = (0..n_users as u32).collect();
    let ranking = Ranking { candidates: data.candidates, masks: &masks, k: config.top_k };
    match data.sets {
        Some(sets) => recommend_among(scorer, &users, &ranking, sets),
        None => recommend(scorer, &users, &ranking),
    }
}

struct Training<'a> {
    config: &'a Config,
    gradient: &'a Gradient,
    data: &'a Data<'a>,
    valid: Graph,
    selection: Option<Selection>,
    rows: RowSource<'a>,
    device: Device,
    pieces: Pieces<'a>,
    /// What changes from epoch to epoch, but for the tensors.
    progress: State,
}

/// What an epoch goes through.
enum RowSource<'a> {
    Pairs(Vec<(u32, u32)>),
    Sequences {
        sequences: &'a Sequences,
        /// Those with a position to learn from.
        users: Vec<u32>,
        length: usize,
    },
}

/// The rows of a step.
#[derive(Default)]
struct Rows {
    users: Vec<u32>,
    queries: Vec<u32>,
    positives: Vec<u32>,
    sequences: Vec<u32>,
}

impl Rows {
    fn of_pairs(pairs: &[(u32, u32)]) -> Self {
        let (users, positives): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
        Self { queries: users.clone(), users, positives, sequences: Vec::new() }
    }

    fn of_sequences(chosen: &[u32], sequences: &Sequences, length: usize) -> Self {
        let mut rows = Self { sequences: chosen.to_vec(), ..Self::default() };
        for &user in chosen {
            let (_, positives) = Sequences::positions(sequences.of(user), length);
            rows.users.extend(std::iter::repeat_n(user, positives.len()));
            rows.positives.extend(positives);
        }
        rows.queries = (0..rows.users.len() as u32).collect();
        rows
    }
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
    fn new(config: &Config, gradient: &Gradient, data: &Data) -> Result<Option<Self>, TrainError> {
        let select = &gradient.select;
        let Some((rule, measure, every)) = select.evaluation() else { return Ok(None) };
        let (name, part, masks_valid) = match select {
            Select::TestOracle { .. } => ("oracle", data.oracle, config.mask == Mask::TrainValid),
            Select::ValidIid { .. } | Select::Last {} => ("valid", Some(data.valid), false),
        };
        // What cannot be ranked is not asked for.
        let mut relevance = Relevance::new(data.train.graph.n_users, part.into_iter().flat_map(pairs));
        relevance.remove(edges(&data.train.graph));
        if masks_valid {
            relevance.remove(pairs(data.valid));
        }
        relevance.retain(|_, item| data.candidates.contains(item));
        let users: Vec<u32> = relevance.users().collect();
        if users.is_empty() {
            return Err(TrainError::NothingToSelectBy { rule });
        }
        let criterion = Criterion::parse(measure)?;
        Ok(Some(Self { name, criterion, relevance, users, every, patience: select.patience(), masks_valid }))
    }
}

impl<'a> Training<'a> {
    fn new(config: &'a Config, gradient: &'a Gradient, data: &'a Data<'a>, device: Device) -> Result<Self, TrainError> {
        let graph = &data.train.graph;
        let rows = match gradient.backbone.traits().unit {
            Unit::Pair => RowSource::Pairs(edges(graph).collect()),
            Unit::Sequence { length } => {
                let sequences = data.train.sequences()?;
                let users = (0..graph.n_users as u32).filter(|&user| sequences.of(user).len() > 1).collect();
                RowSource::Sequences { sequences, users, length }
            }
        };
        let (count, batch_size) = (rows.len(), gradient.batch_size);
        let units = match rows {
            RowSource::Pairs(_) => "pairs",
            RowSource::Sequences { .. } if count == 0 => return Err(TrainError::NoPosition),
            RowSource::Sequences { .. } => "sequences",
        };
        if count == 0 || gradient.drop_last && count < batch_size {
            return Err(TrainError::NoBatch { count, units, batch_size });
        }
        Ok(Self {
            config,
            gradient,
            data,
            valid: Graph::with_size(graph.n_users, graph.n_items, data.valid),
            selection: Selection::new(config, gradient, data)?,
            rows,
            device,
            pieces: Pieces::new(config, gradient, data.train, device)?,
            progress: State::default(),
        })
    }

    /// Everything that changes from epoch to epoch.
    fn state(&mut self) -> State {
        let Pieces { backbone, sampler, .. } = &mut self.pieces;
        let parameters = backbone.parameters();
        let (mut model, mut optimizer) = (parameters.values(), parameters.moments());
        let mut of_sampler = Vec::new();
        if let Some(sampler) = sampler {
            of_sampler = sampler.state();
            if let Some(parameters) = sampler.parameters() {
                of_sampler.extend(parameters.values());
                optimizer.extend(prefixed("sampler", parameters.moments()));
            }
        }
        model.extend(prefixed("sampler", of_sampler));
        State { tensors: model, moments: optimizer, ..self.progress.clone() }
    }

    /// Goes on from `state`; starts over if it is that of another configuration.
    fn restore(&mut self, state: State) {
        let Pieces { backbone, sampler, .. } = &mut self.pieces;
        let parameters = backbone.parameters();
        let before = (parameters.values(), parameters.moments());
        let mut fits = parameters.restore(&state.tensors, false) && parameters.restore(&state.moments, true);
        fits &= state.best.as_ref().is_none_or(|best| best.tensors.len() == before.0.len());
        if let Some(sampler) = sampler {
            let (of_sampler, moments) = (within("sampler", &state.tensors), within("sampler", &state.moments));
            fits = fits && sampler.restore(&of_sampler);
            if let Some(parameters) = sampler.parameters() {
                fits = fits && parameters.restore(&of_sampler, false) && parameters.restore(&moments, true);
            }
        }
        if fits {
            self.progress = State { tensors: Vec::new(), moments: Vec::new(), ..state };
        } else {
            let parameters = self.pieces.backbone.parameters();
            parameters.restore(&before.0, false);
            parameters.restore(&before.1, true);
        }
    }

    fn finished(&self) -> bool {
        let patience = self.selection.as_ref().and_then(|selection| selection.patience);
        self.progress.epoch >= self.gradient.epochs
            || patience.is_some_and(|patience| self.progress.since_best >= patience)
    }

    fn epoch(&mut self) -> Result<(), TrainError> {
        let Gradient { batch_size, drop_last, epochs, .. } = *self.gradient;
        let done = self.progress.epoch;
        let lr = self.gradient.optimizer.lr * self.gradient.schedule.factor(done, epochs);
        let mut order = rng::stream(self.config.seed, "batch order", done as u64);
        let units = self.rows.len();
        let steps = if drop_last { units / batch_size } else { units.div_ceil(batch_size) };
        let batches: Box<dyn Iterator<Item = Rows> + 'a> = match &self.rows {
            RowSource::Pairs(pairs) => {
                let mut pairs = pairs.clone();
                pairs.shuffle(&mut order);
                Box::new((0..steps).map(move |step| {
                    Rows::of_pairs(&pairs[step * batch_size..pairs.len().min((step + 1) * batch_size)])
                }))
            }
            RowSource::Sequences { sequences, users, length } => {
                let (sequences, length, mut users) = (*sequences, *length, users.clone());
                users.shuffle(&mut order);
                Box::new((0..steps).map(move |step| {
                    let chosen = &users[step * batch_size..users.len().min((step + 1) * batch_size)];
                    Rows::of_sequences(chosen, sequences, length)
                }))
            }
        };
        let mut means = Means::default();
        for (number, rows) in batches.enumerate() {
            let batch = Batch {
                seed: self.config.seed,
                epoch: done,
                epochs,
                step: (done * steps + number) as u64,
                lr,
                users: &rows.users,
                queries: &rows.queries,
                positives: &rows.positives,
                sequences: &rows.sequences,
            };
            let told = self.pieces.step(&batch)?;
            told.into_iter().for_each(|(name, value)| means.add(name, value, batch.len()));
        }
        self.progress.epoch += 1;
        for (name, value) in means.finish() {
            if !value.is_finite() {
                return Err(TrainError::Diverged { part: name, value, epoch: self.progress.epoch });
            }
            self.point(name, value);
        }
        self.point("lr".into(), lr);
        self.select()
    }

    fn point(&mut self, measure: String, value: f64) {
        self.progress.curve.push(Point { epoch: self.progress.epoch, measure, value });
    }

    /// Evaluates, when it is time to, and keeps the model if it is the best.
    fn select(&mut self) -> Result<(), TrainError> {
        let done = self.progress.epoch;
        let last = done == self.gradient.epochs;
        let due = |selection: &&Selection| last || done.is_multiple_of(selection.every);
        let Some(selection) = self.selection.as_ref().filter(due) else { return Ok(()) };
        let then = selection.masks_valid.then_some(self.data.valid);
        self.pieces.encode_all(&Histories { train: self.data.train, then })?;
        let longest = selection.criterion.metrics().iter().map(|metric| metric.k()).max().unwrap_or(0);
        let masks: Vec<&Graph> =
            std::iter::once(&self.data.train.graph).chain(selection.masks_valid.then_some(&self.valid)).collect();
        let ranking = Ranking { candidates: self.data.candidates, masks: &masks, k: longest };
        let scored = self.pieces.scored();
        let scorer = Scorer::Vectors { vectors: &scored, device: self.device };
        let ranked = recommend(&scorer, &selection.users, &ranking)?;
        let mut lists = vec![Vec::new(); self.data.train.graph.n_users];
        for (&user, list) in selection.users.iter().zip(ranked) {
            lists[user as usize] = list.into_iter().map(|scored| scored.item).collect::<Vec<u32>>();
        }
        let metrics = selection.criterion.metrics();
        let evaluation =
            evaluate(metrics, &selection.relevance, self.data.train.popularity(), |user| &lists[user as usize]);
        let values: Vec<f64> = (0..metrics.len()).map(|position| evaluation.mean(position)).collect();
        let named: Vec<_> = metrics
            .iter()
            .zip(&values)
            .map(|(metric, &value)| (format!("{}_{metric}", selection.name), value))
            .collect();
        if self.progress.best.as_ref().is_none_or(|best| selection.criterion.better(&values, &best.values)) {
            let tensors = self.pieces.backbone.parameters().values();
            self.progress.best = Some(Best { epoch: done, values, tensors });
            self.progress.since_best = 0;
        } else {
            self.progress.since_best += 1;
        }
        named.into_iter().for_each(|(name, value)| self.point(name, value));
        Ok(())
    }

    fn model(mut self) -> Result<Trained, TrainError> {
        let State { best, epoch: epochs, curve, .. } = std::mem::take(&mut self.progress);
        let best_epoch = best.as_ref().map_or(epochs, |best| best.epoch);
        if let Some(best) = best {
            self.pieces.backbone.parameters().restore(&best.tensors, false);
        }
        let then = (self.config.mask == Mask::TrainValid).then_some(self.data.valid);
        self.pieces.encode_all(&Histories { train: self.data.train, then })?;
        let vectors = self.pieces.scored();
        let scorer = Scorer::Vectors { vectors: &vectors, device: self.device };
        let recommendations = rank_everyone(self.config, self.data, &scorer)?;
        let Pieces { backbone, sampler, .. } = &mut self.pieces;
        let mut parameters = backbone.parameters().count();
        if let Some(sampler) = sampler {
            parameters += sampler.trained();
            parameters += sampler.parameters().map_or(0, |parameters| parameters.count());
        }
        Ok(Trained { vectors: Some(vectors), recommendations, curve, best_epoch, epochs, parameters })
    }
}

impl RowSource<'_> {
    /// Pairs, or sequences.
    fn len(&self) -> usize {
        match self {
            Self::Pairs(pairs) => pairs.len(),
            Self::Sequences { users, .. } => users.len(),
        }
    }
}

/// Tensors under a name of their own.
fn prefixed(prefix: &str, tensors: Vec<NamedTensor>) -> impl Iterator<Item = NamedTensor> {
    tensors.into_iter().map(move |tensor| NamedTensor { name: format!("{prefix}.{}", tensor.name), ..tensor })
}

/// Those with this prefix, without it.
fn within(prefix: &str, tensors: &[NamedTensor]) -> Vec<NamedTensor> {
    let own = |tensor: &NamedTensor| {
        let name = tensor.name.strip_prefix(prefix)?.strip_prefix('.')?.to_owned();
        Some(NamedTensor { name, ..tensor.clone() })
    };
    tensors.iter().filter_map(own).collect()
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
