//! One step of a training with gradients: what the pieces say to each other.

use super::config::{Config, Gradient, ScoreForm};
use super::cosine::Norms;
use crate::method::backbone::{self, Backbone};
use crate::method::loss::{self, Loss, LossRows};
use crate::method::optim::Update;
use crate::method::sampler::{self, Negatives, Sampler, SamplerOutcome, StepGradient};
use crate::method::{
    Batch, Device, Gathered, Histories, MethodError, Nodes, Pooling, RowGradient, Setup, Step, Summands, TrainingData,
    Vectors,
};

/// The pieces of a training at work.
pub struct Pieces<'a> {
    gradient: &'a Gradient,
    data: &'a TrainingData,
    pub backbone: Box<dyn Backbone + 'a>,
    pub sampler: Option<Box<dyn Sampler + 'a>>,
    loss: Box<dyn Loss + 'a>,
    rule: crate::method::optim::Rule,
    /// Hops of a row, the mean of which is scored; 1 where the row is what is scored.
    hops: usize,
    pub vectors: Vectors,
    norms: Norms,
    /// Memory of a step.
    candidates: Vec<u32>,
    marks: Vec<bool>,
    step_gradient: StepGradient,
}

impl<'a> Pieces<'a> {
    pub fn new(
        config: &Config,
        gradient: &'a Gradient,
        data: &'a TrainingData,
        device: Device,
    ) -> Result<Self, MethodError> {
        let rule = gradient.optimizer.rule();
        let traits = gradient.backbone.traits();
        let setup = Setup {
            data,
            seed: config.seed,
            dim: gradient.dim,
            by_hops: gradient.by_hops(),
            hops: traits.hops,
            pooling: traits.pooling,
            negatives: gradient.negatives,
            log_q: gradient.loss.traits().log_q,
            rule: rule.clone(),
            device,
        };
        let backbone = backbone::start_backbone(&gradient.backbone, &setup)?;
        // Sampler and loss see the vectors as the backbone makes them, which may be wider than its tables.
        let dim = if setup.by_hops { setup.dim } else { backbone.width() };
        let setup = Setup { dim, ..setup };
        let sampler = gradient.sampler.as_ref().map(|sampler| sampler::start_sampler(sampler, &setup)).transpose()?;
        let loss = loss::start_loss(&gradient.loss, &setup)?;
        let (users, items) = (data.graph.n_users, data.graph.n_items);
        Ok(Self {
            gradient,
            data,
            hops: if setup.by_hops && traits.pooling == Pooling::Mean { traits.hops.max(1) } else { 1 },
            vectors: Vectors::new(users, items, backbone.width()),
            backbone,
            sampler,
            loss,
            rule,
            norms: Norms::default(),
            candidates: Vec::new(),
            marks: vec![false; users + items],
            step_gradient: StepGradient::default(),
        })
    }

    /// Width that scores are taken over.
    fn width(&self) -> usize {
        self.vectors.width / self.hops
    }

