//! LightGCN (He et al., SIGIR 2020): `F = P E` with `P = (I + A + ... + A^L) / (L + 1)` and `A` the symmetrically
//! normalised adjacency of the bipartite training graph.
//!
//! `P` is linear and symmetric, so the gradient needs no autograd: `dE = P dF`. Rows are computed in parallel and each
//! row sums its neighbours in ascending order, so the bits do not depend on the number of threads.

pub mod device;

use rayon::prelude::*;

use super::Encoder;
use crate::data::Graph;

/// Rows per parallel task.
const ROWS: usize = 64;

/// CSR of `A` over `U + I` nodes, users first.
struct Adjacency {
    start: Vec<usize>,
    neighbour: Vec<u32>,
    weight: Vec<f32>,
}

pub struct LightGcn {
    layers: usize,
    dim: usize,
    adjacency: Adjacency,
    /// The tables after the last and the current propagation.
    power: Vec<f32>,
    next: Vec<f32>,
}

impl Adjacency {
    fn new(graph: &Graph) -> Self {
        let nodes = graph.n_users + graph.n_items;
        let (user_scale, item_scale) = graph.inv_sqrt_degrees();
        let mut start = Vec::with_capacity(nodes + 1);
        let mut neighbour = Vec::with_capacity(2 * graph.n_edges());
        let mut weight = Vec::with_capacity(2 * graph.n_edges());
        start.push(0);
        for (user, scale) in (0u32..).zip(&user_scale) {
            for &item in graph.items_of(user) {
                neighbour.push(graph.n_users as u32 + item);
                weight.push(scale * item_scale[item as usize]);
            }
            start.push(neighbour.len());
        }
        for (item, scale) in (0u32..).zip(&item_scale) {
            for &user in graph.users_of(item) {
                neighbour.push(user);
                weight.push(scale * user_scale[user as usize]);
            }
            start.push(neighbour.len());
        }
        Self { start, neighbour, weight }
    }
}

impl LightGcn {
    pub fn new(graph: &Graph, layers: usize, dim: usize) -> Self {
        let length = (graph.n_users + graph.n_items) * dim;
        Self { layers, dim, adjacency: Adjacency::new(graph), power: vec![0.0; length], next: vec![0.0; length] }
    }

    /// `out = P x`.
    fn smooth(&mut self, x: &[f32], out: &mut [f32]) {
        out.copy_from_slice(x);
        self.power.copy_from_slice(x);
        for _ in 0..self.layers {
            self.propagate(out);
            std::mem::swap(&mut self.power, &mut self.next);
        }
        let share = 1.0 / (self.layers + 1) as f32;
        out.par_chunks_mut(ROWS * self.dim).for_each(|rows| rows.iter_mut().for_each(|value| *value *= share));
    }

    /// `next = A power`, and `sum += next`.
    fn propagate(&mut self, sum: &mut [f32]) {
        let Self { dim, adjacency: Adjacency { start, neighbour, weight }, power, next, .. } = self;
        let dim = *dim;
        next.par_chunks_mut(ROWS * dim).zip(sum.par_chunks_mut(ROWS * dim)).enumerate().for_each(
            |(chunk, (next, sum))| {
                let rows = next.chunks_exact_mut(dim).zip(sum.chunks_exact_mut(dim));
                for (node, (next, sum)) in (chunk * ROWS..).zip(rows) {
                    next.fill(0.0);
                    for edge in start[node]..start[node + 1] {
                        let from = neighbour[edge] as usize * dim;
                        let weight = weight[edge];
                        for (next, value) in next.iter_mut().zip(&power[from..from + dim]) {
                            *next += weight * value;
                        }
                    }
                    for (sum, next) in sum.iter_mut().zip(next.iter()) {
                        *sum += next;
                    }
                }
            },
        );
    }
}

impl Encoder for LightGcn {
    fn encode(&mut self, tables: &[f32], encoded: &mut [f32]) {
        self.smooth(tables, encoded);
    }

    fn pull_back(&mut self, encoded_gradient: &[f32], table_gradient: &mut [f32]) {
        self.smooth(encoded_gradient, table_gradient);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Interactions;

    fn graph(users: usize, items: usize, pairs: &[(u32, u32)]) -> Graph {
        Graph::with_size(
            users,
            items,
            &Interactions {
                user: pairs.iter().map(|pair| pair.0).collect(),
                item: pairs.iter().map(|pair| pair.1).collect(),
                ..Interactions::default()
            },
        )
    }

    fn encode(graph: &Graph, layers: usize, dim: usize, tables: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; tables.len()];
        LightGcn::new(graph, layers, dim).encode(tables, &mut out);
        out
    }

    fn assert_close(found: &[f32], expected: &[f32]) {
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{found:?} is not {expected:?}");
        }
    }

    #[test]
    fn two_layers_on_three_pairs() {
        let graph = graph(2, 2, &[(0, 0), (0, 1), (1, 1)]);
        let mean = encode(&graph, 2, 1, &[1.0, 2.0, 3.0, 4.0]);
        assert_close(&mean, &[2.192_809, 2.060_660_2, 2.207_106_8, 3.324_958]);
    }

    #[test]
    fn no_layers_is_matrix_factorisation() {
        let graph = graph(2, 2, &[(0, 0), (1, 1)]);
        let tables = [0.5, -1.0, 2.0, 0.25];
        let mut mf = vec![0.0; 4];
        crate::model::mf::Mf.encode(&tables, &mut mf);
        assert_eq!(encode(&graph, 0, 1, &tables), mf);
        assert_eq!(mf, tables);
    }

    #[test]
    fn isolated_nodes_keep_their_share() {
        let graph = graph(2, 2, &[(0, 0)]);
        assert_close(&encode(&graph, 2, 1, &[1.0, 6.0, 2.0, 9.0])[1..2], &[2.0]);
        assert_close(&encode(&graph, 2, 1, &[1.0, 6.0, 2.0, 9.0])[3..], &[3.0]);
    }

    #[test]
    fn the_operator_is_symmetric() {
        let graph = graph(3, 4, &[(0, 0), (0, 2), (1, 1), (1, 2), (2, 0), (2, 3)]);
        let operator: Vec<Vec<f32>> = (0..7)
            .map(|node| encode(&graph, 3, 1, &std::array::from_fn::<f32, 7, _>(|n| (n == node) as u8 as f32)))
            .collect();
        for (row, values) in operator.iter().enumerate() {
            for (column, value) in values.iter().enumerate() {
                assert!((value - operator[column][row]).abs() < 1e-7);
            }
        }
    }

    /// Against the reference code's propagation (see tests/golden/README.md), to 1e-5 of the largest value.
    #[test]
    fn agrees_with_the_reference_code() {
        let golden: serde_json::Value = serde_json::from_str(include_str!("../../tests/golden/cnsdiff.json")).unwrap();
        let golden = &golden["lightgcn"];
        let table = |name: &str| -> Vec<f32> {
            serde_json::from_value::<Vec<Vec<f32>>>(golden[name].clone()).unwrap().concat()
        };
        let edges: Vec<(u32, u32)> = serde_json::from_value(golden["edges"].clone()).unwrap();
        let encoded = encode(&graph(12, 18, &edges), 2, 8, &[table("user_emb"), table("item_emb")].concat());
        let expected = [table("user_out"), table("item_out")].concat();
        let scale = expected.iter().fold(0.0f32, |max, x| max.max(x.abs()));
        assert_eq!(encoded.len(), expected.len());
        assert!(encoded.iter().zip(&expected).all(|(a, b)| (a - b).abs() <= 1e-5 * scale));
    }
}
