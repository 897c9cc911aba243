//! Backbones: what makes the vectors of queries and items out of trained tensors.

mod lightgcn;
mod mf;
#[cfg(feature = "torch")]
mod ngcf;
#[cfg(all(test, feature = "torch"))]
#[path = "../../../docs/samples/one_layer.rs"]
mod one_layer;
#[cfg(feature = "torch")]
mod sasrec;
#[cfg(feature = "torch")]
mod simgcl;
#[cfg(feature = "torch")]
mod xsimgcl;

use super::data::Histories;
use super::params::Parameters;
use super::regularisation::Regularisation;
use super::rows::{Nodes, RowGradient, Vectors};
use super::spec::{Method, MethodError, methods};
use super::{Batch, Setup};

/// What a query is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unit {
    /// A user; a row of a batch is a training pair.
    #[default]
    Pair,
    /// A user's sequence up to some position; the rows of a batch are all positions of some sequences, the item that comes next
    /// is the positive.
    Sequence {
        /// Items of a history at most, the latest ones.
        length: usize,
    },
}

/// How a vector is made of its hops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pooling {
    #[default]
    Mean,
    Concatenation,
}

/// What is asked of a backbone before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BackboneTraits {
    pub unit: Unit,
    /// Whether it computes with libtorch also on the processor.
    pub libtorch: bool,
    /// Hops whose vectors can be had one by one, none if it has no hops.
    pub hops: usize,
    /// Width of a hop, where it is not that of the trained vectors: hops of several widths cannot be mixed.
    pub hop_width: Option<usize>,
    /// How a vector is made of its hops.
    pub pooling: Pooling,
    /// Heads that the width is divided among, 0 if it is not divided.
    pub heads: usize,
    /// Names of the loss terms that it adds to those of the loss.
    pub terms: &'static [&'static str],
    /// Trained numbers beside the two tables, and numbers that a step holds per node: for the estimate of memory.
    pub numbers: Numbers,
}

/// Sizes that memory is estimated by, as numbers of `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Numbers {
    /// Per user and item, times the width of the trained vectors, beside the table and the vectors.
    pub per_node: u64,
    /// Per user and item, whatever that width is.
    pub per_node_fixed: u64,
    /// Per row of a batch.
    pub per_row: u64,
    /// Per row of a batch, times the width of the trained vectors.
    pub per_row_and_width: u64,
    /// Trained, per square of the width: those of dense layers.
    pub per_width_squared: u64,
    /// Per two rows of a batch.
    pub per_pair_of_rows: u64,
}

/// A backbone at work. Its results must not depend on the number of threads.
pub trait Backbone: Send {
    /// Width of the vectors.
    fn width(&self) -> usize;

    fn parameters(&mut self) -> &mut dyn Parameters;

    /// Computes the vectors of a training step: those of its queries, and of the items among `nodes`. The rows of others may
    /// hold anything afterwards. Keeps what the gradient needs.
    fn forward(&mut self, batch: &Batch, nodes: Nodes, vectors: &mut Vectors) -> Result<(), MethodError>;

    /// Loss terms of its own for the step of the last [`Self::forward`], which [`Self::backward`] takes into account.
    fn own_terms(&mut self, _: &Batch) -> Result<Vec<(&'static str, f64)>, MethodError> {
        Ok(Vec::new())
    }

    /// Writes the gradient of the parameters, given that of the vectors of the last [`Self::forward`], all of which lie among
    /// `nodes`.
    fn backward(&mut self, gradient: &RowGradient, nodes: Nodes) -> Result<(), MethodError>;

    /// Adds the gradient of the penalty on the table rows of these users, and of each of these lists of items, repetitions
    /// included. Answers the penalty.
    fn regularise(&mut self, penalty: &Regularisation, users: &[u32], items: &[&[u32]], batch_size: usize) -> f64;

    /// Computes the vectors that items are ranked by: of each user after what is known of it, and of each item, without
    /// dropout or noise.
    fn encode_all(&mut self, histories: &Histories, vectors: &mut Vectors) -> Result<(), MethodError>;
}

/// What makes a backbone.
pub trait BackboneMethod: Method {
    fn traits(&self) -> BackboneTraits {
        BackboneTraits::default()
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError>;
}

methods! {
    /// The list of backbones.
    Backbones, "backbone", BackboneMethod -> Box<dyn Backbone + 'a>, traits BackboneTraits;
    /// All backbones.
    BACKBONES;
    /// Makes the backbone of a training.
    start_backbone;
    mf::Mf,
    lightgcn::LightGcn,
    #[cfg(all(test, feature = "torch"))]
    one_layer::OneLayer,
    #[cfg(feature = "torch")]
    ngcf::Ngcf,
    #[cfg(feature = "torch")]
    simgcl::SimGcl,
    #[cfg(feature = "torch")]
    xsimgcl::XSimGcl,
    #[cfg(feature = "torch")]
    sasrec::SasRec,
}
