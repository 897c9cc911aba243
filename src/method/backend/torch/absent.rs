//! What is answered where the program was built without libtorch.

use crate::method::backbone::Backbone;
use crate::method::backend::Device;
use crate::method::sampler::cnsdiff::{Arithmetic, Schedule, Shape};
use crate::method::{MethodError, Setup};

/// How many GPUs there are to use.
pub fn gpus() -> usize {
    0
}

/// The version of libtorch: none.
pub fn version() -> String {
    String::new()
}

/// Keeps libtorch to one thread.
pub fn one_thread() {}

pub fn lightgcn<'a>(_: usize, _: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
    Err(MethodError::NoLibtorch("lightgcn"))
}

pub fn cnsdiff_arithmetic(
    _: &Shape,
    _: &[f32],
    _: &Schedule,
    _: bool,
    _: Device,
) -> Result<Box<dyn Arithmetic>, MethodError> {
    Err(MethodError::NoLibtorch("cnsdiff"))
}

/// Inner products of `queries` with `items`, row-major matrices of this width.
pub struct Products;

impl Products {
    pub fn new(_: &[f32], _: usize, _: Device) -> Self {
        Self
    }

    pub fn share(&self) -> Self {
        Self
    }

    pub fn scores(&self, _: &[f32]) -> Vec<f32> {
        Vec::new()
    }
}
