//! Makes a backbone of a module of libtorch: vectors go out as rows, and a gradient `G` of rows `E_R` comes back as that of
//! `(E_R * G).sum()`. Only the rows of a step leave the device; tables, gradients and the optimiser stay there.

use std::cell::Cell;

use rand::RngExt;
use rayon::prelude::*;
use tch::{Device, Kind, Tensor};

use super::lightgcn::tables;
use super::propagation::{Propagation, Tape};
use super::tensor::{device, index, matrix, values};
use super::tensors::Tensors;
use crate::kernel::Aligned;
use crate::method::backbone::Backbone;
use crate::method::backend::fast::layout::{Layout, PlacedRows, PlacedSummands};
use crate::method::data::{Histories, Sequences, TrainingData};
use crate::method::params::{NamedTensor, Parameters};
use crate::method::rows::{Nodes, RowGradient, Summands, Vectors};
use crate::method::{Batch, MethodError, Regularisation, Setup};
use crate::rng;

/// Random numbers that are drawn by one parallel task.
const CHUNK: usize = 16_384;

/// A backbone as libtorch differentiates it.
pub trait Module: Send {
    /// Width of the vectors.
    fn width(&self) -> usize;

    /// Its parameters with their first values: the two tables alone, unless it has others. Those named `users` and `items` are
    /// the tables that the regularisation is of.
    fn parameters(&self, setup: &Setup) -> Vec<NamedTensor> {
        tables(setup)
    }

    /// The products that it makes with the graph, if it makes any.
    fn propagation<'a>(&self, _data: &'a TrainingData, _device: Device) -> Option<Propagation<'a>> {
        None
    }

    /// The items of a history at most; none where queries are users.
    fn history(&self) -> Option<usize> {
        None
    }

    /// The vectors of the queries and of all items, `[queries, width]` and `[I, width]`.
    fn encode(&self, tensors: &Tensors, pass: &Pass, queries: Queries) -> (Tensor, Tensor);

    /// Loss terms of its own, with their weights, for the step whose vectors these are.
    fn own_terms(
        &self,
        _tensors: &Tensors,
        _pass: &Pass,
        _batch: &Batch,
        _vectors: (&Tensor, &Tensor),
    ) -> Vec<(&'static str, f64, Tensor)> {
        Vec::new()
    }
}

/// Whose vectors are wanted.
#[derive(Clone, Copy)]
pub enum Queries<'a> {
    /// All users.
    Users,
    /// Each position of these sequences: the vector after each of its items, sequence by sequence.
    Positions(&'a [&'a [u32]]),
    /// The end of each of these sequences.
    Ends(&'a [&'a [u32]]),
}

/// One pass through a module.
pub struct Pass<'a> {
    /// Whether there are dropout and noise.
    pub training: bool,
    pub device: Device,
    seed: u64,
    step: u64,
    /// Random tensors drawn so far.
    drawn: Cell<u64>,
    propagation: Option<&'a Propagation<'a>>,
    tape: Tape,
}

impl<'a> Pass<'a> {
    fn new(training: bool, device: Device, seed: u64, step: u64, propagation: Option<&'a Propagation<'a>>) -> Self {
        Self { training, device, seed, step, drawn: Cell::new(0), propagation, tape: Tape::default() }
    }

    /// The product of [`Module::propagation`] with `x` `[U + I, columns]`. Answers what stands for `x` from here on, and the
    /// product.
    pub fn propagate(&self, x: Tensor) -> (Tensor, Tensor) {
        match self.propagation {
            Some(propagation) => self.tape.propagate(propagation, x),
            None => panic!("a module that propagates has a propagation"),
        }
    }

