//! The denoiser `f(x, t)`: predicts the item vector before noise. Time embedding through a linear layer; normalised
//! input with dropout; both (and the user, if conditioned) through a tanh layer and a linear one.
//!
//! The first layer is split: `W [x; e] + b = W_x x + (W_e e + b)`, and the second summand depends on the step alone.

use tch::{Device, IndexOp, Tensor};

use crate::rng::{self, Normal};
use crate::sampler::tensor::{leaf, normalize};

use super::params::{Condition, Params};
use super::schedule::time_embedding;

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
    pub fn new(params: &Params, dim: usize) -> Self {
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
    fn layers(&self) -> [(usize, usize); 3] {
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

/// The denoiser as tensors over one flat parameter vector.
pub struct Denoiser {
    shape: Shape,
    flat: Tensor,
    /// The layers, views of `flat`: weights `out x in` and biases.
    emb: (Tensor, Tensor),
    input: (Tensor, Tensor),
    output: (Tensor, Tensor),
    /// Embeddings of all steps `[T, time]`.
    embedding: Tensor,
}

impl Denoiser {
    /// Over the parameters `flat` (see [`Shape::init`]) for `steps` steps, on `device`.
    pub fn new(shape: Shape, flat: &[f32], steps: usize, device: Device) -> Self {
        let embedding: Vec<f32> = (0..steps).flat_map(|t| time_embedding(t, shape.time)).collect();
        let embedding = Tensor::from_slice(&embedding).view([steps as i64, -1]).to_device(device);
        Self::over(shape, Tensor::from_slice(flat).to_device(device), embedding)
    }

    fn over(shape: Shape, flat: Tensor, embedding: Tensor) -> Self {
        let mut start = 0;
        let [emb, input, output] = shape.layers().map(|(rows, columns)| {
            let (rows, columns) = (rows as i64, columns as i64);
            let weight = flat.narrow(0, start, rows * columns).view([rows, columns]);
            let bias = flat.narrow(0, start + rows * columns, rows);
            start += rows * columns + rows;
            (weight, bias)
        });
        Self { shape, flat, emb, input, output, embedding }
    }

    /// The same values without history; with `trainable`, gradients can be taken of [`Self::parameters`].
    pub fn branch(&self, trainable: bool) -> Self {
        let flat = if trainable { leaf(&self.flat) } else { self.flat.detach() };
        Self::over(self.shape.clone(), flat, self.embedding.shallow_clone())
    }

    /// The flat parameters.
    pub fn parameters(&self) -> &Tensor {
        &self.flat
    }

    /// What each step adds to the hidden layer `[T, hidden]`.
    pub fn times(&self) -> Tensor {
        let embedded = self.emb.1.addmm(&self.embedding, &self.emb.0.tr());
        let weight = self.input.0.narrow(1, self.shape.dim as i64, self.shape.time as i64);
        self.input.1.addmm(&embedded, &weight.tr())
    }

    /// The prediction for the rows `x` `[B, d]`. `time` holds rows of [`Self::times`], one for all or one each;
    /// `user` `[B, d]` if conditioned; `mask` `[B, d]` is the dropout, scaled.
    pub fn forward(&self, x: &Tensor, time: &Tensor, user: Option<&Tensor>, mask: Option<&Tensor>) -> Tensor {
        let Shape { dim, time: width, norm, .. } = self.shape;
        let x = if norm { normalize(x) } else { x.shallow_clone() };
        let x = match mask {
            Some(mask) => x * mask,
            None => x,
        };
        let (weight, _) = &self.input;
        let mut hidden = time.addmm(&x, &weight.narrow(1, 0, dim as i64).tr());
        if let Some(user) = user {
            hidden = hidden.addmm(user, &weight.narrow(1, (dim + width) as i64, dim as i64).tr());
        }
        self.output.1.addmm(&hidden.tanh(), &self.output.0.tr())
    }

    /// The prediction with one step `t` for all rows, given `times` of [`Self::times`].
    pub fn at(&self, x: &Tensor, times: &Tensor, t: usize, user: Option<&Tensor>, mask: Option<&Tensor>) -> Tensor {
        self.forward(x, &times.i(t as i64), user, mask)
    }
}
