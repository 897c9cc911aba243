//! Losses: what a step minimises, given the vectors of queries, positives and negatives.

mod bce;
mod bpr;
#[cfg(feature = "torch")]
mod direct_au;
mod in_batch;
mod scored;
mod softmax;

pub use scored::{BLOCK, minus_log_sigmoid, resize};

use super::Setup;
use super::rows::Gathered;
use super::sampler::StepGradient;
use super::spec::{Method, MethodError, methods};

/// Whether a loss takes negatives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Need {
    #[default]
    Required,
    /// Then there is no sampler.
    Forbidden,
}

/// What is asked of a loss before it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LossTraits {
    pub negatives: Need,
    /// Whether it uses the probabilities of negatives, which samplers of vectors do not have.
    pub log_q: bool,
    /// Whether it computes with libtorch also on the processor.
    pub libtorch: bool,
    /// Whether a step takes memory for every two of its rows.
    pub pairs_of_rows: bool,
}

/// The vectors of a step, all of one width: a query and a positive per row, and `per_row` negatives, row by row.
#[derive(Clone, Copy)]
pub struct LossRows<'a> {
    pub width: usize,
    pub per_row: usize,
    pub queries: Gathered<'a>,
    pub positives: Gathered<'a>,
    pub negatives: Gathered<'a>,
    /// The logarithm of the probability with which each negative was drawn, where it is known.
    pub log_q: Option<&'a [f32]>,
    /// The users and the positive items of the rows.
    pub users: &'a [u32],
    pub items: &'a [u32],
}

impl LossRows<'_> {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A loss at work. Its results must not depend on the number of threads.
pub trait Loss: Send {
    /// The mean over the rows, under the name that it has in the curve, and after it named parts of it, if there are any. Writes
    /// the gradient of that mean, which has as many numbers as there are rows of each kind.
    fn evaluate(
        &mut self,
        rows: &LossRows,
        gradient: &mut StepGradient,
    ) -> Result<Vec<(&'static str, f64)>, MethodError>;
}

/// What makes a loss.
pub trait LossMethod: Method {
    fn traits(&self) -> LossTraits;

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Loss + 'a>, MethodError>;
}

methods! {
    /// The list of losses.
    Losses, "loss", LossMethod -> Box<dyn Loss + 'a>, traits LossTraits;
    /// All losses.
    LOSSES;
    /// Makes the loss of a training.
    start_loss;
    bpr::Bpr,
    bce::Bce,
    softmax::Softmax,
    in_batch::InBatchSoftmax,
    #[cfg(feature = "torch")]
    direct_au::DirectAu,
}