    /// Uniform numbers in `[0, 1)`, drawn on the processor, so that they are the same on every device.
    pub fn uniform(&self, rows: i64, columns: i64) -> Tensor {
        let number = self.drawn.replace(self.drawn.get() + 1);
        let (seed, step) = (self.seed, self.step);
        let mut values = vec![0.0f32; (rows * columns) as usize];
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, values)| {
            let mut rng = rng::stream(seed, &format!("module {number}"), step << 24 | chunk as u64);
            values.fill_with(|| rng.random());
        });
        matrix(&values, columns as usize, self.device)
    }

    /// Each value with probability `1 - p`, divided by it, else 0; as it is where there is no dropout.
    pub fn dropout(&self, x: &Tensor, p: f64) -> Tensor {
        if !self.training || p == 0.0 {
            return x.shallow_clone();
        }
        let columns = x.size().last().copied().unwrap_or(1);
        let kept = self.uniform(x.numel() as i64 / columns.max(1), columns).ge(p).to_kind(Kind::Float);
        x * kept.view(x.size().as_slice()) / (1.0 - p)
    }
}

/// A module at work.
pub struct Adapter<'a, M> {
    module: M,
    tensors: Tensors,
    data: &'a TrainingData,
    propagation: Option<Propagation<'a>>,
    device: Device,
    seed: u64,
    /// The step under way.
    pending: Option<Pending>,
}

/// What a forward pass leaves for its gradient.
struct Pending {
    queries: Tensor,
    items: Tensor,
    /// Weighted sum of the module's own terms.
    own: Option<Tensor>,
    tape: Tape,
}

impl<'a, M: Module> Adapter<'a, M> {
    pub fn new(module: M, setup: &Setup<'a>) -> Result<Self, MethodError> {
        let device = device(setup.device);
        let tensors = Tensors::new(module.parameters(setup), &setup.rule, device);
        let propagation = module.propagation(setup.data, device);
        Ok(Self { module, tensors, data: setup.data, propagation, device, seed: setup.seed, pending: None })
    }

    /// The sequences of the batch without their last items, which are positives alone.
    fn sequences(&self, batch: &Batch, length: usize) -> Result<Vec<&'a [u32]>, MethodError> {
        let sequences = self.data.sequences()?;
        Ok(batch.sequences.iter().map(|&user| Sequences::positions(sequences.of(user), length).0).collect())
    }
}

/// Copies the rows at `ids` to the same rows of `out`.
fn take_out(rows: &Tensor, ids: &[u32], out: &mut [f32]) {
    let width = rows.size()[1] as usize;
    let taken = values(&rows.detach().index_select(0, &index(ids, rows.device())));
    for (&id, row) in ids.iter().zip(taken.chunks_exact(width)) {
        out[id as usize * width..][..width].copy_from_slice(row);
    }
}

/// The marked ones of `count` rows.
fn marked(nodes: Nodes, count: usize) -> Vec<u32> {
    (0..count as u32).filter(|&row| nodes.contains(row as usize)).collect()
}

/// Distinct rows, and the sums of the summands for them, `[rows, width]`.
fn summed(summands: &[Summands], count: usize, width: usize, device: Device) -> (Tensor, Tensor) {
    let mut named = vec![false; count];
    summands.iter().flat_map(|summands| summands.ids).for_each(|&id| named[id as usize] = true);
    let nodes = Nodes::Marked(&named);
    let layout = Layout { rows: count, dim: width };
    let mut sums = Aligned::zeros(count * width);
    let placed: Vec<PlacedSummands> = summands
        .iter()
        .map(|summands| PlacedSummands { rows: PlacedRows { first: 0, ids: summands.ids }, values: summands.values })
        .collect();
    let columns: Vec<_> = layout.columns().collect();
    sums.par_chunks_mut(layout.panel())
        .zip(columns)
        .for_each(|(panel, columns)| layout.sum(&placed, nodes, columns, panel));
    let ids = marked(nodes, count);
    let rows: Vec<f32> =
        ids.iter().flat_map(|&id| layout.row(id as usize).flat_map(|(_, places)| sums[places].to_vec())).collect();
    (index(&ids, device), matrix(&rows, width, device))
}

