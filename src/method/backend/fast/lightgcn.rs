//! LightGCN (He et al., SIGIR 2020): `F = P E` with `P = (I + A + ... + A^L) / (L + 1)` and `A` the symmetrically
//! normalised adjacency of the bipartite training graph.
//!
//! `P` is linear and symmetric, so the gradient needs no autograd: `dE = P dF`. It is applied by Horner's rule,
//! `P x = (x + A (x + A (... x))) / (L + 1)`, so that the mean over layers costs no pass of its own. A step needs the last
//! product only in the rows that it reads, and starts its gradient from rows that are zero elsewhere: those two
//! products do a part of the work, with the same result. A panel of the tables goes through all layers by itself.

use rayon::prelude::*;

use super::layout;
use super::product::{Adjacency, Operands, Part};
use super::tables::Tables;
use crate::kernel::Aligned;
use crate::method::data::{Histories, TrainingData};
use crate::method::params::Parameters;
use crate::method::rows::{Nodes, RowGradient, Vectors};
use crate::method::{Backbone, Batch, MethodError, Regularisation, Setup};

pub struct LightGcn<'a> {
    layers: usize,
    tables: Tables,
    adjacency: Adjacency<'a>,
    /// What the last product makes of tables, and what the first one makes table gradients of.
    rows: Aligned,
    /// What comes between two products.
    between: Aligned,
    /// The edges that count in a product that does a part of the work.
    part: Part,
}

impl<'a> LightGcn<'a> {
    /// Of at least one layer.
    pub fn new(layers: usize, setup: &Setup<'a>) -> Self {
        let TrainingData { graph, .. } = setup.data;
        let tables = Tables::new(setup);
        let [rows, between] = [(); 2].map(|()| Aligned::zeros(tables.values.len()));
        Self { layers, tables, adjacency: Adjacency::new(graph), rows, between, part: Part::default() }
    }

    fn encode(&mut self, nodes: Nodes, vectors: &mut Vectors) {
        let Self { layers, ref tables, ref adjacency, ref mut rows, ref mut between, ref mut part } = *self;
        let layout = tables.layout;
        adjacency.restrict(Nodes::All, nodes, part);
        let pass = Pass { adjacency, layers, part, sources: Nodes::All, wanted: nodes };
        let panel = layout.panel();
        let targets = rows.par_chunks_mut(panel).zip(between.par_chunks_mut(panel));
        let panels = tables.values.par_chunks(panel).zip(targets);
        panels.for_each(|(tables, (rows, between))| pass.smooth(tables, rows, between));
        layout.gather(rows, 0, nodes, &mut vectors.queries);
        layout.gather(rows, tables.users, nodes, &mut vectors.items);
    }
}

impl Backbone for LightGcn<'_> {
    fn width(&self) -> usize {
        self.tables.layout.dim
    }

    fn parameters(&mut self) -> &mut dyn Parameters {
        &mut self.tables
    }

    fn forward(&mut self, _: &Batch, nodes: Nodes, vectors: &mut Vectors) -> Result<(), MethodError> {
        self.encode(nodes, vectors);
        Ok(())
    }

    fn backward(&mut self, gradient: &RowGradient, nodes: Nodes) -> Result<(), MethodError> {
        let Self { layers, ref mut tables, ref adjacency, ref mut rows, ref mut between, ref mut part } = *self;
        let Tables { layout, users, gradient: table_gradient, .. } = tables;
        let summands = layout::place(gradient, *users);
        adjacency.restrict(nodes, Nodes::All, part);
        let pass = Pass { adjacency, layers, part, sources: nodes, wanted: Nodes::All };
        let panel = layout.panel();
        let columns: Vec<_> = layout.columns().collect();
        let targets = table_gradient.par_chunks_mut(panel).zip(between.par_chunks_mut(panel));
        rows.par_chunks_mut(panel).zip(columns).zip(targets).for_each(|((rows, columns), (gradient, between))| {
            layout.sum(&summands, nodes, columns, rows);
            pass.smooth(rows, gradient, between);
        });
        Ok(())
    }

    fn regularise(&mut self, penalty: &Regularisation, users: &[u32], items: &[&[u32]], batch_size: usize) -> f64 {
        self.tables.regularise(penalty, users, items, batch_size)
    }

    fn encode_all(&mut self, _: &Histories, vectors: &mut Vectors) -> Result<(), MethodError> {
        self.encode(Nodes::All, vectors);
        Ok(())
    }
}

/// What is the same for all panels.
struct Pass<'a> {
    adjacency: &'a Adjacency<'a>,
    layers: usize,
    /// The edges from `sources` to `wanted`.
    part: &'a Part,
    /// Outside these all tables count as zero.
    sources: Nodes<'a>,
    /// The rows that are needed. One of the two are all nodes.
    wanted: Nodes<'a>,
}

