use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use super::{Backbone, BackboneMethod, BackboneTraits, Numbers, Unit};
use crate::method::backend::torch::adapter::{Adapter, Module, Pass, Queries};
use crate::method::backend::torch::tensor::{index, matrix};
use crate::method::backend::torch::tensors::Tensors;
use crate::method::params::NamedTensor;
use crate::method::{Method, MethodError, Mistake, Setup, xavier};

#[cfg(test)]
mod tests;

/// Added to the variance by every normalisation.
const EPS: f64 = 1e-8;

/// The dense layers of a block, each from width to width.
const LAYERS: [&str; 6] = ["query", "key", "value", "output", "hidden", "forward"];

/// The normalisations of a block.
const NORMS: [&str; 2] = ["attention_norm", "forward_norm"];

/// SASRec: causal self-attention over the history of a user. The vector at a position is scored against the items that may
/// come next.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SasRec {
    /// Items of a history at most, the latest ones: `N`.
    #[schemars(range(min = 1, max = 4_096))]
    pub length: usize,
    /// Number of blocks, each of attention and a feed-forward network.
    #[schemars(range(min = 1, max = 64))]
    pub blocks: usize,
    /// Heads of the attention, among which the width is divided.
    #[schemars(range(min = 1, max = 256))]
    pub heads: usize,
    /// Dropout on the input, on the weights of the attention and on both layers of the feed-forward network.
    #[schemars(range(min = 0, max = 1))]
    pub dropout: f64,
    pub padding: Padding,
}

/// Where histories shorter than `length` are filled up. Histories that fill it have the same vectors either way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// Before the first item: places count from the last item, and padding takes its share of the attention, as in the code
    /// of SASRec and RealHNS.
    #[default]
    Left,
    /// After the last item: places count from the first item, and padding is not seen, as in SELFRec.
    Right,
}

impl Default for SasRec {
    fn default() -> Self {
        Self { length: 50, blocks: 2, heads: 1, dropout: 0.2, padding: Padding::Left }
    }
}

impl Method for SasRec {
    const NAME: &'static str = "sasrec";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Causal self-attention over the history of a user, whose state at a position is scored against \
                               what may come next.";
    const SOURCE: &'static str = "Kang & McAuley, SASRec, ICDM 2018; the block as in SELFRec and RealHNS: the query is \
                                  normalised and is what the attention is added to, keys and values are not, and padding is \
                                  no masked key but a zero vector. Ours: all matrices start Xavier uniform (pmixer and RealHNS: \
                                  Xavier normal; SELFRec: PyTorch's defaults but for the tables), biases at 0, and padding has \
                                  no trained row.";

    fn check(&self) -> Result<(), Mistake> {
        for (key, value) in [("length", self.length), ("blocks", self.blocks), ("heads", self.heads)] {
            Mistake::unless(value > 0, &[key], "must be at least 1")?;
        }
        Mistake::unless(
            (0.0..1.0).contains(&self.dropout),
            &["dropout"],
            format!("{} is not in 0 <= p < 1", self.dropout),
        )
    }
}

impl BackboneMethod for SasRec {
    fn traits(&self) -> BackboneTraits {
        let [length, blocks, heads] = [self.length, self.blocks, self.heads].map(|size| size as u64);
        // What the gradient needs of each block, and what else there is at a time, as measured.
        let kept = |each: u64, meanwhile: u64| blocks.saturating_mul(each).saturating_add(meanwhile);
        BackboneTraits {
            unit: Unit::Sequence { length: self.length },
            libtorch: true,
            heads: self.heads,
            numbers: Numbers {
                per_row: heads.saturating_mul(length).saturating_mul(kept(3, 2)),
                per_row_and_width: kept(15, 10),
                per_width_squared: blocks.saturating_mul(LAYERS.len() as u64),
                ..Numbers::default()
            },
            ..BackboneTraits::default()
        }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
        Ok(Box::new(Adapter::new(Encoder { params: self, dim: setup.dim }, setup)?))
    }
}

