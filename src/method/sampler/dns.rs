//! Dynamic negative sampling: of a few uniform candidates the one that the user scores highest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Negatives, Sampler, SamplerMethod, SamplerTraits, UniformDraws};
use crate::kernel::dot;
use crate::method::{Batch, Method, MethodError, Setup, Step};

/// Of `candidates` uniform negatives the one with the highest score.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Dns {
    /// Uniform candidates for each negative.
    #[schemars(range(min = 1, max = 1_000))]
    pub candidates: usize,
}

impl Default for Dns {
    fn default() -> Self {
        Self { candidates: 5 }
    }
}

impl Method for Dns {
    const NAME: &'static str = "dns";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Of a few uniform negatives the one that the user scores highest.";
    const SOURCE: &'static str = "Zhang et al., Optimizing top-N collaborative filtering via dynamic negative item sampling, \
                                  SIGIR 2013; 5 candidates as in the code of IRGAN.";
}

impl SamplerMethod for Dns {
    fn traits(&self) -> SamplerTraits {
        SamplerTraits { candidates: self.candidates, many: true, ..SamplerTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Sampler + 'a>, MethodError> {
        let draws = UniformDraws::new(&setup.data.graph)?;
        Ok(Box::new(Hardest { draws, candidates: self.candidates, negatives: setup.negatives }))
    }
}

/// The sampler at work.
struct Hardest<'a> {
    draws: UniformDraws<'a>,
    /// For each negative.
    candidates: usize,
    negatives: usize,
}

impl Sampler for Hardest<'_> {
    fn propose(&mut self, batch: &Batch, candidates: &mut Vec<u32>) -> Result<(), MethodError> {
        self.draws.draw(batch, self.candidates * self.negatives, candidates);
        Ok(())
    }

    fn choose(&mut self, step: &Step) -> Result<Negatives, MethodError> {
        Ok(Negatives::Items {
            ids: step.pick(self.candidates, |row, item| dot(step.query(row), step.item(item))),
            log_q: None,
        })
    }
}
