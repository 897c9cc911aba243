//! The denoiser on the processor, on tiles of rows: predictions, and gradients back through them.

use multiversion::multiversion;

use crate::kernel::{LANES, Lanes, Outer, Packed, add_scaled, dot, math};
use crate::method::sampler::cnsdiff::{Shape, time_embedding};

/// The denoiser with its weights laid out for products on tiles.
pub struct Network {
    shape: Shape,
    /// Embeddings of the steps, and what the embedding layer makes of them.
    embeddings: Vec<Vec<f32>>,
    embedded: Vec<Vec<f32>>,
    /// What each step adds to the hidden layer.
    times: Vec<Vec<f32>>,
    /// The weights of the item, and of the user if conditioned.
    input: Packed,
    user: Option<Packed>,
    output: Packed,
    output_bias: Vec<f32>,
    /// The weights of the item and of the output, transposed: for gradients.
    input_back: Packed,
    output_back: Packed,
    /// The input layer's weights of the time, row-major.
    time_weights: Vec<f32>,
}

/// What one prediction leaves behind for its gradient.
pub struct Scratch {
    /// 1 / norm of each row.
    inverse: Lanes,
    /// The rows divided by their norm, with dropout.
    input: Vec<Lanes>,
    /// After the hyperbolic tangent.
    hidden: Vec<Lanes>,
}

/// Sums of gradients with respect to the parameters.
pub struct Gradient {
    input: Outer,
    user: Option<Outer>,
    output: Outer,
    output_bias: Vec<f32>,
    /// With respect to what each step adds to the hidden layer.
    times: Vec<Vec<f32>>,
}

impl Network {
    /// Over the parameters `flat` (see [`Shape::init`]) for `steps` steps.
    pub fn new(shape: &Shape, flat: &[f32], steps: usize) -> Self {
        let &Shape { dim, hidden, time, user, .. } = shape;
        let [emb, input, output] = shape.split(flat);
        let width = shape.input();
        let embeddings: Vec<Vec<f32>> = (0..steps).map(|t| time_embedding(t, time)).collect();
        let layer = |weights: &[f32], bias: &[f32], x: &[f32]| -> Vec<f32> {
            weights.chunks_exact(time).zip(bias).map(|(weights, bias)| bias + dot(weights, x)).collect()
        };
        let embedded: Vec<Vec<f32>> = embeddings.iter().map(|x| layer(emb.0, emb.1, x)).collect();
        let time_weights: Vec<f32> =
            input.0.chunks_exact(width).flat_map(|weights| &weights[dim..dim + time]).copied().collect();
        let item = |row: usize, column: usize| input.0[row * width + column];
        Self {
            times: embedded.iter().map(|x| layer(&time_weights, input.1, x)).collect(),
            input: Packed::new(hidden, dim, item),
            user: user.then(|| Packed::new(hidden, dim, |row, column| item(row, dim + time + column))),
            output: Packed::new(dim, hidden, |row, column| output.0[row * hidden + column]),
            output_bias: output.1.to_vec(),
            input_back: Packed::new(dim, hidden, |row, column| item(column, row)),
            output_back: Packed::new(hidden, dim, |row, column| output.0[column * hidden + row]),
            shape: shape.clone(),
            embeddings,
            embedded,
            time_weights,
        }
    }

    /// Width of the item vectors.
    pub fn dim(&self) -> usize {
        self.shape.dim
    }

    /// What step `t` adds to each value of the hidden layer.
    pub fn time(&self, t: usize) -> &[f32] {
        &self.times[t]
    }

    /// Memory for [`Self::predict`].
    pub fn scratch(&self) -> Scratch {
        let Shape { dim, hidden, .. } = self.shape;
        Scratch { inverse: [1.0; LANES], input: vec![[0.0; LANES]; dim], hidden: vec![[0.0; LANES]; hidden] }
    }

    /// What the users of a tile add to the hidden layer: nothing if the denoiser is not conditioned on them.
    pub fn users(&self, tile: &[Lanes]) -> Vec<Lanes> {
        let mut hidden = vec![[0.0; LANES]; self.shape.hidden];
        if let Some(weights) = &self.user {
            weights.accumulate_all(tile, &mut hidden);
        }
        hidden
    }

    /// Writes the prediction for the tile `x` to `out`. `time` gives what the rows' steps add to a value of the hidden
    /// layer, see [`Self::time`]; `users` is what [`Self::users`] says; `mask` is the dropout, scaled.
    pub fn predict(
        &self,
        x: &[Lanes],
        time: impl Fn(usize) -> Lanes,
        users: Option<&[Lanes]>,
        mask: Option<&[Lanes]>,
        scratch: &mut Scratch,
        out: &mut [Lanes],
    ) {
        let Scratch { inverse, input, hidden } = scratch;
        *inverse = prepare(x, self.shape.norm, mask, input);
        hidden.iter_mut().enumerate().for_each(|(index, hidden)| *hidden = time(index));
        if let Some(users) = users {
            let values = hidden.as_flattened_mut().iter_mut().zip(users.as_flattened());
            values.for_each(|(hidden, user)| *hidden += user);
        }
        self.input.accumulate_all(input, hidden);
        math::tanh_all(hidden);
        out.iter_mut().zip(&self.output_bias).for_each(|(out, bias)| *out = [*bias; LANES]);
        self.output.accumulate_all(hidden, out);
    }

    /// From the gradient with respect to the prediction that left `scratch` to that with respect to the hidden layer
    /// before its hyperbolic tangent.
    pub fn to_hidden(&self, prediction: &[Lanes], scratch: &Scratch) -> Vec<Lanes> {
        let mut gradient = vec![[0.0; LANES]; self.shape.hidden];
        self.output_back.accumulate_all(prediction, &mut gradient);
        let values = gradient.as_flattened_mut().iter_mut().zip(scratch.hidden.as_flattened());
        values.for_each(|(gradient, value)| *gradient *= 1.0 - value * value);
        gradient
    }

