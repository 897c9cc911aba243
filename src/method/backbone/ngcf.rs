//! NGCF: graph convolution with feature transforms and an interaction of each node with its neighbourhood.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{Backbone, BackboneMethod, BackboneTraits, Numbers, Pooling};
use crate::method::backend::torch::adapter::{Adapter, Module, Pass, Queries};
use crate::method::backend::torch::lightgcn::{joined, sides, tables};
use crate::method::backend::torch::propagation::{Normalisation, Propagation};
use crate::method::backend::torch::tensor::{device, matrix, normalize};
use crate::method::backend::torch::tensors::Tensors;
use crate::method::{Method, MethodError, Mistake, NamedTensor, Setup, TrainingData, xavier};

/// Slope of the leaky rectifier below 0.
const SLOPE: f64 = 0.2;

/// Layers `E^(k+1)` of `E^(k)` and its neighbourhood `S = A E^(k)`; the vectors are the tables and all layers, these
/// normalised, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Ngcf {
    /// Width of each layer.
    #[schemars(length(min = 1, max = 8), inner(range(min = 1, max = 1_024)))]
    pub layers: Vec<usize>,
    pub adjacency: Adjacency,
    pub form: Form,
    /// Probability with which a value of a layer is dropped in training.
    #[schemars(range(min = 0, max = 1))]
    pub dropout: f64,
}

/// How the adjacency is normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Adjacency {
    /// `D^{-1} (A + I)`: the mean over a node and its neighbours, as the authors' code has it by default.
    #[default]
    RwSelf,
    /// `D^{-1/2} A D^{-1/2}`, as the port in MixGCF's code has it.
    Sym,
}

/// What the leaky rectifier is taken of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Each summand: `lrelu(S W_1 + b_1) + lrelu((E * S) W_2 + b_2)`, as the authors' code has it.
    #[default]
    Official,
    /// The sum: `lrelu(S W_1 + b_1 + (E * S) W_2 + b_2)`, as the port in MixGCF's code has it.
    Joint,
}

impl Default for Ngcf {
    fn default() -> Self {
        Self { layers: vec![64], adjacency: Adjacency::default(), form: Form::default(), dropout: 0.1 }
    }
}

impl Method for Ngcf {
    const NAME: &'static str = "ngcf";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Graph convolution with feature transforms and an interaction of each node with its neighbourhood; the \
                               vectors are all layers one after the other.";
    const SOURCE: &'static str = "Wang et al., Neural graph collaborative filtering, SIGIR 2019, and the authors' code; `sym` and `joint` \
                                  are the port in the code of MixGCF (Huang et al., KDD 2021). Repeated pairs count once, and the \
                                  regularisation is that of the training, of table rows [our decision].";

    fn check(&self) -> Result<(), Mistake> {
        Mistake::unless((0.0..1.0).contains(&self.dropout), &["dropout"], "must lie in 0 <= dropout < 1")
    }
}

impl BackboneMethod for Ngcf {
    fn traits(&self) -> BackboneTraits {
        let equal = self.layers.windows(2).all(|pair| pair[0] == pair[1]);
        let widths = self.layers.iter().fold(0u64, |sum, &width| sum.saturating_add(width as u64));
        BackboneTraits {
            libtorch: true,
            hops: if equal { self.layers.len() + 1 } else { 0 },
            hop_width: self.layers.first().copied(),
            pooling: Pooling::Concatenation,
            numbers: Numbers {
                // The tables as one, their neighbourhoods, what the layers' vectors stand beside, and gradients of these.
                per_node: 6,
                // Of a layer: two transforms before and after the rectifier, dropout, norms, neighbourhoods, vectors; gradients.
                per_node_fixed: widths.saturating_mul(20),
                // Vectors of a row and their gradients.
                per_row: widths.saturating_mul(6),
                ..Numbers::default()
            },
            ..BackboneTraits::default()
        }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
        Ok(Box::new(Adapter::new(Convolution::new(self, setup), setup)?))
    }
}