impl<M: Module> Backbone for Adapter<'_, M> {
    fn width(&self) -> usize {
        self.module.width()
    }

    fn parameters(&mut self) -> &mut dyn Parameters {
        &mut self.tensors
    }

    fn forward(&mut self, batch: &Batch, nodes: Nodes, vectors: &mut Vectors) -> Result<(), MethodError> {
        let graph = &self.data.graph;
        let pass = Pass::new(true, self.device, self.seed, batch.step, self.propagation.as_ref());
        let (of_users, of_items) = nodes.split_at(graph.n_users);
        let (queries, items) = match self.module.history() {
            None => {
                let encoded = self.module.encode(&self.tensors, &pass, Queries::Users);
                take_out(&encoded.0, &marked(of_users, graph.n_users), &mut vectors.queries);
                encoded
            }
            Some(length) => {
                let sequences = self.sequences(batch, length)?;
                let encoded = self.module.encode(&self.tensors, &pass, Queries::Positions(&sequences));
                vectors.queries = Aligned::from(&values(&encoded.0)[..]);
                encoded
            }
        };
        take_out(&items, &marked(of_items, graph.n_items), &mut vectors.items);
        self.pending = Some(Pending { queries, items, own: None, tape: pass.tape });
        Ok(())
    }

    fn own_terms(&mut self, batch: &Batch) -> Result<Vec<(&'static str, f64)>, MethodError> {
        let Some(pending) = &mut self.pending else { return Ok(Vec::new()) };
        let mut pass = Pass::new(true, self.device, self.seed, batch.step, self.propagation.as_ref());
        // Its draws are others than those of the forward pass, its products follow on the same tape.
        pass.drawn.set(1 << 20);
        pass.tape = std::mem::take(&mut pending.tape);
        let vectors = (&pending.queries, &pending.items);
        let terms = self.module.own_terms(&self.tensors, &pass, batch, vectors);
        pending.tape = pass.tape;
        let mut told = Vec::new();
        for (name, weight, term) in terms {
            told.push((name, term.double_value(&[])));
            let weighted = term * weight;
            pending.own = Some(match pending.own.take() {
                Some(sum) => sum + weighted,
                None => weighted,
            });
        }
        Ok(told)
    }

    fn backward(&mut self, gradient: &RowGradient, _: Nodes) -> Result<(), MethodError> {
        let Some(Pending { queries, items, own, tape }) = self.pending.take() else { return Ok(()) };
        self.tensors.clear_gradient();
        let width = self.module.width();
        let part = |rows: &Tensor, summands: &[Summands]| {
            let (at, sums) = summed(summands, rows.size()[0] as usize, width, self.device);
            (rows.index_select(0, &at) * sums).sum(Kind::Float)
        };
        let mut root = part(&queries, &[gradient.queries]) + part(&items, gradient.items);
        if let Some(own) = own {
            root += own;
        }
        tape.backward(self.propagation.as_ref(), &root);
        Ok(())
    }

    fn regularise(&mut self, penalty: &Regularisation, users: &[u32], items: &[&[u32]], batch_size: usize) -> f64 {
        let of_users = self.tensors.regularise(penalty, "users", users, batch_size);
        let of_items = items.iter().map(|ids| self.tensors.regularise(penalty, "items", ids, batch_size));
        of_users + of_items.sum::<f64>()
    }

    fn encode_all(&mut self, histories: &Histories, vectors: &mut Vectors) -> Result<(), MethodError> {
        let pass = Pass::new(false, self.device, self.seed, 0, self.propagation.as_ref());
        let (queries, items) = match self.module.history() {
            None => tch::no_grad(|| self.module.encode(&self.tensors, &pass, Queries::Users)),
            Some(length) => {
                let sequences = histories.sequences()?;
                let users = 0..self.data.graph.n_users as u32;
                let of_users = users.map(|user| sequences.of(user));
                let ends: Vec<&[u32]> = of_users.map(|items| &items[items.len().saturating_sub(length)..]).collect();
                let parts: Vec<(Tensor, Tensor)> = ends
                    .chunks((POSITIONS / length.max(1)).max(1))
                    .map(|ends| tch::no_grad(|| self.module.encode(&self.tensors, &pass, Queries::Ends(ends))))
                    .collect();
                let queries = Tensor::cat(&parts.iter().map(|part| &part.0).collect::<Vec<_>>(), 0);
                (queries, parts[0].1.shallow_clone())
            }
        };
        vectors.queries = Aligned::from(&values(&queries)[..]);
        vectors.items = Aligned::from(&values(&items)[..]);
        Ok(())
    }
}

/// Positions of the histories that are encoded together.
const POSITIONS: usize = 1 << 14;
