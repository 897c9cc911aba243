//! Makes a loss of what libtorch differentiates: the rows of a step become leaves, and their gradients go back as rows.

use tch::{Device, Tensor};

use super::tensor::{device, gradient, leaf, matrix};
use crate::method::loss::{Loss, LossRows};
use crate::method::sampler::StepGradient;
use crate::method::{MethodError, Setup};

/// A loss of queries and their positives alone, as libtorch differentiates it.
pub trait RowLoss: Send {
    /// What is minimised, and then parts of it that are worth knowing, by name: numbers, of the queries and of the positives
    /// `[rows, width]`.
    fn values(&self, queries: &Tensor, positives: &Tensor) -> Vec<(&'static str, Tensor)>;
}

/// A loss at work.
pub struct Differentiated<L> {
    loss: L,
    device: Device,
}

impl<L> Differentiated<L> {
    pub fn new(loss: L, setup: &Setup) -> Self {
        Self { loss, device: device(setup.device) }
    }
}

impl<L: RowLoss> Loss for Differentiated<L> {
    fn evaluate(
        &mut self,
        rows: &LossRows,
        to_rows: &mut StepGradient,
    ) -> Result<Vec<(&'static str, f64)>, MethodError> {
        let [queries, positives] =
            [rows.queries, rows.positives].map(|side| leaf(&matrix(&side.to_vec(), rows.width, self.device)));
        let values = self.loss.values(&queries, &positives);
        if let Some((_, minimised)) = values.first() {
            minimised.backward();
        }
        *to_rows = StepGradient { queries: gradient(&queries), positives: gradient(&positives), negatives: Vec::new() };
        Ok(values.into_iter().map(|(name, value)| (name, value.double_value(&[]))).collect())
    }
}
