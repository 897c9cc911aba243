//! LightGCN by libtorch: for GPUs, and hop by hop for samplers that mix hops.

use tch::{Device, Tensor};

use super::adapter::{Module, Pass, Queries};
use super::propagation::{Normalisation, Propagation};
use super::tensors::Tensors;
use crate::method::data::TrainingData;
use crate::method::params::NamedTensor;
use crate::method::{Setup, xavier_tables};

pub struct LightGcn {
    layers: usize,
    users: usize,
    dim: usize,
    by_hops: bool,
}

impl LightGcn {
    pub fn new(layers: usize, setup: &Setup) -> Self {
        Self { layers, users: setup.data.graph.n_users, dim: setup.dim, by_hops: setup.by_hops }
    }
}

/// The two tables, Xavier uniform.
pub fn tables(setup: &Setup) -> Vec<NamedTensor> {
    let (users, items, dim) = (setup.data.graph.n_users, setup.data.graph.n_items, setup.dim);
    let values = xavier_tables(setup.seed, users, items, dim);
    let (of_users, of_items) = values.split_at(users * dim);
    let named = |name: &str, rows: usize, values: &[f32]| NamedTensor {
        name: name.to_owned(),
        shape: vec![rows, dim],
        values: values.to_vec(),
    };
    vec![named("users", users, of_users), named("items", items, of_items)]
}

/// The two tables as one `[U + I, d]`, users first.
pub fn joined(tensors: &Tensors) -> Tensor {
    Tensor::cat(&[tensors.get("users"), tensors.get("items")], 0)
}

/// The rows of `users` users, and those of the items after them.
pub fn sides(rows: &Tensor, users: usize) -> (Tensor, Tensor) {
    let users = users as i64;
    (rows.narrow(0, 0, users), rows.narrow(0, users, rows.size()[0] - users))
}

impl Module for LightGcn {
    fn width(&self) -> usize {
        if self.by_hops { self.dim * (self.layers + 1) } else { self.dim }
    }

    fn propagation<'a>(&self, data: &'a TrainingData, device: Device) -> Option<Propagation<'a>> {
        Some(Propagation::new(&data.graph, Normalisation::Symmetric, device))
    }

    fn encode(&self, tensors: &Tensors, pass: &Pass, _: Queries) -> (Tensor, Tensor) {
        let mut x = joined(tensors);
        let mut hops = Vec::new();
        for _ in 0..self.layers {
            let (own, next) = pass.propagate(x);
            hops.push(own);
            x = next;
        }
        hops.push(x);
        let vectors = if self.by_hops {
            Tensor::cat(&hops, 1)
        } else {
            hops.into_iter().reduce(|sum, hop| sum + hop).map(|sum| sum / (self.layers + 1) as f64).unwrap_or_default()
        };
        sides(&vectors, self.users)
    }
}

#[cfg(test)]
mod tests {
    use super::super::adapter::Adapter;
    use super::super::testing::{
        assert_gradient_by_finite_differences, batch, encode_all, forward, gradient, random_data, setup, weights,
    };
    use super::*;
    use crate::method::Pooling;
    use crate::method::backend::fast;

    fn assert_close(found: &[f32], expected: &[f32]) {
        let scale = expected.iter().fold(0.0f32, |max, value| max.max(value.abs()));
        let gap = found.iter().zip(expected).fold(0.0f32, |max, (a, b)| max.max((a - b).abs()));
        assert!(found.len() == expected.len() && scale > 0.0 && gap <= 1e-5 * scale, "off by {gap}, of {scale}");
    }

    #[test]
    fn the_kernels_and_autograd_come_to_the_same() {
        let data = random_data(50, 40, 600);
        for (dim, layers) in [(5, 1), (33, 2), (64, 3)] {
            let setup = setup(&data, dim);
            let (mut kernels, mut module) =
                (fast::LightGcn::new(layers, &setup), Adapter::new(LightGcn::new(layers, &setup), &setup).unwrap());
            let step = batch(0, &[0], &[0]);
            let [found, expected] = [forward(&mut kernels, &data, &step), forward(&mut module, &data, &step)];
            assert_close(&found.queries, &expected.queries);
            assert_close(&found.items, &expected.items);
            let of_vectors = weights(&expected);
            let [found, expected] = [gradient(&mut kernels, &of_vectors), gradient(&mut module, &of_vectors)];
            for (found, expected) in found.iter().zip(&expected) {
                assert_eq!((&found.name, &found.shape), (&expected.name, &expected.shape));
                assert_close(&found.values, &expected.values);
            }
        }
    }

    #[test]
    fn the_mean_of_the_hops_is_what_they_are_pooled_to() {
        let data = random_data(12, 9, 40);
        let pooled = setup(&data, 4);
        let by_hops = Setup { by_hops: true, hops: 3, pooling: Pooling::Mean, ..pooled.clone() };
        let [mean, hops] = [&pooled, &by_hops]
            .map(|setup| encode_all(&mut Adapter::new(LightGcn::new(2, setup), setup).unwrap(), &data));
        assert_eq!((mean.width, hops.width), (4, 12));
        for (mean, hops) in mean.items.chunks_exact(4).zip(hops.items.chunks_exact(12)) {
            let of_hops: Vec<f32> = (0..4).map(|at| (hops[at] + hops[4 + at] + hops[8 + at]) / 3.0).collect();
            assert_close(&of_hops, mean);
        }
    }

    #[test]
    fn the_gradient_of_hops_is_that_of_finite_differences() {
        let data = random_data(12, 9, 40);
        let setup = Setup { by_hops: true, hops: 3, ..setup(&data, 4) };
        let mut module = Adapter::new(LightGcn::new(2, &setup), &setup).unwrap();
        assert_gradient_by_finite_differences(&mut module, &data, &batch(0, &[0], &[0]), &[]);
    }
}