    /// One step of the optimiser. Answers parts of the loss, diagnostics, and the penalty, by name.
    pub fn step(&mut self, batch: &Batch) -> Result<Vec<(&'static str, f64)>, MethodError> {
        let users = self.data.graph.n_users;
        self.candidates.clear();
        if let Some(sampler) = &mut self.sampler {
            sampler.propose(batch, &mut self.candidates)?;
        }
        self.mark(batch, true);
        let everything = self.sampler.as_ref().is_some_and(|sampler| sampler.reads_all_items());
        let read = if everything { Nodes::All } else { Nodes::Marked(&self.marks) };
        self.backbone.forward(batch, read, &mut self.vectors)?;
        let cosine = self.gradient.score == ScoreForm::Cosine;
        if cosine {
            let (of_users, of_items) = read.split_at(users);
            let of_users = batch.sequences.is_empty().then_some(of_users);
            self.norms.divide(&mut self.vectors, of_users, of_items);
        }

        let per_row = self.candidates.len() / batch.len().max(1);
        let step = Step { batch: *batch, vectors: &self.vectors, candidates: &self.candidates, per_row };
        let negatives = self.sampler.as_mut().map(|sampler| sampler.choose(&step)).transpose()?;
        let mut values = evaluate(&mut *self.loss, &step, negatives.as_ref(), self.hops, &mut self.step_gradient)?;
        let outcome = match &mut self.sampler {
            Some(sampler) => sampler.after(&step, &mut self.step_gradient)?,
            None => SamplerOutcome::default(),
        };
        let SamplerOutcome { terms, diagnostics, mut items } = outcome;
        values.extend(terms);
        values.extend(self.backbone.own_terms(batch)?);
        values.extend(diagnostics);

        let StepGradient { queries, positives, negatives: of_negatives } = &mut self.step_gradient;
        // Where the gradient of the negatives goes: to the items that were chosen.
        let chosen: Option<&[u32]> = match &negatives {
            Some(Negatives::Candidates { .. }) => Some(&self.candidates),
            Some(Negatives::Items { ids, .. }) => Some(ids),
            Some(Negatives::Vectors(_)) | None => None,
        };
        if cosine {
            self.norms.pull_back_queries(&self.vectors, batch.queries, queries);
            self.norms.pull_back_items(&self.vectors, batch.positives, positives);
            if let Some(ids) = chosen {
                self.norms.pull_back_items(&self.vectors, ids, of_negatives);
            }
            items.iter_mut().for_each(|(ids, values)| self.norms.pull_back_items(&self.vectors, ids, values));
        }
        let mut of_items = vec![Summands { ids: batch.positives, values: positives }];
        of_items.extend(chosen.map(|ids| Summands { ids, values: of_negatives }));
        of_items.extend(items.iter().map(|(ids, values)| Summands { ids, values }));
        let row_gradient = RowGradient { queries: Summands { ids: batch.queries, values: queries }, items: &of_items };
        // The gradient lies among the nodes that were read, but it may be in few of many proposed ones.
        let few = matches!(negatives, Some(Negatives::Items { .. }));
        let mut gradient_marks = Vec::new();
        if few {
            gradient_marks.resize(self.marks.len(), false);
            batch.users.iter().for_each(|&user| gradient_marks[user as usize] = true);
            let ids = of_items.iter().flat_map(|summands| summands.ids);
            ids.for_each(|&item| gradient_marks[users + item as usize] = true);
        }
        let nodes = Nodes::Marked(if few { &gradient_marks } else { &self.marks });
        self.backbone.backward(&row_gradient, nodes)?;

        let reg = &self.gradient.reg;
        // The positives, and the first list of negatives.
        let penalised: Vec<&[u32]> = of_items.iter().take(2).map(|summands| summands.ids).collect();
        values.push(("reg", self.backbone.regularise(reg, batch.users, &penalised, self.gradient.batch_size)));
        self.update(batch);
        self.mark(batch, false);
        Ok(values)
    }

    /// Marks the nodes that are proposed, or takes the marks away.
    fn mark(&mut self, batch: &Batch, mark: bool) {
        let (users, items) = self.marks.split_at_mut(self.data.graph.n_users);
        batch.users.iter().for_each(|&user| users[user as usize] = mark);
        batch.positives.iter().chain(&self.candidates).for_each(|&item| items[item as usize] = mark);
    }

    fn update(&mut self, batch: &Batch) {
        let mut trained = vec![self.backbone.parameters()];
        trained.extend(self.sampler.as_mut().and_then(|sampler| sampler.parameters()));
        let most = self.gradient.optimizer.clip_norm;
        let scale = if most > 0.0 {
            let norm = trained.iter().map(|parameters| parameters.squared_gradient()).sum::<f64>().sqrt();
            if norm > most { (most / norm) as f32 } else { 1.0 }
        } else {
            1.0
        };
        let update = Update { rule: &self.rule, lr: batch.lr, step: batch.step + 1, scale };
        trained.into_iter().for_each(|parameters| parameters.update(&update));
    }

