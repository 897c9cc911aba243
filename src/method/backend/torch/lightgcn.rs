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
    users: i64,
    dim: usize,
    by_hops: bool,
}

impl LightGcn {
    pub fn new(layers: usize, setup: &Setup) -> Self {
        Self { layers, users: setup.data.graph.n_users as i64, dim: setup.dim, by_hops: setup.by_hops }
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

impl Module for LightGcn {
    fn width(&self) -> usize {
        if self.by_hops { self.dim * (self.layers + 1) } else { self.dim }
    }

    fn parameters(&self, setup: &Setup) -> Vec<NamedTensor> {
        tables(setup)
    }

    fn propagation<'a>(&self, data: &'a TrainingData, device: Device) -> Option<Propagation<'a>> {
        Some(Propagation::new(&data.graph, Normalisation::Symmetric, device))
    }

    fn encode(&self, tensors: &Tensors, pass: &Pass, _: Queries) -> (Tensor, Tensor) {
        let mut x = Tensor::cat(&[tensors.get("users"), tensors.get("items")], 0);
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
        let rows = vectors.split_with_sizes([self.users, vectors.size()[0] - self.users], 0);
        (rows[0].shallow_clone(), rows[1].shallow_clone())
    }
}