/// The network.
struct Convolution {
    params: Ngcf,
    users: usize,
    dim: usize,
    /// The share of each node in its own neighbourhood `[U + I, 1]`, where there are self loops.
    loops: Option<Tensor>,
}

impl Convolution {
    fn new(params: Ngcf, setup: &Setup) -> Self {
        let loops = (params.adjacency == Adjacency::RwSelf).then(|| {
            let shares = Propagation::inverse_degrees_with_loops(&setup.data.graph).concat();
            matrix(&shares, 1, device(setup.device))
        });
        Self { params, users: setup.data.graph.n_users, dim: setup.dim, loops }
    }

    /// `E^(k+1)` of `E^(k)`, here `x`, and `S`, here `sum`, `[U + I, width]` each.
    fn layer(&self, tensors: &Tensors, number: usize, x: &Tensor, sum: &Tensor) -> Tensor {
        let transformed = |rows: &Tensor, part: usize| {
            rows.matmul(tensors.get(&format!("w{part}.{number}"))) + tensors.get(&format!("b{part}.{number}"))
        };
        let (message, interaction) = (transformed(sum, 1), transformed(&(x * sum), 2));
        match self.params.form {
            Form::Official => leaky_relu(&message) + leaky_relu(&interaction),
            Form::Joint => leaky_relu(&(message + interaction)),
        }
    }
}

fn leaky_relu(x: &Tensor) -> Tensor {
    x.where_self(&x.gt(0.0), &(x * SLOPE))
}

impl Module for Convolution {
    fn width(&self) -> usize {
        self.dim + self.params.layers.iter().sum::<usize>()
    }

    /// The tables, and of each layer the weights `w1`, `w2` `[in, out]` and the biases `b1`, `b2` `[1, out]`, all Xavier uniform.
    fn parameters(&self, setup: &Setup) -> Vec<NamedTensor> {
        let mut parameters = tables(setup);
        let mut width = self.dim;
        for (number, &next) in self.params.layers.iter().enumerate() {
            for (kind, rows) in [("w1", width), ("b1", 1), ("w2", width), ("b2", 1)] {
                let name = format!("{kind}.{number}");
                let values = xavier(setup.seed, &name, rows, next);
                parameters.push(NamedTensor { name, shape: vec![rows, next], values });
            }
            width = next;
        }
        parameters
    }

