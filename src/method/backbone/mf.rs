use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Backbone, BackboneMethod, BackboneTraits};
use crate::method::backend::fast;
use crate::method::{Method, MethodError, Setup};

/// Matrix factorisation: the vectors are the tables.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mf {}

impl Method for Mf {
    const NAME: &'static str = "mf";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Matrix factorisation: the tables themselves.";
    const SOURCE: &'static str = "Rendle et al., BPR, UAI 2009. Tables start Xavier uniform, as in SELFRec.";
}

impl BackboneMethod for Mf {
    fn traits(&self) -> BackboneTraits {
        BackboneTraits { hops: 1, ..BackboneTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Backbone + 'a>, MethodError> {
        Ok(Box::new(fast::Mf::new(setup)))
    }
}
