//! XSimGCL: one perturbed pass over the graph makes the vectors of a step and, with one of its layers, the contrast.

use std::cell::RefCell;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};

use super::simgcl::{COSINES, TERMS, check_temperature, contrast, mean, perturbed_layers};
use super::{Backbone, BackboneMethod, BackboneTraits, Numbers};
use crate::method::backend::torch::adapter::{Adapter, Module, Pass, Queries};
use crate::method::backend::torch::lightgcn::{joined, sides};
use crate::method::backend::torch::propagation::{Normalisation, Propagation};
use crate::method::backend::torch::tensors::Tensors;
use crate::method::{Batch, Method, MethodError, Mistake, Setup, TrainingData};

/// Mean over the layers 1 to `layers`, perturbed in training; a step compares it with one of these layers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct XSimGcl {
    /// Number of propagations `L`.
    #[schemars(range(min = 1, max = 32))]
    pub layers: usize,
    /// The layer `l*` that the mean is compared with, from 1.
    #[schemars(range(min = 1, max = 32))]
    pub contrast_layer: usize,
    /// Weight `lambda` of the contrast of the mean with that layer.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub contrast_weight: f64,
    /// Length `eps` of the noise that is added to each row of each layer.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub noise: f64,
    /// Temperature `tau` of the contrast.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub temperature: f64,
}

impl Default for XSimGcl {
    fn default() -> Self {
        Self { layers: 2, contrast_layer: 1, contrast_weight: 0.2, noise: 0.2, temperature: 0.15 }
    }
}

impl Method for XSimGcl {
    const NAME: &'static str = "xsimgcl";
    const VERSION: u32 = 1;
    const DOC: &'static str = "The mean of layers 1 to `layers` of LightGCN, perturbed by noise in training, with InfoNCE between it and \
                               one of the layers.";
    const SOURCE: &'static str = "Yu et al., XSimGCL, IEEE TKDE 2024; checked against SELFRec. InfoNCE is of the distinct users and \
                                  positives of the batch. Repeated pairs count once, and the regularisation is that of the \
                                  training, of table rows [our decision].";

    fn check(&self) -> Result<(), Mistake> {
        let inside = (1..=self.layers).contains(&self.contrast_layer);
        Mistake::unless(inside, &["contrast_layer"], format!("must be one of the layers 1 to {}", self.layers))?;
        check_temperature(self.temperature)
    }
}

impl BackboneMethod for XSimGcl {
    fn traits(&self) -> BackboneTraits {
        BackboneTraits {
            libtorch: true,
            terms: TERMS,
            numbers: Numbers {
                // Of each layer 4 (with gradients); noise, means and vectors.
                per_node: (self.layers as u64).saturating_mul(4).saturating_add(8),
                per_pair_of_rows: COSINES,
                ..Numbers::default()
            },
            ..BackboneTraits::default()
        }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
        let (users, dim) = (setup.data.graph.n_users, setup.dim);
        Ok(Box::new(Adapter::new(OnePass { params: self, users, dim, compared: RefCell::default() }, setup)?))
    }
}

/// The model at work.
struct OnePass {
    params: XSimGcl,
    users: usize,
    dim: usize,
    /// The layer `l*` `[U + I, d]` of a training step, from its vectors on until the contrast is known.
    compared: RefCell<Option<Tensor>>,
}

impl Module for OnePass {
    fn width(&self) -> usize {
        self.dim
    }

    fn propagation<'a>(&self, data: &'a TrainingData, device: Device) -> Option<Propagation<'a>> {
        Some(Propagation::new(&data.graph, Normalisation::Symmetric, device))
    }

    fn encode(&self, tensors: &Tensors, pass: &Pass, _: Queries) -> (Tensor, Tensor) {
        let XSimGcl { layers, contrast_layer, noise, .. } = self.params;
        let (_, product) = pass.propagate(joined(tensors));
        let layers = perturbed_layers(pass, product, layers, if pass.training { noise } else { 0.0 });
        if pass.training {
            self.compared.replace(Some(layers[contrast_layer - 1].shallow_clone()));
        }
        sides(&mean(&layers), self.users)
    }

    fn own_terms(
        &self,
        _: &Tensors,
        _: &Pass,
        batch: &Batch,
        vectors: (&Tensor, &Tensor),
    ) -> Vec<(&'static str, f64, Tensor)> {
        let Some(compared) = self.compared.take() else { return Vec::new() };
        let (users, items) = sides(&compared, self.users);
        let term = contrast(batch, [vectors, (&users, &items)], self.params.temperature);
        vec![(TERMS[0], self.params.contrast_weight, term)]
    }
}

