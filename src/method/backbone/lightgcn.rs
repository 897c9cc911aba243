use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backbone, BackboneMethod, BackboneTraits};
use crate::method::backend::{Device, fast, torch};
use crate::method::{Method, MethodError, Setup};

/// LightGCN: the mean of the tables after 0 to `layers` propagations over the training graph.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LightGcn {
    /// Number of propagations `L`.
    #[schemars(range(min = 0, max = 32))]
    pub layers: usize,
}

impl Default for LightGcn {
    fn default() -> Self {
        Self { layers: 2 }
    }
}

impl Method for LightGcn {
    const NAME: &'static str = "lightgcn";
    const VERSION: u32 = 1;
    const DOC: &'static str = "The mean of the tables after 0 to `layers` propagations over the training graph.";
    const SOURCE: &'static str = "He et al., LightGCN, SIGIR 2020; checked against SELFRec's propagation. Repeated pairs count \
                                  once.";
}

impl BackboneMethod for LightGcn {
    fn traits(&self) -> BackboneTraits {
        BackboneTraits { hops: self.layers + 1, ..BackboneTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
        match setup.device {
            _ if self.layers == 0 => Ok(Box::new(fast::Mf::new(setup))),
            Device::Cpu if !setup.by_hops => Ok(Box::new(fast::LightGcn::new(self.layers, setup))),
            _ => torch::lightgcn(self.layers, setup),
        }
    }
}
