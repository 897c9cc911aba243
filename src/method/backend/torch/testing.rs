//! What tests of modules have in common: small data, and a check of any backbone's gradient.

use rand::RngExt;

use super::one_thread;
use crate::data::{Graph, Interactions};
use crate::method::optim::{Rule, Update};
use crate::method::params::NamedTensor;
use crate::method::rows::{Nodes, RowGradient, Summands, Vectors};
use crate::method::{Backbone, Batch, Histories, Setup, TrainingData};
use crate::rng;

/// Steps of gradient descent without momentum: what such a step of rate 1 takes away is the gradient.
const PLAIN: Rule = Rule::Sgd { momentum: 0.0, decay: 0.0 };

/// Half the distance between the two points of a finite difference.
const STEP: f64 = 4e-3;
/// How far a gradient may be from a finite difference, as a share of the largest value of its tensor.
const TOLERANCE: f64 = 2e-3;
/// Entries of each tensor that are compared, and how many of them must lie where the function is smooth.
const ENTRIES: usize = 12;
const SMOOTH: usize = 6;

/// A graph of these pairs.
pub fn data(users: usize, items: usize, pairs: &[(u32, u32)]) -> TrainingData {
    let interactions = Interactions {
        user: pairs.iter().map(|pair| pair.0).collect(),
        item: pairs.iter().map(|pair| pair.1).collect(),
        ..Interactions::default()
    };
    TrainingData::over(Graph::with_size(users, items, &interactions), interactions)
}

/// A graph of `pairs` pairs by chance.
pub fn random_data(users: u32, items: u32, pairs: usize) -> TrainingData {
    let mut rng = rng::stream(3, "test graph", u64::from(users));
    let pairs: Vec<(u32, u32)> = (0..pairs).map(|_| (rng.random_range(0..users), rng.random_range(0..items))).collect();
    data(users as usize, items as usize, &pairs)
}

/// As trainings are set up: with one thread of libtorch.
pub fn setup(data: &TrainingData, dim: usize) -> Setup<'_> {
    one_thread();
    Setup { rule: PLAIN, ..Setup::new(data, 1, dim) }
}

/// The step of this number with these pairs.
pub fn batch<'a>(step: u64, users: &'a [u32], positives: &'a [u32]) -> Batch<'a> {
    Batch { lr: 0.1, ..Batch::of_pairs(1, step, users, positives) }
}

/// All vectors of a training step.
pub fn forward(backbone: &mut dyn Backbone, data: &TrainingData, batch: &Batch) -> Vectors {
    let mut vectors = Vectors::new(data.graph.n_users, data.graph.n_items, backbone.width());
    backbone.forward(batch, Nodes::All, &mut vectors).unwrap();
    vectors
}

/// All vectors of the ranking.
pub fn encode_all(backbone: &mut dyn Backbone, data: &TrainingData) -> Vectors {
    let mut vectors = Vectors::new(data.graph.n_users, data.graph.n_items, backbone.width());
    backbone.encode_all(&Histories { train: data, then: None }, &mut vectors).unwrap();
    vectors
}

/// Numbers between -0.5 and 0.5, as many as these.
pub fn weights(vectors: &Vectors) -> Vectors {
    let mut rng = rng::stream(5, "test weights", vectors.width as u64);
    let mut weights = vectors.clone();
    weights.queries.iter_mut().chain(weights.items.iter_mut()).for_each(|weight| *weight = rng.random::<f32>() - 0.5);
    weights
}

/// The gradient of the parameters after the last forward pass, given that of all vectors. The parameters stay as they are.
pub fn gradient(backbone: &mut dyn Backbone, of_vectors: &Vectors) -> Vec<NamedTensor> {
    let ids = |values: &[f32]| -> Vec<u32> { (0..(values.len() / of_vectors.width) as u32).collect() };
    let (queries, items) = (ids(&of_vectors.queries), ids(&of_vectors.items));
    let of_items = [Summands { ids: &items, values: &of_vectors.items }];
    let rows = RowGradient { queries: Summands { ids: &queries, values: &of_vectors.queries }, items: &of_items };
    backbone.backward(&rows, Nodes::All).unwrap();
    // From zero, so that nothing of the gradient is rounded away.
    let parameters = backbone.parameters();
    let values = parameters.values();
    let mut zeros = values.clone();
    zeros.iter_mut().for_each(|tensor| tensor.values.fill(0.0));
    assert!(parameters.restore(&zeros, false));
    parameters.update(&Update { rule: &PLAIN, lr: 1.0, step: 1, scale: 1.0 });
    let mut gradient = parameters.values();
    gradient.iter_mut().flat_map(|tensor| &mut tensor.values).for_each(|value| *value = -*value);
    assert!(parameters.restore(&values, false));
    gradient
}

/// Compares the gradient of `(E * G).sum()`, with `E` the vectors of `batch` and `G` drawn by chance, and of the backbone's
/// own terms, weighted by `weights`, with finite differences in some entries of every parameter.
///
/// An entry next to a kink or a jump tells nothing and is passed over: there differences over two distances are not the same,
/// or the slopes on both sides differ by more than their curvature, which halves with the distance.
pub fn assert_gradient_by_finite_differences(
    backbone: &mut dyn Backbone,
    data: &TrainingData,
    batch: &Batch,
    own: &[f64],
) {
    let of_vectors = weights(&forward(backbone, data, batch));
    assert_eq!(backbone.own_terms(batch).unwrap().len(), own.len(), "a weight for each term");
    let gradient = gradient(backbone, &of_vectors);
    let start = backbone.parameters().values();
    let mut value_at = |tensor: usize, entry: usize, shift: f64| {
        let mut moved = start.clone();
        moved[tensor].values[entry] += shift as f32;
        assert!(backbone.parameters().restore(&moved, false));
        let vectors = forward(backbone, data, batch);
        let terms = backbone.own_terms(batch).unwrap();
        let sum = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
        let of_rows = sum(&vectors.queries, &of_vectors.queries) + sum(&vectors.items, &of_vectors.items);
        of_rows + terms.iter().zip(own).map(|((_, term), weight)| term * weight).sum::<f64>()
    };
    for (number, NamedTensor { name, values, .. }) in gradient.iter().enumerate() {
        let largest = f64::from(values.iter().fold(0.0f32, |max, value| max.max(value.abs())));
        assert!(largest > 0.0, "`{name}` has no gradient");
        let mut rng = rng::stream(7, name, 0);
        let mut smooth = 0;
        for _ in 0..ENTRIES {
            let entry = rng.random_range(0..values.len());
            let here = value_at(number, entry, 0.0);
            let [(wide, wide_bend), (narrow, narrow_bend)] = [STEP, 0.5 * STEP].map(|step| {
                let [after, before] = [step, -step].map(|shift| value_at(number, entry, shift));
                ((after - before) / (2.0 * step), (after - 2.0 * here + before) / step)
            });
            let kink = (wide - narrow).abs().max((2.0 * narrow_bend - wide_bend).abs());
            if kink > TOLERANCE * largest {
                continue;
            }
            smooth += 1;
            let gap = (narrow - f64::from(values[entry])).abs();
            assert!(gap <= TOLERANCE * largest, "`{name}` {entry}: {} is not {narrow}, of {largest}", values[entry]);
        }
        assert!(smooth >= SMOOTH, "`{name}`: {smooth} of {ENTRIES} differences tell anything");
    }
    assert!(backbone.parameters().restore(&start, false));
}
