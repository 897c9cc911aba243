//! SimGCL: LightGCN without its layer 0, and a contrast of two views of the graph's layers, perturbed by noise.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::{Backbone, BackboneMethod, BackboneTraits, Numbers};
use crate::method::backend::torch::adapter::{Adapter, Module, Pass, Queries};
use crate::method::backend::torch::lightgcn::{joined, sides};
use crate::method::backend::torch::losses::info_nce;
use crate::method::backend::torch::propagation::{Normalisation, Propagation};
use crate::method::backend::torch::tensor::{index, normalize};
use crate::method::backend::torch::tensors::Tensors;
use crate::method::{Batch, Method, MethodError, Mistake, Setup, TrainingData};

/// Mean over the layers 1 to `layers`; a step compares two perturbed views of them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SimGcl {
    /// Number of propagations `L`.
    #[schemars(range(min = 1, max = 32))]
    pub layers: usize,
    /// Weight `lambda` of the contrast of the two views.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub contrast_weight: f64,
    /// Length `eps` of the noise that is added to each row of each layer.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub noise: f64,
    /// Temperature `tau` of the contrast.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub temperature: f64,
}

impl Default for SimGcl {
    fn default() -> Self {
        Self { layers: 2, contrast_weight: 0.5, noise: 0.1, temperature: 0.2 }
    }
}

impl Method for SimGcl {
    const NAME: &'static str = "simgcl";
    const VERSION: u32 = 1;
    const DOC: &'static str = "The mean of layers 1 to `layers` of LightGCN, with InfoNCE between two views whose layers are perturbed \
                               by noise.";
    const SOURCE: &'static str = "Yu et al., Are graph augmentations necessary?, SIGIR 2022; checked against SELFRec. InfoNCE is of the \
                                  distinct users and positives of the batch. Repeated pairs count once, and the regularisation is \
                                  that of the training, of table rows [our decision].";

    fn check(&self) -> Result<(), Mistake> {
        check_temperature(self.temperature)
    }
}

/// A temperature is positive.
pub(super) fn check_temperature(temperature: f64) -> Result<(), Mistake> {
    Mistake::unless(temperature.is_finite() && temperature > 0.0, &["temperature"], "must be positive")
}

/// The term that it adds.
pub(super) const TERMS: &[&str] = &["info_nce"];

impl BackboneMethod for SimGcl {
    fn traits(&self) -> BackboneTraits {
        let layers = self.layers as u64;
        BackboneTraits {
            libtorch: true,
            terms: TERMS,
            numbers: Numbers {
                // Of the plain layers 3 (with gradients), of those of each view 4; noise, means and vectors.
                per_node: layers.saturating_mul(11).saturating_add(10),
                per_pair_of_rows: COSINES,
                ..Numbers::default()
            },
            ..BackboneTraits::default()
        }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
        let users = setup.data.graph.n_users;
        Ok(Box::new(Adapter::new(TwoViews { params: self, users, dim: setup.dim }, setup)?))
    }
}

/// Numbers per two rows of a batch: cosines of users and of items, and what their gradient needs meanwhile.
pub(super) const COSINES: u64 = 6;

/// The model at work.
struct TwoViews {
    params: SimGcl,
    users: usize,
    dim: usize,
}

/// `x + eps sign(x) norm(xi)` with `xi ~ U[0, 1)^d` for each row.
fn perturb(pass: &Pass, x: Tensor, eps: f64) -> Tensor {
    if eps == 0.0 {
        return x;
    }
    let (rows, columns) = (x.size()[0], x.size()[1]);
    let noise = tch::no_grad(|| x.sign() * normalize(&pass.uniform(rows, columns)) * eps);
    x + noise
}

/// The layers 1 to `count` `[U + I, d]`, given the first product of the graph with the tables, each perturbed by `eps`.
pub(super) fn perturbed_layers(pass: &Pass, product: Tensor, count: usize, eps: f64) -> Vec<Tensor> {
    let mut layers = Vec::with_capacity(count);
    let mut x = perturb(pass, product, eps);
    for _ in 1..count {
        let (own, product) = pass.propagate(x);
        layers.push(own);
        x = perturb(pass, product, eps);
    }
    layers.push(x);
    layers
}

/// The mean over layers.
pub(super) fn mean(layers: &[Tensor]) -> Tensor {
    layers.iter().sum::<Tensor>() / layers.len() as f64
}

/// InfoNCE between two views, of the distinct users of a batch, plus that of its distinct positives. A view are the vectors
/// of all users and of all items.
pub(super) fn contrast(batch: &Batch, views: [(&Tensor, &Tensor); 2], temperature: f64) -> Tensor {
    // No row is named twice, so that the gradient has one order of sums on every device.
    let distinct = |ids: &[u32], [first, second]: [&Tensor; 2]| {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let at = index(&ids, first.device());
        info_nce(&first.index_select(0, &at), &second.index_select(0, &at), temperature)
    };
    distinct(batch.users, views.map(|view| view.0)) + distinct(batch.positives, views.map(|view| view.1))
}

impl Module for TwoViews {
    fn width(&self) -> usize {
        self.dim
    }

