//! Backbones: what turns the trainable embedding tables into the vectors that are scored, and how tables are made and
//! updated. Knows the graph and plain slices; nothing of losses.
//!
//! Tables are `[U + I, d]`, users first, and lie in memory as [`Layout`] says; encoded vectors are row-major. To add a
//! backbone: one file with an [`Encoder`], one variant of [`Backbone`].

mod adam;
mod init;
mod layout;
#[cfg(feature = "torch")]
mod lightgcn;
#[cfg(feature = "torch")]
mod mf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use adam::{Adam, AdamParams};
pub use init::xavier_tables;
pub use layout::{Layout, PANEL, Rows, Summands};

/// The model that maps tables to vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Backbone {
    /// Matrix factorisation: the tables themselves.
    Mf {},
    /// LightGCN (SIGIR 2020): the mean of the tables after 0 to `layers` propagations over the training graph.
    Lightgcn {
        /// Number of propagations `L`.
        #[serde(default = "default_layers")]
        #[schemars(range(min = 0, max = 32))]
        layers: usize,
    },
}

fn default_layers() -> usize {
    2
}

/// A set of nodes, which are numbered as the rows of the tables.
#[derive(Clone, Copy)]
pub enum Nodes<'a> {
    All,
    /// Those whose entry is true.
    Marked(&'a [bool]),
}

impl Nodes<'_> {
    /// Those before node `at`, and those from it on, numbered from 0.
    pub fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::All => (self, self),
            Self::Marked(marks) => {
                let (before, after) = marks.split_at(at);
                (Self::Marked(before), Self::Marked(after))
            }
        }
    }

    pub fn contains(self, node: usize) -> bool {
        match self {
            Self::All => true,
            Self::Marked(marks) => marks[node],
        }
    }
}

/// A differentiable map from tables to encoded vectors of the same shape, which are row-major.
pub trait Encoder: Send {
    /// Writes the encoded vectors of `nodes`; the rows of other nodes may hold anything afterwards.
    fn encode(&mut self, tables: &[f32], nodes: Nodes, encoded: &mut [f32]);

    /// Writes the gradient with respect to the tables, given the summands, all of `nodes`, of the one with respect to the
    /// encoded vectors. It is summed row by row in the order given.
    fn pull_back(&mut self, encoded_gradient: &[Summands], nodes: Nodes, table_gradient: &mut [f32]);
}

#[cfg(feature = "torch")]
impl Backbone {
    /// The encoder over `graph` for vectors of width `dim`, computed on `device`.
    pub fn encoder<'a>(&self, graph: &'a crate::data::Graph, dim: usize, device: tch::Device) -> Box<dyn Encoder + 'a> {
        let layout = Layout { rows: graph.n_users + graph.n_items, dim };
        match self {
            Self::Mf {} | Self::Lightgcn { layers: 0 } => Box::new(mf::Mf(layout)),
            Self::Lightgcn { layers } if device == tch::Device::Cpu => {
                Box::new(lightgcn::LightGcn::new(graph, *layers, layout))
            }
            Self::Lightgcn { layers } => Box::new(lightgcn::device::OnDevice::new(graph, *layers, layout, device)),
        }
    }
}