#[cfg(test)]
mod tests {
    use super::super::simgcl::tests::dense_contrast;
    use super::*;
    use crate::method::backend::torch::testing::{
        assert_gradient_by_finite_differences, batch, encode_all, forward, random_data, setup,
    };

    #[test]
    fn noise_has_its_length_and_flips_no_sign() {
        let data = random_data(20, 15, 90);
        let setup = setup(&data, 6);
        let one = XSimGcl { layers: 1, noise: 0.3, ..XSimGcl::default() };
        let mut backbone = one.start(&setup).unwrap();
        let clean = encode_all(&mut *backbone, &data);
        let noisy = forward(&mut *backbone, &data, &batch(0, &[0], &[0]));
        let pairs = [(&clean.queries, &noisy.queries), (&clean.items, &noisy.items)];
        let rows = pairs.into_iter().flat_map(|(clean, noisy)| clean.chunks_exact(6).zip(noisy.chunks_exact(6)));
        let mut noises = Vec::new();
        for (clean, noisy) in rows {
            assert!(clean.iter().zip(noisy).all(|(a, b)| *a != 0.0 && a * b > 0.0 && b.abs() >= a.abs()));
            let noise: Vec<f64> = clean.iter().zip(noisy).map(|(&a, &b)| f64::from((b - a).abs())).collect();
            let norm = noise.iter().map(|value| value * value).sum::<f64>().sqrt();
            assert!((norm - 0.3).abs() < 1e-6, "{norm}");
            noises.push(noise);
        }
        // A draw for each row.
        assert!(noises.len() == 35 && noises.windows(2).all(|pair| (pair[0][0] - pair[1][0]).abs() > 1e-6));
    }

    #[test]
    fn the_mean_is_compared_with_its_layer() {
        let data = random_data(20, 15, 90);
        let setup = setup(&data, 6);
        let start = |layers, contrast_layer, noise| {
            let params = XSimGcl { layers, contrast_layer, noise, ..XSimGcl::default() };
            params.start(&setup).unwrap()
        };
        let batch = batch(0, &[3, 0, 3, 7], &[1, 2, 2, 1]);
        let term = |layers, contrast_layer, noise| {
            let mut backbone = start(layers, contrast_layer, noise);
            let vectors = forward(&mut *backbone, &data, &batch);
            (vectors, backbone.own_terms(&batch).unwrap()[0].1)
        };
        let (first, _) = term(1, 1, 0.0);
        let (both, found) = term(2, 1, 0.0);
        let expected = dense_contrast(&[0, 3, 7], &[1, 2], [&both, &first], 0.15);
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
        // With one layer both are the same, whatever noise there is.
        let (noisy, found) = term(1, 1, 0.2);
        let expected = dense_contrast(&[0, 3, 7], &[1, 2], [&noisy; 2], 0.15);
        assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        let data = random_data(12, 9, 40);
        let setup = setup(&data, 4);
        for contrast_layer in [1, 2, 3] {
            let params = XSimGcl { layers: 3, contrast_layer, contrast_weight: 3.0, ..XSimGcl::default() };
            let mut backbone = params.start(&setup).unwrap();
            let step = batch(2, &[0, 3, 5, 3], &[1, 2, 4, 4]);
            assert_gradient_by_finite_differences(&mut *backbone, &data, &step, &[3.0]);
        }
    }

    #[test]
    fn the_layer_to_compare_with_must_exist() {
        let check = |layers, contrast_layer| XSimGcl { layers, contrast_layer, ..XSimGcl::default() }.check();
        assert_eq!(check(2, 2), Ok(()));
        assert_eq!(check(2, 3).unwrap_err().path, ["contrast_layer"]);
        assert_eq!(check(2, 0).unwrap_err().path, ["contrast_layer"]);
    }
}