    fn propagation<'a>(&self, data: &'a TrainingData, device: tch::Device) -> Option<Propagation<'a>> {
        let normalisation = match self.params.adjacency {
            Adjacency::RwSelf => Normalisation::RowsWithLoops,
            Adjacency::Sym => Normalisation::Symmetric,
        };
        Some(Propagation::new(&data.graph, normalisation, device))
    }

    fn encode(&self, tensors: &Tensors, pass: &Pass, _: Queries) -> (Tensor, Tensor) {
        let mut x = joined(tensors);
        let mut vectors = Vec::new();
        // What feeds the next layer is not normalised.
        let vector = |number: usize, x: &Tensor| if number == 0 { x.shallow_clone() } else { normalize(x) };
        for number in 0..self.params.layers.len() {
            let (own, product) = pass.propagate(x);
            let sum = match &self.loops {
                Some(share) => product + &own * share,
                None => product,
            };
            vectors.push(vector(number, &own));
            x = pass.dropout(&self.layer(tensors, number, &own, &sum), self.params.dropout);
        }
        vectors.push(vector(self.params.layers.len(), &x));
        sides(&Tensor::cat(&vectors, 1), self.users)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::backend::torch::testing::{
        assert_gradient_by_finite_differences, batch, encode_all, forward, random_data, setup,
    };
    use crate::method::params::find;

    fn start<'a>(params: Ngcf, setup: &Setup<'a>) -> Box<dyn Backbone + 'a> {
        params.start(setup).unwrap()
    }

    /// Both adjacencies with both forms.
    fn variants(layers: &[usize], dropout: f64) -> Vec<Ngcf> {
        let adjacencies = [Adjacency::RwSelf, Adjacency::Sym];
        let of = |adjacency, form| Ngcf { layers: layers.to_vec(), adjacency, form, dropout };
        adjacencies
            .iter()
            .flat_map(|&adjacency| [Form::Official, Form::Joint].map(|form| of(adjacency, form)))
            .collect()
    }

    /// The vectors `[U + I, width]`, row by row, as the definition says, in `f64`.
    fn dense(params: &Ngcf, data: &TrainingData, dim: usize, tensors: &[NamedTensor]) -> Vec<Vec<f64>> {
        let graph = &data.graph;
        let (users, nodes) = (graph.n_users, graph.n_users + graph.n_items);
        let mut adjacency = vec![vec![0.0; nodes]; nodes];
        let pairs = (0..users as u32).flat_map(|user| graph.items_of(user).iter().map(move |&item| (user, item)));
        for (user, item) in pairs.map(|(user, item)| (user as usize, users + item as usize)) {
            adjacency[user][item] = 1.0;
            adjacency[item][user] = 1.0;
        }
        if params.adjacency == Adjacency::RwSelf {
            (0..nodes).for_each(|node| adjacency[node][node] = 1.0);
        }
        let degrees: Vec<f64> = adjacency.iter().map(|row| row.iter().sum()).collect();
        for (row, values) in adjacency.iter_mut().enumerate() {
            for (column, value) in values.iter_mut().enumerate().filter(|(_, value)| **value > 0.0) {
                *value /= match params.adjacency {
                    Adjacency::RwSelf => degrees[row],
                    Adjacency::Sym => (degrees[row] * degrees[column]).sqrt(),
                };
            }
        }
        let tensor = |name: &str, shape: &[usize]| -> Vec<Vec<f64>> {
            let values = find(tensors, name, shape).unwrap();
            values.chunks_exact(shape[1]).map(|row| row.iter().map(|&value| f64::from(value)).collect()).collect()
        };
        let product = |a: &[Vec<f64>], b: &[Vec<f64>]| -> Vec<Vec<f64>> {
            let entry = |row: &[f64], column: usize| row.iter().zip(b).map(|(a, b)| a * b[column]).sum();
            a.iter().map(|row| (0..b[0].len()).map(|column| entry(row, column)).collect()).collect()
        };
        let mut x = [tensor("users", &[users, dim]), tensor("items", &[graph.n_items, dim])].concat();
        let mut vectors = x.clone();
        for (number, &width) in params.layers.iter().enumerate() {
            let before = x[0].len();
            let sum = product(&adjacency, &x);
            let times: Vec<Vec<f64>> =
                x.iter().zip(&sum).map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).collect()).collect();
            let [message, interaction] = [(1, &sum), (2, &times)].map(|(part, rows)| {
                let mut rows = product(rows, &tensor(&format!("w{part}.{number}"), &[before, width]));
                let bias = &tensor(&format!("b{part}.{number}"), &[1, width])[0];
                rows.iter_mut().for_each(|row| row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias));
                rows
            });
            let lrelu = |value: f64| if value > 0.0 { value } else { 0.2 * value };
            let both = |(a, b): (&f64, &f64)| match params.form {
                Form::Official => lrelu(*a) + lrelu(*b),
                Form::Joint => lrelu(a + b),
            };
            x = message.iter().zip(&interaction).map(|(a, b)| a.iter().zip(b).map(both).collect()).collect();
            for (vector, row) in vectors.iter_mut().zip(&x) {
                let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt().max(1e-12);
                vector.extend(row.iter().map(|value| value / norm));
            }
        }
        vectors
    }

    #[test]
    fn the_vectors_are_those_of_the_definition() {
        let data = random_data(9, 7, 25);
        for params in variants(&[5, 3], 0.1) {
            let setup = setup(&data, 4);
            let mut backbone = start(params.clone(), &setup);
            let found = encode_all(&mut *backbone, &data);
            let expected = dense(&params, &data, 4, &backbone.parameters().values()).concat();
            let found = [&found.queries[..], &found.items].concat();
            assert_eq!(found.len(), 16 * 12);
            let gap = found.iter().zip(&expected).fold(0.0f64, |max, (&a, b)| max.max((f64::from(a) - b).abs()));
            assert!(gap < 1e-5, "off by {gap}: {params:?}");
        }
    }

    #[test]
    fn layers_without_weights_are_zero() {
        let data = random_data(9, 7, 25);
        for params in variants(&[4, 4], 0.1) {
            let setup = setup(&data, 4);
            let mut backbone = start(params, &setup);
            let mut values = backbone.parameters().values();
            let weights = values.iter_mut().filter(|tensor| tensor.name.contains('.'));
            assert_eq!(weights.map(|tensor| tensor.values.fill(0.0)).count(), 8);
            assert!(backbone.parameters().restore(&values, false));
            let vectors = forward(&mut *backbone, &data, &batch(0, &[0], &[0]));
            let table = find(&values, "users", &[9, 4]).unwrap();
            for (vector, row) in vectors.queries.chunks_exact(12).zip(table.chunks_exact(4)) {
                assert_eq!(vector, [row, &[0.0; 8]].concat());
            }
        }
    }

    #[test]
    fn three_layers_of_64_make_vectors_of_256() {
        let data = random_data(9, 7, 25);
        let setup = setup(&data, 64);
        let backbone = start(Ngcf { layers: vec![64; 3], ..Ngcf::default() }, &setup);
        assert_eq!(backbone.width(), 256);
    }

    #[test]
    fn rows_of_layers_have_norm_1_or_0() {
        let data = random_data(30, 20, 120);
        // Layers so narrow that dropout leaves nothing of some rows.
        let params = Ngcf { layers: vec![1, 3], dropout: 0.5, ..Ngcf::default() };
        let setup = setup(&data, 4);
        let mut backbone = start(params, &setup);
        let vectors = forward(&mut *backbone, &data, &batch(0, &[0], &[0]));
        let mut seen = [0, 0];
        for row in vectors.queries.chunks_exact(8).chain(vectors.items.chunks_exact(8)) {
            for layer in [&row[4..5], &row[5..8]] {
                let norm = layer.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
                assert!(norm == 0.0 || (norm - 1.0).abs() < 1e-6, "{norm}");
                seen[usize::from(norm > 0.0)] += 1;
            }
        }
        assert!(seen[0] > 5 && seen[1] > 5, "{seen:?}");
    }

    #[test]
    fn dropout_is_of_training_alone_and_follows_the_step() {
        let data = random_data(9, 7, 25);
        let setup = setup(&data, 4);
        let [mut with, mut without] =
            [0.3, 0.0].map(|dropout| start(Ngcf { layers: vec![8], dropout, ..Ngcf::default() }, &setup));
        let clean = encode_all(&mut *without, &data);
        assert_eq!(encode_all(&mut *with, &data), clean);
        assert_eq!(forward(&mut *without, &data, &batch(0, &[0], &[0])), clean);
        let [first, again, other] = [4, 4, 5].map(|step| forward(&mut *with, &data, &batch(step, &[0], &[0])));
        assert_eq!(first, again);
        assert!(first != clean && other != first);
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let data = random_data(12, 9, 40);
        for dropout in [0.0, 0.2] {
            for params in variants(&[5, 3], dropout) {
                let setup = setup(&data, 4);
                let mut backbone = start(params, &setup);
                assert_gradient_by_finite_differences(&mut *backbone, &data, &batch(2, &[0], &[0]), &[]);
            }
        }
    }

    #[test]
    fn layers_of_one_width_are_hops() {
        let hops = |layers: &[usize]| Ngcf { layers: layers.to_vec(), ..Ngcf::default() }.traits();
        assert_eq!((hops(&[32, 32]).hops, hops(&[32, 32]).hop_width), (3, Some(32)));
        assert_eq!(hops(&[32, 16]).hops, 0);
    }
}
