//! The denoiser by libtorch.

use tch::{Device, IndexOp, Tensor};

use crate::method::backend::torch::tensor::{leaf, normalize};
use crate::method::sampler::cnsdiff::{Shape, time_embedding};

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
