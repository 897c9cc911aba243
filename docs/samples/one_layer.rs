use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::Tensor;

use super::{Backbone, BackboneMethod, BackboneTraits};
use crate::method::backend::torch::adapter::{Adapter, Module, Pass, Queries};
use crate::method::backend::torch::tables;
use crate::method::backend::torch::tensors::Tensors;
use crate::method::{Method, MethodError, NamedTensor, Setup, xavier};

/// The tables through one layer: `z = tanh(dropout(E) W + b)`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OneLayer {
    /// Share of the table values that a step leaves out.
    #[schemars(range(min = 0, max = 0.99))]
    pub dropout: f64,
}

impl Default for OneLayer {
    fn default() -> Self {
        Self { dropout: 0.1 }
    }
}

impl Method for OneLayer {
    const NAME: &'static str = "one_layer";
    const VERSION: u32 = 1;
    const DOC: &'static str = "The tables through one layer: `z = tanh(dropout(E) W + b)`.";
    const SOURCE: &'static str = "A sample for docs/adding-a-method.md, of no paper.";
}

impl BackboneMethod for OneLayer {
    fn traits(&self) -> BackboneTraits {
        BackboneTraits { libtorch: true, ..BackboneTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
        let module = Layer { dropout: self.dropout, dim: setup.dim };
        Ok(Box::new(Adapter::new(module, setup)?))
    }
}

struct Layer {
    dropout: f64,
    dim: usize,
}

impl Module for Layer {
    fn width(&self) -> usize {
        self.dim
    }

    fn parameters(&self, setup: &Setup) -> Vec<NamedTensor> {
        let weight = xavier(setup.seed, "one_layer weight", self.dim, self.dim);
        let mut parameters = tables(setup);
        parameters.push(NamedTensor { name: "weight".into(), shape: vec![self.dim, self.dim], values: weight });
        parameters.push(NamedTensor { name: "bias".into(), shape: vec![self.dim], values: vec![0.0; self.dim] });
        parameters
    }

    fn encode(&self, tensors: &Tensors, pass: &Pass, _: Queries) -> (Tensor, Tensor) {
        let layer = |table: &str| {
            let rows = pass.dropout(tensors.get(table), self.dropout);
            (rows.matmul(tensors.get("weight")) + tensors.get("bias")).tanh()
        };
        (layer("users"), layer("items"))
    }
}
