use rand::RngExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Negatives, Sampler, SamplerMethod, SamplerTraits, UniformDraws};
use crate::kernel::dot;
use crate::method::{Batch, Method, MethodError, Mistake, Setup, Step};
use crate::rng;

/// Of some uniform candidates one, drawn with a probability that grows with its score.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SoftDns {
    /// Uniform candidates for each negative.
    #[schemars(range(min = 1, max = 1_000))]
    pub candidates: usize,
    /// Of the softmax over their scores: near 0 the hardest is taken, a large one takes any.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub temperature: f64,
}

impl Default for SoftDns {
    fn default() -> Self {
        Self { candidates: 8, temperature: 1.0 }
    }
}

impl Method for SoftDns {
    const NAME: &'static str = "soft_dns";
    const VERSION: u32 = 1;
    const DOC: &'static str = "Of some uniform negatives one, drawn by the softmax of its score.";
    const SOURCE: &'static str = "A sample for docs/adding-a-method.md, of no paper.";

    fn check(&self) -> Result<(), Mistake> {
        Mistake::unless(self.temperature > 0.0, &["temperature"], "must be positive")
    }
}

impl SamplerMethod for SoftDns {
    fn traits(&self) -> SamplerTraits {
        SamplerTraits { candidates: self.candidates, ..SamplerTraits::default() }
    }

    fn start<'a>(self, setup: &Setup<'a>) -> Result<Box<dyn Sampler + 'a>, MethodError> {
        Ok(Box::new(AtWork { draws: UniformDraws::new(&setup.data.graph)?, params: self }))
    }
}

struct AtWork<'a> {
    draws: UniformDraws<'a>,
    params: SoftDns,
}

impl Sampler for AtWork<'_> {
    fn propose(&mut self, batch: &Batch, candidates: &mut Vec<u32>) -> Result<(), MethodError> {
        self.draws.draw(batch, self.params.candidates, candidates);
        Ok(())
    }

    fn choose(&mut self, step: &Step) -> Result<Negatives, MethodError> {
        let mut rng = rng::stream(step.batch.seed, "soft_dns", step.batch.step);
        let choose = |row: usize| {
            let candidates = step.candidates_of(row);
            let scores = candidates.iter().map(|&item| f64::from(dot(step.query(row), step.item(item))));
            let weights: Vec<f64> = scores.map(|score| libm::exp(score / self.params.temperature)).collect();
            let mut left = rng.random::<f64>() * weights.iter().sum::<f64>();
            let chosen = weights.iter().position(|weight| {
                left -= weight;
                left < 0.0
            });
            candidates[chosen.unwrap_or(0)]
        };
        Ok(Negatives::Items { ids: (0..step.batch.len()).map(choose).collect(), log_q: None })
    }
}
