//! The denoiser `f(x, t)`: predicts the item vector before noise. Time embedding through a linear layer; normalised
//! input with dropout; both (and the user, if conditioned) through a tanh layer and a linear one.
//!
//! The first layer is split: `W [x; e] + b = W_x x + (W_e e + b)`, and the second summand depends on the step alone.

use crate::rng::{self, Normal};

use super::params::{Cnsdiff, Condition};

/// Sizes of the denoiser.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Width of the item vectors.
    pub dim: usize,
    pub hidden: usize,
    pub time: usize,
    /// Whether a user vector of width `dim` is part of the input.
    pub user: bool,
    pub norm: bool,
}

impl Shape {
    pub fn new(params: &Cnsdiff, dim: usize) -> Self {
        Self {
            dim,
            hidden: params.denoiser.hidden,
            time: params.denoiser.time,
            user: params.condition == Condition::User,
            norm: params.denoiser.norm,
        }
    }

    /// Width of the input layer: item, time, and user if conditioned.
    pub fn input(&self) -> usize {
        self.dim + self.time + if self.user { self.dim } else { 0 }
    }

    /// Rows and columns of each layer's weight: time embedding, input, output.
    pub fn layers(&self) -> [(usize, usize); 3] {
        [(self.time, self.time), (self.hidden, self.input()), (self.dim, self.hidden)]
    }

    /// The layers' weights and biases among the parameters `flat`: time embedding, input, output.
    pub fn split<'a>(&self, mut flat: &'a [f32]) -> [(&'a [f32], &'a [f32]); 3] {
        let mut take = |count| {
            let (taken, rest) = flat.split_at(count);
            flat = rest;
            taken
        };
        self.layers().map(|(rows, columns)| (take(rows * columns), take(rows)))
    }

    /// Number of parameters.
    pub fn parameters(&self) -> usize {
        self.layers().iter().map(|(rows, columns)| rows * columns + rows).sum()
    }

    /// Random parameters, flat: per layer the weight, row-major, then the bias. Weights follow
    /// `N(0, 2 / (fan_in + fan_out))`, biases `N(0, 0.001^2)`.
    pub fn init(&self, seed: u64) -> Vec<f32> {
        let mut rng = rng::stream(seed, "cnsdiff denoiser init", 0);
        let mut flat = Vec::with_capacity(self.parameters());
        for (rows, columns) in self.layers() {
            let deviation = (2.0 / (rows + columns) as f64).sqrt() as f32;
            let mut draw = |count: usize, deviation: f32| {
                flat.extend((0..count).map(|_| deviation * Normal::standard().draw(&mut rng) as f32));
            };
            draw(rows * columns, deviation);
            draw(rows, 1e-3);
        }
        flat
    }
}