impl Pass<'_> {
    /// For a panel, the wanted rows of `out = P x`. Other rows of `out`, and `between`, hold anything afterwards.
    fn smooth(&self, x: &[f32], out: &mut [f32], between: &mut [f32]) {
        let Self { adjacency, layers, part, sources, wanted } = *self;
        for layer in 1..=layers {
            let (first, last) = (layer == 1, layer == layers);
            // Two tables take turns so that the last product ends in `out`.
            let in_out = (layers - layer).is_multiple_of(2);
            let (table, target): (&[f32], &mut [f32]) =
                if in_out { (&*between, &mut *out) } else { (&*out, &mut *between) };
            let partial = first && matches!(sources, Nodes::Marked(_)) || last && matches!(wanted, Nodes::Marked(_));
            let operands = Operands {
                share: if last { 1.0 / (layers + 1) as f32 } else { 1.0 },
                base: x,
                base_nodes: sources,
                table: if first { x } else { table },
                part: partial.then_some(part),
                wanted: if last { wanted } else { Nodes::All },
            };
            adjacency.product(operands, target);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;
    use crate::data::{Graph, Interactions};
    use crate::method::params::NamedTensor;
    use crate::method::rows::Summands;
    use crate::rng;

    /// Gives a backbone these tables, row-major, users first.
    fn set(model: &mut dyn Backbone, users: usize, dim: usize, tables: &[f32]) {
        let (of_users, of_items) = tables.split_at(users * dim);
        let named = |name: &str, values: &[f32]| NamedTensor {
            name: name.to_owned(),
            shape: vec![values.len() / dim, dim],
            values: values.to_vec(),
        };
        assert!(model.parameters().restore(&[named("users", of_users), named("items", of_items)], false));
    }

    fn graph(users: usize, items: usize, pairs: &[(u32, u32)]) -> TrainingData {
        let graph = Graph::with_size(
            users,
            items,
            &Interactions {
                user: pairs.iter().map(|pair| pair.0).collect(),
                item: pairs.iter().map(|pair| pair.1).collect(),
                ..Interactions::default()
            },
        );
        TrainingData::over(graph, Interactions::default())
    }

    /// Of row-major tables.
    fn encode(data: &TrainingData, layers: usize, dim: usize, tables: &[f32]) -> Vec<f32> {
        let (users, items) = (data.graph.n_users, data.graph.n_items);
        let mut vectors = Vectors::new(users, items, dim);
        let mut model = LightGcn::new(layers, &Setup::new(data, 1, dim));
        set(&mut model, users, dim, tables);
        model.encode(Nodes::All, &mut vectors);
        [&vectors.queries[..], &vectors.items[..]].concat()
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

    /// A graph of 90 nodes with table values and marks by chance.
    fn random(dim: usize) -> (TrainingData, Vec<f32>, Vec<bool>) {
        let mut rng = rng::stream(3, "test", dim as u64);
        let pairs: Vec<(u32, u32)> = (0..600).map(|_| (rng.random_range(0..50), rng.random_range(0..40))).collect();
        let tables = (0..90 * dim).map(|_| rng.random::<f32>() - 0.5).collect();
        (graph(50, 40, &pairs), tables, (0..90).map(|_| rng.random_bool(0.3)).collect())
    }

    #[test]
    fn all_widths_and_depths_give_the_mean_over_layers() {
        for (dim, layers) in [(1, 1), (7, 2), (8, 3), (29, 2), (64, 4), (121, 3)] {
            let (data, tables, _) = random(dim);
            let (users, items) = data.graph.inv_sqrt_degrees();
            let (mut power, mut sum) = (tables.clone(), tables.clone());
            for _ in 0..layers {
                let mut next = vec![0.0; tables.len()];
                for user in 0..50u32 {
                    for &item in data.graph.items_of(user) {
                        let weight = users[user as usize] * items[item as usize];
                        for column in 0..dim {
                            let (u, i) = (user as usize * dim + column, (50 + item as usize) * dim + column);
                            next[u] += weight * power[i];
                            next[i] += weight * power[u];
                        }
                    }
                }
                sum.iter_mut().zip(&next).for_each(|(sum, next)| *sum += next);
                power = next;
            }
            let mean: Vec<f32> = sum.iter().map(|sum| sum / (layers + 1) as f32).collect();
            assert_close(&encode(&data, layers, dim, &tables), &mean);
        }
    }

    #[test]
    fn a_part_of_the_work_gives_the_same_bits() {
        for (dim, layers) in [(5, 1), (16, 2), (64, 3)] {
            let (data, mut rows, marks) = random(dim);
            let mut model = LightGcn::new(layers, &Setup::new(&data, 1, dim));
            set(&mut model, 50, dim, &rows);
            let [mut whole, mut part] = [(); 2].map(|()| Vectors::new(50, 40, dim));
            part.queries.fill(f32::NAN);
            part.items.fill(f32::NAN);
            model.encode(Nodes::All, &mut whole);
            model.encode(Nodes::Marked(&marks), &mut part);
            let row = |vectors: &Vectors, node: usize| match node {
                ..50 => vectors.query(node as u32).to_vec(),
                _ => vectors.item(node as u32 - 50).to_vec(),
            };
            for (node, _) in marks.iter().enumerate().filter(|(_, marked)| **marked) {
                assert_eq!(row(&whole, node), row(&part, node));
            }
            for (row, _) in rows.chunks_exact_mut(dim).zip(&marks).filter(|(_, marked)| !**marked) {
                row.fill(0.0);
            }
            let ids: Vec<u32> = (0..50).collect();
            let (users, items) = rows.split_at(50 * dim);
            let of_items = [Summands { ids: &ids[..40], values: items }];
            let gradient = RowGradient { queries: Summands { ids: &ids, values: users }, items: &of_items };
            let mut back = |nodes: Nodes| {
                model.backward(&gradient, nodes).unwrap();
                model.tables.gradient.to_vec()
            };
            assert_eq!(back(Nodes::All), back(Nodes::Marked(&marks)));
        }
    }

    /// Against the reference code's propagation (see tests/golden/README.md), to 1e-5 of the largest value.
    #[test]
    fn agrees_with_the_reference_code() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../../../tests/golden/cnsdiff.json")).unwrap();
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