/// The module: vectors of queries are states after the last block, those of items their table.
struct Encoder {
    params: SasRec,
    dim: usize,
}

/// Sequences as rows of a matrix `[B, columns]`, filled up with padding.
struct Padded {
    columns: usize,
    /// Item 0 stands for padding, too.
    items: Vec<u32>,
    /// 1 at items, 0 at padding.
    real: Vec<f32>,
    /// Where in the matrix, taken as one row after the other, the items of each sequence lie.
    places: Vec<Range<usize>>,
}

impl Padded {
    fn new(sequences: &[&[u32]], padding: Padding, length: usize) -> Self {
        let columns = match padding {
            Padding::Left => length,
            // Nothing sees the padding behind it: that of the longest sequence can be left out.
            Padding::Right => sequences.iter().map(|sequence| sequence.len()).max().unwrap_or(0).max(1),
        };
        let count = sequences.len() * columns;
        let mut padded = Self { columns, items: vec![0; count], real: vec![0.0; count], places: Vec::new() };
        for (row, sequence) in sequences.iter().enumerate() {
            let before = if padding == Padding::Left { columns - sequence.len() } else { 0 };
            let first = row * columns + before;
            let places = first..first + sequence.len();
            padded.items[places.clone()].copy_from_slice(sequence);
            padded.real[places.clone()].fill(1.0);
            padded.places.push(places);
        }
        padded
    }
}

impl Encoder {
    /// The states `[B * columns, d]` at all places; those at padding are no states of anything.
    fn states(&self, tensors: &Tensors, pass: &Pass, padded: &Padded) -> Tensor {
        let (columns, dim) = (padded.columns as i64, self.dim as i64);
        let shape = [-1, columns, dim];
        let real = matrix(&padded.real, padded.columns, pass.device).unsqueeze(-1);
        // Unlike the gradient of a gather, that of an embedding has one order of summation on a GPU.
        let items = Tensor::embedding(tensors.get("items"), &index(&padded.items, pass.device), -1, false, false);
        let x = items.view(shape) * (self.dim as f64).sqrt() + tensors.get("positions").narrow(0, 0, columns);
        let mut x = pass.dropout(&x, self.params.dropout) * &real;
        let future = Tensor::full([columns, columns].as_slice(), f64::NEG_INFINITY, (Kind::Float, pass.device)).triu(1);
        for number in 0..self.params.blocks {
            let block = Block { encoder: self, tensors, pass, number };
            let queries = block.norm("attention_norm", &x);
            x = &queries + block.attention(&queries, &x, &future);
            x = block.norm("forward_norm", &x);
            x = (&x + block.feed_forward(&x)) * &real;
        }
        normalised(tensors, "norm", &x).view([-1, dim])
    }
}

/// A block in a pass.
struct Block<'a> {
    encoder: &'a Encoder,
    tensors: &'a Tensors,
    pass: &'a Pass<'a>,
    number: usize,
}