    fn propagation<'a>(&self, data: &'a TrainingData, device: Device) -> Option<Propagation<'a>> {
        Some(Propagation::new(&data.graph, Normalisation::Symmetric, device))
    }

    fn encode(&self, tensors: &Tensors, pass: &Pass, _: Queries) -> (Tensor, Tensor) {
        let (_, product) = pass.propagate(joined(tensors));
        sides(&mean(&perturbed_layers(pass, product, self.params.layers, 0.0)), self.users)
    }

    fn own_terms(
        &self,
        tensors: &Tensors,
        pass: &Pass,
        batch: &Batch,
        _: (&Tensor, &Tensor),
    ) -> Vec<(&'static str, f64, Tensor)> {
        let SimGcl { layers, contrast_weight, noise, temperature } = self.params;
        // Perturbed behind the product: the first one is the same in both views.
        let (_, product) = pass.propagate(joined(tensors));
        let [first, second] = [(); 2].map(|()| {
            let layers = perturbed_layers(pass, product.shallow_clone(), layers, noise);
            sides(&mean(&layers), self.users)
        });
        let views = [&first, &second].map(|(users, items)| (users, items));
        vec![(TERMS[0], contrast_weight, contrast(batch, views, temperature))]
    }
}

/// What tests of methods with two views have in common.
#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::method::NamedTensor;
    use crate::method::backend::torch::testing::{
        assert_gradient_by_finite_differences, batch, data, encode_all, forward, random_data, setup,
    };
    use crate::method::rows::Vectors;

    /// InfoNCE between the rows at `ids` of two matrices of this width, as the definition says.
    fn dense_info_nce(ids: &[u32], views: [&[f32]; 2], width: usize, temperature: f64) -> f64 {
        let unit = |view: &[f32], id: u32| -> Vec<f64> {
            let row: Vec<f64> = view[id as usize * width..][..width].iter().map(|&value| f64::from(value)).collect();
            let norm = row.iter().map(|value| value * value).sum::<f64>().sqrt();
            row.iter().map(|value| value / norm).collect()
        };
        let power = |a: u32, b: u32| {
            let (a, b) = (unit(views[0], a), unit(views[1], b));
            (a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>() / temperature).exp()
        };
        let losses = ids.iter().map(|&a| -(power(a, a) / ids.iter().map(|&b| power(a, b)).sum::<f64>()).ln());
        losses.sum::<f64>() / ids.len() as f64
    }

    /// That of distinct users plus that of distinct items.
    pub fn dense_contrast(users: &[u32], items: &[u32], views: [&Vectors; 2], temperature: f64) -> f64 {
        let width = views[0].width;
        dense_info_nce(users, views.map(|view| &view.queries[..]), width, temperature)
            + dense_info_nce(items, views.map(|view| &view.items[..]), width, temperature)
    }

    /// The mean of the layers of [`perturbed_layers`] on three pairs.
    #[test]
    fn layer_0_is_left_out_of_the_mean() {
        let data = data(2, 2, &[(0, 0), (0, 1), (1, 1)]);
        let setup = setup(&data, 1);
        let mut backbone = SimGcl::default().start(&setup).unwrap();
        let named = |name: &str, values: [f32; 2]| NamedTensor {
            name: name.to_owned(),
            shape: vec![2, 1],
            values: values.to_vec(),
        };
        assert!(backbone.parameters().restore(&[named("users", [1.0, 2.0]), named("items", [3.0, 4.0])], false));
        let vectors = encode_all(&mut *backbone, &data);
        let expected = [2.789_213_6, 2.090_990_3, 1.810_66, 2.987_437];
        for (found, expected) in vectors.queries.iter().chain(vectors.items.iter()).zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{vectors:?}");
        }
    }

    #[test]
    fn the_views_are_equal_without_noise() {
        let data = random_data(20, 15, 90);
        let setup = setup(&data, 6);
        let mut backbone = SimGcl { noise: 0.0, ..SimGcl::default() }.start(&setup).unwrap();
        let clean = encode_all(&mut *backbone, &data);
        let batch = batch(0, &[3, 0, 3, 7], &[1, 2, 2, 1]);
        assert_eq!(forward(&mut *backbone, &data, &batch), clean);
        let terms = backbone.own_terms(&batch).unwrap();
        let expected = dense_contrast(&[0, 3, 7], &[1, 2], [&clean; 2], 0.2);
        assert!(terms.len() == 1 && terms[0].0 == "info_nce");
        assert!((terms[0].1 - expected).abs() < 1e-5, "{terms:?} is not {expected}");
    }

    #[test]
    fn each_view_has_its_own_noise_and_the_vectors_have_none() {
        let data = random_data(60, 50, 900);
        let setup = setup(&data, 4);
        let params = SimGcl { noise: 1e3, temperature: 1e-3, ..SimGcl::default() };
        let mut backbone = params.start(&setup).unwrap();
        let ids: Vec<u32> = (0..50).collect();
        let mut term = |step: u64| {
            let batch = batch(step, &ids, &ids);
            let vectors = forward(&mut *backbone, &data, &batch);
            (vectors, backbone.own_terms(&batch).unwrap()[0].1)
        };
        let [(vectors, first), (_, again), (_, other)] = [4, 4, 5].map(&mut term);
        assert_eq!(first, again);
        assert_ne!(first, other);
        // Of equal views no row can be nearer to another than to itself.
        assert!(first > 4.0 * 50f64.ln(), "{first}");
        assert_eq!(vectors, encode_all(&mut *backbone, &data));
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let data = random_data(12, 9, 40);
        let setup = setup(&data, 4);
        let mut backbone = SimGcl { contrast_weight: 3.0, ..SimGcl::default() }.start(&setup).unwrap();
        let step = batch(2, &[0, 3, 5, 3], &[1, 2, 4, 4]);
        assert_gradient_by_finite_differences(&mut *backbone, &data, &step, &[3.0]);
    }
}