    /// The vectors that items are ranked by.
    pub fn encode_all(&mut self, histories: &Histories) -> Result<(), MethodError> {
        self.backbone.encode_all(histories, &mut self.vectors)?;
        if self.gradient.score == ScoreForm::Cosine {
            self.norms.divide(&mut self.vectors, None, Nodes::All);
        }
        Ok(())
    }

    /// The vectors that items are ranked by, as they are scored: hops pooled.
    pub fn scored(&self) -> Vectors {
        if self.hops == 1 {
            return self.vectors.clone();
        }
        let pool = |rows: &[f32]| {
            let mut pooled = Vec::with_capacity(rows.len() / self.hops);
            rows.chunks_exact(self.vectors.width).for_each(|row| pool(row, self.hops, &mut pooled));
            crate::kernel::Aligned::from(&pooled[..])
        };
        let Vectors { queries, items, .. } = &self.vectors;
        Vectors { width: self.width(), queries: pool(queries), items: pool(items) }
    }
}

/// Appends the mean over the hops of a row.
fn pool(row: &[f32], hops: usize, pooled: &mut Vec<f32>) {
    let width = row.len() / hops;
    pooled.extend((0..width).map(|column| {
        let sum: f32 = (0..hops).map(|hop| row[hop * width + column]).sum();
        sum / hops as f32
    }));
}

/// From a gradient with respect to means over hops to that with respect to the hops.
fn unpool(gradient: &[f32], width: usize, hops: usize) -> Vec<f32> {
    let share = 1.0 / hops as f32;
    let rows = gradient.chunks_exact(width);
    rows.flat_map(|row| (0..hops).flat_map(move |_| row.iter().map(move |value| value * share))).collect()
}

/// The loss of a step and its gradient.
fn evaluate(
    loss: &mut dyn Loss,
    step: &Step,
    negatives: Option<&Negatives>,
    hops: usize,
    gradient: &mut StepGradient,
) -> Result<Vec<(&'static str, f64)>, MethodError> {
    let Step { batch, vectors, .. } = step;
    let all = |matrix, ids| Gathered { matrix, width: vectors.width, ids: Some(ids) };
    let (queries, positives) = (all(&vectors.queries, batch.queries), all(&vectors.items, batch.positives));
    let width = vectors.width / hops;
    let (of_negatives, log_q) = match negatives {
        Some(Negatives::Candidates { log_q }) => (all(&vectors.items, step.candidates), log_q.as_deref()),
        Some(Negatives::Items { ids, log_q }) => (all(&vectors.items, &ids[..]), log_q.as_deref()),
        Some(Negatives::Vectors(rows)) => (Gathered::all(rows, width), None),
        None => (Gathered::all(&[], width), None),
    };
    let rows = LossRows {
        width,
        per_row: of_negatives.len() / batch.len().max(1),
        queries,
        positives,
        negatives: of_negatives,
        log_q,
        users: batch.users,
        items: batch.positives,
    };
    if hops == 1 {
        return loss.evaluate(&rows, gradient);
    }
    let pooled = |rows: &Gathered| {
        let mut pooled = Vec::with_capacity(rows.len() * width);
        (0..rows.len()).for_each(|row| pool(rows.row(row), hops, &mut pooled));
        pooled
    };
    let (queries, positives) = (pooled(&queries), pooled(&positives));
    let rows =
        LossRows { queries: Gathered::all(&queries, width), positives: Gathered::all(&positives, width), ..rows };
    let values = loss.evaluate(&rows, gradient)?;
    gradient.queries = unpool(&gradient.queries, width, hops);
    gradient.positives = unpool(&gradient.positives, width, hops);
    Ok(values)
}
