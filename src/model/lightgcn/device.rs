//! LightGCN's propagation by libtorch's sparse CSR product, for tables that are smoothed on a GPU.

use tch::{Device, Kind, Tensor};

use crate::data::Graph;
use crate::model::{Encoder, Layout, Nodes, PANEL, Summands};

/// `P` as in [`super::LightGcn`]; vectors come from and go back to main memory.
pub struct OnDevice {
    layers: usize,
    layout: Layout,
    /// Sparse CSR `[U + I, U + I]`.
    adjacency: Tensor,
    device: Device,
}

impl OnDevice {
    pub fn new(graph: &Graph, layers: usize, layout: Layout, device: Device) -> Self {
        let nodes = (graph.n_users + graph.n_items) as i64;
        let (user_scale, item_scale) = graph.inv_sqrt_degrees();
        let mut start = Vec::with_capacity(graph.n_users + graph.n_items + 1);
        let mut neighbour = Vec::with_capacity(2 * graph.n_edges());
        let mut weight = Vec::with_capacity(2 * graph.n_edges());
        start.push(0);
        for (user, scale) in (0u32..).zip(&user_scale) {
            for &item in graph.items_of(user) {
                neighbour.push(graph.n_users as i64 + i64::from(item));
                weight.push(scale * item_scale[item as usize]);
            }
            start.push(neighbour.len() as i64);
        }
        for (item, scale) in (0u32..).zip(&item_scale) {
            for &user in graph.users_of(item) {
                neighbour.push(i64::from(user));
                weight.push(scale * user_scale[user as usize]);
            }
            start.push(neighbour.len() as i64);
        }
        let [start, neighbour, weight] =
            [Tensor::from_slice(&start), Tensor::from_slice(&neighbour), Tensor::from_slice(&weight)]
                .map(|part| part.to_device(device));
        let adjacency = Tensor::sparse_csr_tensor_crow_col_value_size(
            &start,
            &neighbour,
            &weight,
            [nodes, nodes].as_slice(),
            (Kind::Float, device),
        );
        Self { layers, layout, adjacency, device }
    }

    /// `P x`.
    fn smooth(&self, x: Tensor) -> Tensor {
        let (mut power, mut sum) = (x.shallow_clone(), x);
        for _ in 0..self.layers {
            power = self.adjacency.matmul(&power);
            sum = &sum + &power;
        }
        sum * (1.0 / (self.layers + 1) as f64)
    }

    fn upload(&self, values: &[f32]) -> Tensor {
        Tensor::from_slice(values).to_device(self.device)
    }
}

impl Encoder for OnDevice {
    fn encode(&mut self, tables: &[f32], _: Nodes, encoded: &mut [f32]) {
        let tables = self.upload(tables);
        let panels: Vec<Tensor> = tables
            .split(self.layout.panel() as i64, 0)
            .iter()
            .map(|panel| panel.view([self.layout.rows as i64, -1]))
            .collect();
        self.smooth(Tensor::cat(&panels, 1)).copy_data(encoded, encoded.len());
    }

    fn pull_back(&mut self, encoded_gradient: &[Summands], _: Nodes, table_gradient: &mut [f32]) {
        let dim = self.layout.dim;
        // Not on the GPU, where the order of a sum is chance.
        let mut sums = vec![0.0; table_gradient.len()];
        for Summands { rows, values } in encoded_gradient {
            for (row, values) in rows.places().zip(values.chunks_exact(dim)) {
                sums[row * dim..][..dim].iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
            }
        }
        let rows = self.smooth(self.upload(&sums).view([-1, dim as i64]));
        let panels: Vec<Tensor> = rows.split(PANEL as i64, 1).iter().map(|panel| panel.reshape([-1])).collect();
        Tensor::cat(&panels, 0).copy_data(table_gradient, table_gradient.len());
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::data::Interactions;
    use crate::model::Rows;
    use crate::model::lightgcn::LightGcn;
    use crate::rng;

    /// On the processor, and on a GPU where there is one.
    #[test]
    fn agrees_with_our_own_product() {
        let mut rng = rng::stream(3, "test", 0);
        let (users, items, dim) = (200, 150, 72);
        let pairs = Interactions {
            user: (0..3_000).map(|_| rng.random_range(0..users as u32)).collect(),
            item: (0..3_000).map(|_| rng.random_range(0..items as u32)).collect(),
            ..Interactions::default()
        };
        let graph = Graph::with_size(users, items, &pairs);
        let layout = Layout { rows: users + items, dim };
        let values: Vec<f32> = (0..layout.rows * dim).map(|_| rng.random::<f32>() - 0.5).collect();
        let ids: Vec<u32> = (0..layout.rows as u32).collect();
        let both = |encoder: &mut dyn Encoder| {
            let [mut encoded, mut gradient] = [(); 2].map(|()| vec![0.0; values.len()]);
            encoder.encode(&layout.arrange(&values), Nodes::All, &mut encoded);
            let summands = Summands { rows: Rows { first: 0, ids: &ids }, values: &values };
            encoder.pull_back(&[summands], Nodes::All, &mut gradient);
            [encoded, gradient].concat()
        };
        let expected = both(&mut LightGcn::new(&graph, 3, layout));
        for device in [Some(Device::Cpu), tch::Cuda::is_available().then_some(Device::Cuda(0))].into_iter().flatten() {
            let found = both(&mut OnDevice::new(&graph, 3, layout, device));
            assert!(found.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-6), "{device:?}");
        }
    }
}