    /// From the gradient of [`Self::to_hidden`] to that with respect to the rows.
    pub fn to_rows(&self, hidden: &[Lanes], x: &[Lanes], mask: Option<&[Lanes]>, scratch: &Scratch) -> Vec<Lanes> {
        let mut gradient = vec![[0.0; LANES]; self.shape.dim];
        self.input_back.accumulate_all(hidden, &mut gradient);
        if let Some(mask) = mask {
            gradient.as_flattened_mut().iter_mut().zip(mask.as_flattened()).for_each(|(value, mask)| *value *= mask);
        }
        if self.shape.norm {
            let mut along = [0.0; LANES];
            for (gradient, x) in gradient.iter().zip(x) {
                along.iter_mut().zip(gradient).zip(x).for_each(|((along, gradient), x)| *along += gradient * x);
            }
            for (lane, along) in along.iter_mut().enumerate() {
                // Below the least norm the divisor is a constant.
                let inverse = scratch.inverse[lane];
                *along *= if inverse < MOST_INVERSE { inverse * inverse } else { 0.0 };
            }
            for (gradient, x) in gradient.iter_mut().zip(x) {
                for (lane, (gradient, x)) in gradient.iter_mut().zip(x).enumerate() {
                    *gradient = (*gradient - along[lane] * x) * scratch.inverse[lane];
                }
            }
        }
        gradient
    }
}

impl Gradient {
    /// Of nothing yet.
    pub fn new(network: &Network) -> Self {
        let Shape { dim, hidden, user, .. } = network.shape;
        Self {
            input: Outer::new(hidden, dim),
            user: user.then(|| Outer::new(hidden, dim)),
            output: Outer::new(dim, hidden),
            output_bias: vec![0.0; dim],
            times: vec![vec![0.0; hidden]; network.times.len()],
        }
    }

    /// Adds a tile: the gradients with respect to its prediction and to its hidden layer, and what the prediction left
    /// behind. `steps` are those of its rows, `users` their vectors.
    pub fn add(
        &mut self,
        prediction: &[Lanes],
        hidden: &[Lanes],
        scratch: &Scratch,
        steps: &[usize],
        users: Option<&[Lanes]>,
    ) {
        self.output.add(prediction, &scratch.hidden);
        self.input.add(hidden, &scratch.input);
        if let (Some(sums), Some(users)) = (&mut self.user, users) {
            sums.add(hidden, users);
        }
        for (bias, prediction) in self.output_bias.iter_mut().zip(prediction) {
            *bias += prediction.iter().sum::<f32>();
        }
        for (lane, &t) in steps.iter().enumerate() {
            self.times[t].iter_mut().zip(hidden).for_each(|(sum, hidden)| *sum += hidden[lane]);
        }
    }

    /// The sums as a flat vector, in the order of [`Shape::init`].
    pub fn flat(&self, network: &Network) -> Vec<f32> {
        let Shape { dim, hidden, time, .. } = network.shape;
        let width = network.shape.input();
        let mut emb = (vec![0.0; time * time], vec![0.0; time]);
        let mut input = (vec![0.0; hidden * width], vec![0.0; hidden]);
        let mut output = vec![0.0; dim * hidden];
        self.output.write(&mut output, hidden, 0);
        self.input.write(&mut input.0, width, 0);
        if let Some(user) = &self.user {
            user.write(&mut input.0, width, dim + time);
        }
        for (t, gradient) in self.times.iter().enumerate() {
            let mut embedded = vec![0.0f32; time];
            let rows = input.0.chunks_exact_mut(width).zip(&mut input.1).zip(network.time_weights.chunks_exact(time));
            for (((row, bias), weights), &gradient) in rows.zip(gradient) {
                *bias += gradient;
                add_scaled(&mut row[dim..dim + time], &network.embedded[t], gradient);
                add_scaled(&mut embedded, weights, gradient);
            }
            for ((row, bias), &gradient) in emb.0.chunks_exact_mut(time).zip(&mut emb.1).zip(&embedded) {
                *bias += gradient;
                add_scaled(row, &network.embeddings[t], gradient);
            }
        }
        [emb.0, emb.1, input.0, input.1, output, self.output_bias.clone()].concat()
    }
}

/// 1 / norm is at most this: below a norm of `1e-12`, rows are divided by that.
const MOST_INVERSE: f32 = 1e12;

/// Writes rows divided by their norm, if asked to, and with dropout, and returns 1 / norm.
#[multiversion(targets("x86_64+avx2+fma"))]
fn prepare(x: &[Lanes], norm: bool, mask: Option<&[Lanes]>, out: &mut [Lanes]) -> Lanes {
    out.copy_from_slice(x);
    let mut inverse = [1.0f32; LANES];
    if norm {
        let mut squares = [0.0f32; LANES];
        for x in x {
            squares.iter_mut().zip(x).for_each(|(sum, x)| *sum = x.mul_add(*x, *sum));
        }
        for (inverse, square) in inverse.iter_mut().zip(squares) {
            let exact = 1.0 / square.sqrt();
            *inverse = if exact > MOST_INVERSE { MOST_INVERSE } else { exact };
        }
        out.iter_mut().for_each(|out| out.iter_mut().zip(&inverse).for_each(|(out, inverse)| *out *= inverse));
    }
    if let Some(mask) = mask {
        out.as_flattened_mut().iter_mut().zip(mask.as_flattened()).for_each(|(out, mask)| *out *= mask);
    }
    inverse
}