impl Block<'_> {
    /// `softmax(Q K' / sqrt(d / heads)) V` over the places up to that of each query, `[B, columns, d]`.
    fn attention(&self, queries: &Tensor, x: &Tensor, future: &Tensor) -> Tensor {
        let heads = self.encoder.params.heads;
        let width = (self.encoder.dim / heads) as i64;
        let columns = x.size()[1];
        let split = |x: Tensor| x.view([-1, columns, heads as i64, width]).transpose(1, 2);
        let queries = split(self.layer("query", queries)) / (width as f64).sqrt();
        let (keys, values) = (split(self.layer("key", x)), split(self.layer("value", x)));
        let weights = (queries.matmul(&keys.transpose(-2, -1)) + future).softmax(-1, Kind::Float);
        let mixed = self.dropout(&weights).matmul(&values).transpose(1, 2);
        self.layer("output", &mixed.reshape(x.size().as_slice()))
    }

    /// Two layers with a rectifier between them.
    fn feed_forward(&self, x: &Tensor) -> Tensor {
        let hidden = self.dropout(&self.layer("hidden", x)).relu();
        self.dropout(&self.layer("forward", &hidden))
    }

    fn layer(&self, name: &str, x: &Tensor) -> Tensor {
        let [weight, bias] = ["weight", "bias"].map(|part| self.tensors.get(&in_block(self.number, name, part)));
        x.linear(weight, Some(bias))
    }

    fn norm(&self, name: &str, x: &Tensor) -> Tensor {
        normalised(self.tensors, &format!("{}.{name}", self.number), x)
    }

    fn dropout(&self, x: &Tensor) -> Tensor {
        self.pass.dropout(x, self.encoder.params.dropout)
    }
}

/// The name of a tensor of a layer.
fn in_block(number: usize, layer: &str, part: &str) -> String {
    format!("{number}.{layer}.{part}")
}

/// Rows with mean 0 and variance 1, then stretched and shifted.
fn normalised(tensors: &Tensors, name: &str, x: &Tensor) -> Tensor {
    let [scale, shift] = ["scale", "shift"].map(|part| tensors.get(&format!("{name}.{part}")));
    let width = [x.size().last().copied().unwrap_or_default()];
    x.layer_norm(width.as_slice(), Some(scale), Some(shift), EPS, false)
}

impl Module for Encoder {
    fn width(&self) -> usize {
        self.dim
    }

    fn history(&self) -> Option<usize> {
        Some(self.params.length)
    }

    fn parameters(&self, setup: &Setup) -> Vec<NamedTensor> {
        let dim = self.dim;
        let random = |name: String, rows: usize| NamedTensor {
            shape: vec![rows, dim],
            values: xavier(setup.seed, &name, rows, dim),
            name,
        };
        let constant = |name: String, value: f32| NamedTensor { name, shape: vec![dim], values: vec![value; dim] };
        let norm = |name: &str| [constant(format!("{name}.scale"), 1.0), constant(format!("{name}.shift"), 0.0)];
        let tables = [("items", setup.data.graph.n_items), ("positions", self.params.length)];
        let mut tensors: Vec<NamedTensor> = tables.map(|(name, rows)| random(name.into(), rows)).into();
        for number in 0..self.params.blocks {
            for layer in LAYERS {
                tensors.push(random(in_block(number, layer, "weight"), dim));
                tensors.push(constant(in_block(number, layer, "bias"), 0.0));
            }
            tensors.extend(NORMS.iter().flat_map(|name| norm(&format!("{number}.{name}"))));
        }
        tensors.extend(norm("norm"));
        tensors
    }

    fn encode(&self, tensors: &Tensors, pass: &Pass, queries: Queries) -> (Tensor, Tensor) {
        let states = |sequences| {
            let padded = Padded::new(sequences, self.params.padding, self.params.length);
            (self.states(tensors, pass, &padded), padded.places)
        };
        let at = |states: Tensor, places: Vec<u32>| states.index_select(0, &index(&places, pass.device));
        let queries = match queries {
            Queries::Positions(sequences) => {
                let (states, places) = states(sequences);
                at(states, places.into_iter().flatten().map(|place| place as u32).collect())
            }
            Queries::Ends(sequences) => {
                let (states, places) = states(sequences);
                // Of an empty history any state does, and counts as zero.
                let known: Vec<f32> = places.iter().map(|places| if places.is_empty() { 0.0 } else { 1.0 }).collect();
                let last = places.iter().map(|places| places.end.saturating_sub(1) as u32);
                at(states, last.collect()) * matrix(&known, 1, pass.device)
            }
            Queries::Users => panic!("queries of a backbone of sequences are sequences"),
        };
        (queries, tensors.get("items").shallow_clone())
    }
}
