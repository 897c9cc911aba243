//! What the rest of the program asks of libtorch.

use tch::Tensor;

use super::adapter::Adapter;
use super::cnsdiff::OnDevice;
pub use super::device::{gpus, version};
use super::tensor::{device, matrix, values};
use crate::method::backbone::Backbone;
use crate::method::backend::Device;
use crate::method::sampler::cnsdiff::{Arithmetic, Schedule, Shape};
use crate::method::{MethodError, Setup};

/// Keeps libtorch to one thread: its own parallelism would split sums by the number of threads.
pub fn one_thread() {
    tch::set_num_threads(1);
}

/// LightGCN with `layers` propagations, hop by hop if the setup asks for that.
pub fn lightgcn<'a>(layers: usize, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
    Ok(Box::new(Adapter::new(super::lightgcn::LightGcn::new(layers, setup), setup)?))
}

/// CNSDiff's chains and losses with the parameters `weights` of the denoiser.
pub fn cnsdiff_arithmetic(
    shape: &Shape,
    weights: &[f32],
    schedule: &Schedule,
    reweight: bool,
    on: Device,
) -> Result<Box<dyn Arithmetic>, MethodError> {
    Ok(Box::new(OnDevice::new(shape, weights, schedule, reweight, device(on))))
}

/// Inner products with the rows of a matrix.
pub struct Products {
    width: usize,
    /// `[width, rows]`.
    columns: Tensor,
}

impl Products {
    /// With the row-major `rows` of this width.
    pub fn new(rows: &[f32], width: usize, on: Device) -> Self {
        Self { width, columns: matrix(rows, width, device(on)).tr() }
    }

    /// The same for another thread.
    pub fn share(&self) -> Self {
        Self { width: self.width, columns: self.columns.shallow_clone() }
    }

    /// Of each of the row-major `queries` with all rows, row-major.
    pub fn scores(&self, queries: &[f32]) -> Vec<f32> {
        let queries = matrix(queries, self.width, self.columns.device());
        values(&tch::no_grad(|| queries.mm(&self.columns)))
    }
}
